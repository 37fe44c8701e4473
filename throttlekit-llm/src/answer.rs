//! What is read of an answer: its text, its usage, and what a last event has to know.

use arrayvec::ArrayVec;

use crate::count::CountTokens;
use crate::json::{Scalar, Walk};
use crate::usage::Usage;

/// How an answer is written: by which API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// `OpenAI` chat completions, and what follows them.
    Chat,
    /// `OpenAI` completions, the older form.
    Completions,
    /// The `OpenAI` responses API.
    Responses,
    /// Anthropic messages.
    Messages,
    /// The native API of Ollama, which writes a JSON document on each line.
    Ollama,
}

/// A place in an answer of any dialect: what means nothing in one means the same in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Root,
    Choices,
    Choice,
    ChoiceIndex,
    Finish,
    /// What an event adds to a choice.
    Delta,
    /// The message of a choice: all that was added to it.
    Added,
    ToolCalls,
    ToolCall,
    /// A call: of a function, or of a tool that takes any text.
    Function,
    /// What was spoken.
    Audio,
    /// Text that was produced.
    Text,
    /// Reasoning, under one of its two names.
    Thought,
    /// Text that was produced, or a list of blocks of it.
    Content,
    Blocks,
    Block,
    /// The text of an event, or what an event adds to a block.
    RootDelta,
    /// A message that begins, or one that Ollama adds to.
    Message,
    /// A response with its state, or the text that Ollama adds.
    Response,
    Output,
    Item,
    Usage,
    UsageDetails,
    Input,
    OutputTokens,
    Cached,
    CacheWritten,
    Reasoning,
    Type,
    Id,
    Model,
    Created,
    Sequence,
    BlockIndex,
    Done,
    /// Something that does not matter.
    Ignored,
}

impl Place {
    /// Whether a text there was produced.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Text | Self::Thought | Self::Content | Self::RootDelta | Self::Response)
    }

    /// Whether a number there says something new each time that it is there.
    pub(crate) fn tells(self) -> bool {
        matches!(
            self,
            Self::Input
                | Self::OutputTokens
                | Self::Cached
                | Self::CacheWritten
                | Self::Reasoning
                | Self::Sequence
                | Self::Done
        )
    }
}

/// What the choices of an answer have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choices {
    /// Messages, as far as is known.
    Messages,
    /// What each document adds to them.
    Deltas,
}

/// The reasoning of a delta or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reasoning {
    Unread,
    /// What else has one of its names is the same.
    Read,
}

/// Which choices of a completion: one bit each, and those beyond as the last.
const MAX_CHOICE: u64 = 127;

/// How much there is of the event that came last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Event {
    /// All of it, or there is none.
    #[default]
    Complete,
    /// Some of it, and no data.
    Begun,
    /// Some of it, with data.
    Data,
    /// Lines of it, in whose document more has to follow.
    Open,
}

/// What a last event has to know of what went out before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The first event was read.
    pub(crate) begun: bool,
    pub(crate) event: Event,
    /// The last byte, if any came.
    pub(crate) last: Option<u8>,
    /// The answer has ended by itself.
    pub(crate) ended: bool,
    /// The choices that were seen, and those of them that are finished.
    pub(crate) choices: u128,
    pub(crate) finished: u128,
    /// The content block that is open.
    pub(crate) block: Option<u64>,
    /// The number of the last event.
    pub(crate) sequence: u64,
}

impl Shape {
    /// Whether what was read ends with a line.
    pub(crate) fn is_at_line_start(&self) -> bool {
        matches!(self.last, None | Some(b'\n' | b'\r'))
    }
}

/// A short text of the answer, such as its id.
pub(crate) type Label = ArrayVec<u8, 96>;

/// What the provider said of its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) usage: Usage,
    /// What the counter had counted when it last said how many there are: at the end of the document in which it did, since
    /// it says so of all its text. None until then.
    counted: Option<u64>,
    /// It was changed, and nobody has looked since.
    pub(crate) is_new: bool,
}

impl Told {
    /// Tokens that were produced, where the counter had counted `counted`: what the provider said, and what was counted
    /// since it said so.
    pub(crate) fn output(&self, counted: u64) -> u64 {
        match self.usage.output {
            Some(said) => said.saturating_add(self.counted.map_or(0, |at| counted.saturating_sub(at))),
            None => counted,
        }
    }
}

/// Reads answers.
pub(crate) struct Answer {
    pub(crate) counter: Box<dyn CountTokens>,
    pub(crate) told: Told,
    pub(crate) dialect: Option<Dialect>,
    pub(crate) shape: Shape,
    pub(crate) id: Label,
    pub(crate) model: Label,
    pub(crate) created: u64,
    /// Of the document that is being read.
    kind: ArrayVec<u8, 48>,
    choice: Option<u64>,
    choice_finished: bool,
    reasoning: Reasoning,
    block: Option<u64>,
    /// Of the answer.
    choices: Choices,
    has_id: bool,
    has_model: bool,
}

impl Answer {
    pub(crate) fn new(counter: Box<dyn CountTokens>) -> Self {
        Self {
            counter,
            told: Told::default(),
            dialect: None,
            shape: Shape::default(),
            id: Label::new(),
            model: Label::new(),
            created: 0,
            kind: ArrayVec::new(),
            choice: None,
            choice_finished: false,
            reasoning: Reasoning::Unread,
            block: None,
            choices: Choices::Messages,
            has_id: false,
            has_model: false,
        }
    }

    /// A document begins.
    pub(crate) fn restart(&mut self) {
        self.kind.clear();
        (self.choice, self.choice_finished, self.block) = (None, false, None);
        self.settle_usage();
    }

    /// A document has ended.
    fn finish(&mut self) {
        self.shape.begun = true;
        self.settle_usage();
        match self.kind.as_slice() {
            b"content_block_start" => self.shape.block = Some(self.block.unwrap_or(0)),
            b"content_block_stop" => self.shape.block = None,
            b"message_stop" | b"response.completed" | b"response.incomplete" | b"response.failed" => {
                self.shape.ended = true;
            }
            _ => {}
        }
    }

    /// What is counted from now on is no more of what the provider said.
    fn settle_usage(&mut self) {
        if self.told.usage.output.is_some() && self.told.counted.is_none() {
            self.told.counted = Some(self.counter.tokens());
            self.told.is_new = true;
        }
    }

    /// Whether a delta of a choice was read.
    pub(crate) fn has_deltas(&self) -> bool {
        self.choices == Choices::Deltas
    }

    /// Whether the document that was read last added text, and no more, as each that is like it does.
    pub(crate) fn only_adds(&self) -> bool {
        let kind = self.kind.as_slice();
        kind.is_empty() || (kind.ends_with(b"delta") && kind != b"message_delta")
    }

    /// A text of a document that is not read otherwise, if it counts.
    #[inline]
    pub(crate) fn add(&mut self, place: Place, text: &[u8]) {
        if place.counts() && !text.is_empty() {
            self.counter.text(text);
        }
    }

    fn choice_ends(&mut self) {
        let bit = 1_u128 << self.choice.take().unwrap_or(0).min(MAX_CHOICE);
        self.shape.choices |= bit;
        if self.choice_finished {
            self.shape.finished |= bit;
        }
        self.choice_finished = false;
    }

    fn count(&mut self, place: Place, units: u64) {
        let slot = match place {
            Place::Input => &mut self.told.usage.input,
            Place::OutputTokens => {
                self.told.counted = None;
                &mut self.told.usage.output
            }
            Place::Cached => &mut self.told.usage.cached,
            Place::CacheWritten => &mut self.told.usage.cache_written,
            Place::Reasoning => &mut self.told.usage.reasoning,
            _ => return,
        };
        // What is not a number of tokens was refused before; a count may be corrected, so the last one is right.
        *slot = Some(units);
        self.told.is_new = true;
    }
}

impl Walk for Answer {
    type Place = Place;

    fn member(&mut self, parent: Place, name: &[u8]) -> Option<Place> {
        let place = match (parent, name) {
            (Place::Root, b"choices") => {
                self.dialect.get_or_insert(Dialect::Chat);
                Place::Choices
            }
            (Place::Root | Place::Message | Place::Response, b"id") => Place::Id,
            (Place::Root | Place::Message | Place::Response, b"model") => Place::Model,
            (Place::Root | Place::Message | Place::Response, b"usage") => Place::Usage,
            (Place::Root, b"created") | (Place::Response, b"created_at") => Place::Created,
            (Place::Root, b"type") => Place::Type,
            (Place::Root, b"delta") => Place::RootDelta,
            (Place::Root, b"message") => Place::Message,
            (Place::Root, b"response") => Place::Response,
            (Place::Root, b"content_block") => Place::Block,
            (Place::Root, b"index") => Place::BlockIndex,
            (Place::Root, b"sequence_number") => Place::Sequence,
            (Place::Root, b"output") => Place::Output,
            (Place::Root, b"done") => Place::Done,
            (Place::Root, b"prompt_eval_count") | (Place::Usage, b"prompt_tokens" | b"input_tokens") => Place::Input,
            (Place::Root, b"eval_count") | (Place::Usage, b"completion_tokens" | b"output_tokens") => {
                Place::OutputTokens
            }
            (Place::Usage, b"cache_read_input_tokens") | (Place::UsageDetails, b"cached_tokens") => Place::Cached,
            (Place::Usage, b"cache_creation_input_tokens") => Place::CacheWritten,
            (Place::UsageDetails, b"reasoning_tokens") => Place::Reasoning,
            (
                Place::Usage,
                b"prompt_tokens_details"
                | b"completion_tokens_details"
                | b"input_tokens_details"
                | b"output_tokens_details",
            ) => Place::UsageDetails,
            (Place::Choice, b"index") => Place::ChoiceIndex,
            (Place::Choice, b"finish_reason") => Place::Finish,
            (Place::Choice, b"delta") => Place::Delta,
            // Beside deltas it is all that they have added so far.
            (Place::Choice, b"message") if self.choices == Choices::Messages => Place::Added,
            (Place::Choice, b"text") => {
                if matches!(self.dialect, None | Some(Dialect::Chat)) {
                    self.dialect = Some(Dialect::Completions);
                }
                Place::Text
            }
            (Place::Root | Place::Delta | Place::Added | Place::Message, b"content") => Place::Content,
            // Servers that write both write the same into each.
            (Place::Delta | Place::Added, b"reasoning_content" | b"reasoning") if self.reasoning == Reasoning::Read => {
                return None;
            }
            (Place::Delta | Place::Added, b"reasoning_content" | b"reasoning") => Place::Thought,
            (Place::Delta | Place::Added, b"refusal")
            | (Place::Root | Place::Message, b"thinking")
            | (Place::Function | Place::Item, b"name" | b"arguments" | b"input")
            // What it says counts, and not how it sounds.
            | (Place::Audio, b"transcript")
            | (Place::Block, b"text" | b"thinking" | b"name")
            | (Place::RootDelta, b"text" | b"partial_json" | b"thinking") => Place::Text,
            (Place::Delta | Place::Added, b"tool_calls") => Place::ToolCalls,
            (Place::Delta | Place::Added, b"audio") => Place::Audio,
            (Place::Delta | Place::Added, b"function_call") | (Place::ToolCall, b"function" | b"custom") => {
                Place::Function
            }
            (Place::Item, b"content" | b"summary") => Place::Blocks,
            _ => return None,
        };
        Some(place)
    }

    fn element(&mut self, parent: Place) -> Option<Place> {
        match parent {
            Place::Choices => Some(Place::Choice),
            Place::ToolCalls => Some(Place::ToolCall),
            Place::Blocks | Place::Content => Some(Place::Block),
            Place::Output => Some(Place::Item),
            _ => None,
        }
    }

    fn open(&mut self, place: Place, object: bool, _at: u64) -> bool {
        match place {
            Place::Root if !object => {
                // `[DONE]`: no document of an answer is a list.
                self.shape.ended = true;
                false
            }
            Place::Output if !object => {
                self.dialect.get_or_insert(Dialect::Responses);
                true
            }
            Place::Choices | Place::ToolCalls | Place::Blocks | Place::Content => !object,
            Place::Delta | Place::Added if object => {
                self.reasoning = Reasoning::Unread;
                if place == Place::Delta {
                    self.choices = Choices::Deltas;
                }
                true
            }
            Place::Root
            | Place::Choice
            | Place::ToolCall
            | Place::Function
            | Place::Audio
            | Place::Block
            | Place::RootDelta
            | Place::Message
            | Place::Response
            | Place::Item
            | Place::Usage
            | Place::UsageDetails => object,
            _ => false,
        }
    }

    fn close(&mut self, place: Place) {
        match place {
            Place::Root => self.finish(),
            Place::Choice => self.choice_ends(),
            _ => {}
        }
    }

    fn text(&mut self, place: Place, piece: &[u8]) {
        match place {
            _ if place.counts() => self.counter.text(piece),
            Place::Id if !self.has_id => push(&mut self.id, piece),
            Place::Model if !self.has_model => push(&mut self.model, piece),
            Place::Type => push(&mut self.kind, piece),
            Place::Finish => self.choice_finished = true,
            _ => {}
        }
    }

    fn text_end(&mut self, place: Place) {
        match place {
            Place::Id => self.has_id = true,
            Place::Model => self.has_model = true,
            // Also one that is empty: what is the same but for its texts has to do the same.
            Place::Thought => self.reasoning = Reasoning::Read,
            Place::Type => {
                let kind = self.kind.as_slice();
                if kind.starts_with(b"response.") {
                    self.dialect.get_or_insert(Dialect::Responses);
                } else if kind.starts_with(b"message") || kind.starts_with(b"content_block") {
                    self.dialect.get_or_insert(Dialect::Messages);
                }
            }
            _ => {}
        }
    }

    fn scalar(&mut self, place: Place, scalar: Scalar, _at: u64) {
        match (place, scalar) {
            (Place::ChoiceIndex, Scalar::Whole(index)) => self.choice = Some(index),
            (Place::BlockIndex, Scalar::Whole(index)) => self.block = Some(index),
            (Place::Created, Scalar::Whole(second)) if self.created == 0 => self.created = second,
            (Place::Sequence, Scalar::Whole(number)) => self.shape.sequence = number,
            (Place::Done, Scalar::True | Scalar::False) => {
                self.dialect.get_or_insert(Dialect::Ollama);
                self.shape.ended |= scalar == Scalar::True;
            }
            (_, Scalar::Whole(units)) if units <= throttlekit::MAX_SAFE => self.count(place, units),
            _ => {}
        }
    }
}

/// As much of it as fits.
pub(crate) fn push<const N: usize>(label: &mut ArrayVec<u8, N>, piece: &[u8]) {
    label.extend(piece.iter().copied().take(label.remaining_capacity()));
}
