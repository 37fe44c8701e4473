//! What a request asks for: how long its input is, and how much it may cost.

use arrayvec::ArrayVec;
use bytes::Bytes;
use memchr::memchr;
use percent_encoding::percent_decode_str;
use throttlekit::{Error, MAX_SAFE};

use crate::answer::{Dialect, Label, push};
use crate::count::CountTokens;
use crate::json::{DEPTH, Reader, Scalar, Walk};

impl Dialect {
    /// The API at a path of the provider: the last parts of it decide, so that prefixes do not matter.
    ///
    /// Spellings that a server may take for the same path have the same API: escapes, dot segments, empty segments, and
    /// letters in either case.
    ///
    /// ```
    /// use throttlekit_llm::Dialect;
    ///
    /// assert_eq!(Dialect::of_path("/openai/v1/chat/completions"), Some(Dialect::Chat));
    /// assert_eq!(Dialect::of_path("/v1/messages"), Some(Dialect::Messages));
    /// assert_eq!(Dialect::of_path("/v1/models/..//%63hat/Completions/."), Some(Dialect::Chat));
    /// assert_eq!(Dialect::of_path("/v1/models"), None);
    /// ```
    pub fn of_path(path: &str) -> Option<Self> {
        // No spelling should go uncounted.
        let path = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
        let mut segments = Vec::new();
        for segment in path.split(['/', '\\']) {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                segment => segments.push(segment),
            }
        }
        match segments[..] {
            [.., "chat", "completions"] => Some(Self::Chat),
            [.., "completions"] => Some(Self::Completions),
            [.., "responses"] => Some(Self::Responses),
            [.., "messages"] => Some(Self::Messages),
            [.., "api", "chat" | "generate"] => Some(Self::Ollama),
            _ => None,
        }
    }
}

/// What a request to a model asks for, read from its JSON body.
///
/// ```
/// use throttlekit_llm::{BytesPerToken, Dialect, ModelRequest};
///
/// let body = br#"{"model":"m","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"Hello, you"}]}"#;
/// let request = ModelRequest::read(Dialect::Chat, body, &mut BytesPerToken::default())?;
/// assert_eq!((request.model(), request.input(), request.max_output()), ("m", 3, Some(100)));
/// assert_eq!(request.reservation(1_000), 103);
/// let body = request.with_usage(body.to_vec().into());
/// assert!(body.starts_with(br#"{"stream_options":{"include_usage":true},"model":"m","#));
/// # Ok::<(), throttlekit::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRequest {
    dialect: Dialect,
    model: String,
    input: u64,
    max_output: Option<u64>,
    choices: u64,
    stream: bool,
    background: bool,
    wish: Option<Wish>,
}

/// The wish for usage, and where it is to be added, in bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    at: usize,
    /// How many bytes make room for it: all of a `null`. Otherwise it is the first member of an object.
    instead: usize,
    text: &'static str,
}

const NULL: usize = "null".len();

impl ModelRequest {
    /// Reads a request of an API. `counter` counts the texts of its input: messages, prompts, instructions and tools,
    /// without names of members and without the images and other files in messages. A whole number in them is a token, since
    /// a prompt may be given as its tokens.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the body is no JSON object in UTF-8: some servers read other encodings, in which nothing would be
    /// found here. It is not validated further, which is up to the provider: what is no number where a number should be is as
    /// if it were missing.
    pub fn read(dialect: Dialect, body: &[u8], counter: &mut impl CountTokens) -> Result<Self, Error> {
        let mut asked = Asked::new(dialect, counter);
        let mut reader = Reader::new(Place::Root);
        // UTF-16 and UTF-32 of what JSON is made of have bytes of zero, which it never has itself.
        let is_text = memchr(0, body).is_none() && std::str::from_utf8(body).is_ok();
        reader.read(if is_text { body } else { b"" }, &mut asked);
        let root = asked.root.filter(|_| reader.is_closed());
        let Some(root) = root else {
            return Err(Error::invalid_argument("the body of the request is no JSON object in UTF-8"));
        };
        let completes = matches!(dialect, Dialect::Chat | Dialect::Completions);
        let wish = match (asked.options, asked.usage) {
            _ if !completes || asked.stream != Some(true) => None,
            (Said::Nothing, _) => {
                Some(Wish { at: root, instead: 0, text: r#""stream_options":{"include_usage":true}"# })
            }
            (Said::Null(at), _) => Some(Wish { at, instead: NULL, text: r#"{"include_usage":true}"# }),
            (Said::Object(at), Said::Nothing) => Some(Wish { at, instead: 0, text: r#""include_usage":true"# }),
            (Said::Object(_), Said::Null(at)) => Some(Wish { at, instead: NULL, text: "true" }),
            (Said::Object(_) | Said::Other, _) => None,
        };
        Ok(Self {
            dialect,
            model: String::from_utf8_lossy(&asked.model).into_owned(),
            input: asked.counter.tokens().saturating_add(asked.numbers).min(MAX_SAFE),
            max_output: asked.max,
            choices: asked.choices.max(1).saturating_mul(asked.prompts.max(1)),
            // Of these APIs, this one streams unless it is told not to.
            stream: asked.stream.unwrap_or(dialect == Dialect::Ollama),
            background: asked.background,
            wish,
        })
    }

    /// By which API it asks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The model, up to 96 bytes of its name; empty if it names none.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Tokens of its input, as the counter has it.
    pub fn input(&self) -> u64 {
        self.input
    }

    /// The most tokens that one answer may have, if it says so: the larger number where its API has two names for it.
    pub fn max_output(&self) -> Option<u64> {
        self.max_output
    }

    /// How many answers it wants, at least 1: as many as it says, to each of its prompts.
    pub fn choices(&self) -> u64 {
        self.choices
    }

    /// Whether it wants a stream.
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// Whether its answer is to be fetched by other requests, once it is there: `background` of the responses API, unless it
    /// is `false` or `null`. What answers this one then says nothing of its cost.
    pub fn background(&self) -> bool {
        self.background
    }

    /// The most tokens that it may cost: those of its input, and of each answer the most that it may have, or `output` if
    /// it does not say; at most 2^53 - 1.
    pub fn reservation(&self, output: u64) -> u64 {
        let output = self.max_output.unwrap_or(output).saturating_mul(self.choices);
        self.input.saturating_add(output).min(MAX_SAFE)
    }

    /// The body with the wish that the stream say in the end what it cost, if the API has to be asked for that and the body
    /// does not say whether, or says `null`. `body` must be the one that was read.
    ///
    /// Nothing else of it changes: a few bytes are put in, or take the place of the `null`, so the order of its members and
    /// the way its numbers are written stay. The client then gets an event with usage and without choices that it did not
    /// ask for.
    pub fn with_usage(&self, body: Bytes) -> Bytes {
        let Some(Wish { at, instead, text }) = self.wish else { return body };
        let parts = body.split_at_checked(at).and_then(|(before, rest)| Some((before, rest.get(instead..)?)));
        let Some((before, after)) = parts else { return body };
        let alone = after.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
        let mut longer = Vec::with_capacity(body.len() + text.len() + 1);
        longer.extend_from_slice(before);
        longer.extend_from_slice(text.as_bytes());
        if instead == 0 && !alone {
            longer.push(b',');
        }
        longer.extend_from_slice(after);
        longer.into()
    }
}

/// A place in a request of any dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Model,
    Max,
    Choices,
    Stream,
    Background,
    Options,
    IncludeUsage,
    /// The options of Ollama.
    Settings,
    /// Messages and prompts, their parts and what these consist of: texts, calls and files.
    Message,
    /// One prompt or several, and one of these.
    Prompts,
    Prompt,
    /// Parts with names of the client's.
    Variables,
    /// Of what type that is, and what it holds.
    Type,
    Data,
    /// Input, all the way down.
    Input,
}

/// What a request says where it may ask for usage, and where that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// As good as nothing: it is the default.
    Null(usize),
    /// What is in it begins here.
    Object(usize),
    /// Something else: left alone.
    Other,
}

/// An object in a message, as far as it was read.
#[derive(Default)]
struct Part {
    kind: ArrayVec<u8, 8>,
    /// It says that it is a text.
    is_text: bool,
    /// What it holds, until it says so.
    data: Vec<u8>,
}

struct Asked<'a, C> {
    dialect: Dialect,
    counter: &'a mut C,
    /// Tokens of the input that are written as such.
    numbers: u64,
    root: Option<usize>,
    model: Label,
    max: Option<u64>,
    choices: u64,
    prompts: u64,
    stream: Option<bool>,
    background: bool,
    /// `stream_options`, and `include_usage` of these.
    options: Said,
    usage: Said,
    /// The parts of a message that are being read, each within the one before.
    parts: ArrayVec<Part, DEPTH>,
}

impl<'a, C> Asked<'a, C> {
    fn new(dialect: Dialect, counter: &'a mut C) -> Self {
        Self {
            dialect,
            counter,
            numbers: 0,
            root: None,
            model: ArrayVec::new(),
            max: None,
            choices: 1,
            prompts: 0,
            stream: None,
            background: false,
            options: Said::Nothing,
            usage: Said::Nothing,
            parts: ArrayVec::new(),
        }
    }
}

impl<C> Asked<'_, C> {
    /// What a member of the request bounds by its API. Others do not look at it.
    fn bound(&self, name: &[u8]) -> Option<Place> {
        let place = match (self.dialect, name) {
            (Dialect::Chat, b"max_completion_tokens")
            | (Dialect::Chat | Dialect::Completions | Dialect::Messages, b"max_tokens")
            | (Dialect::Responses, b"max_output_tokens") => Place::Max,
            (Dialect::Chat | Dialect::Completions, b"n" | b"best_of") => Place::Choices,
            _ => return None,
        };
        Some(place)
    }
}

impl<C: CountTokens> Walk for Asked<'_, C> {
    type Place = Place;

    fn member(&mut self, parent: Place, name: &[u8]) -> Option<Place> {
        match (parent, name) {
            (Place::Root, b"model") => Some(Place::Model),
            (Place::Settings, b"num_predict") => Some(Place::Max),
            (Place::Root, b"stream") => Some(Place::Stream),
            (Place::Root, b"background") => Some(Place::Background),
            (Place::Root, b"stream_options") => {
                (self.options, self.usage) = (Said::Other, Said::Nothing);
                Some(Place::Options)
            }
            (Place::Options, b"include_usage") => {
                self.usage = Said::Other;
                Some(Place::IncludeUsage)
            }
            (Place::Root, b"options") if self.dialect == Dialect::Ollama => Some(Place::Settings),
            (Place::Message, b"type") => {
                if let Some(part) = self.parts.last_mut() {
                    part.kind.clear();
                }
                Some(Place::Type)
            }
            // Of a document it may be a text.
            (Place::Message, b"data") => Some(Place::Data),
            // Images, sounds and files, by address or in themselves; and what is no text.
            (
                Place::Message,
                b"url" | b"image_url" | b"file_data" | b"images" | b"role" | b"id" | b"tool_call_id" | b"file_id"
                | b"signature",
            ) => None,
            // In calls and tools these are names as any other.
            (Place::Message, b"input" | b"function" | b"arguments" | b"tools")
            | (Place::Input, _)
            | (Place::Root, b"instructions" | b"tools" | b"functions" | b"suffix") => Some(Place::Input),
            (Place::Message, b"variables") => Some(Place::Variables),
            (Place::Root, b"prompt") if self.dialect == Dialect::Completions => Some(Place::Prompts),
            (Place::Root, b"messages" | b"input" | b"system" | b"prompt")
            | (Place::Message | Place::Variables | Place::Prompts | Place::Prompt, _) => Some(Place::Message),
            (Place::Root, name) => self.bound(name),
            _ => None,
        }
    }

    fn element(&mut self, parent: Place) -> Option<Place> {
        match parent {
            Place::Message | Place::Input => Some(parent),
            Place::Prompts => Some(Place::Prompt),
            Place::Prompt => Some(Place::Message),
            _ => None,
        }
    }

    fn open(&mut self, place: Place, object: bool, at: u64) -> bool {
        let at = usize::try_from(at).ok();
        match place {
            Place::Root if object => {
                self.root = at;
                true
            }
            Place::Options if object => {
                self.options = at.map_or(Said::Other, Said::Object);
                true
            }
            Place::Settings | Place::Variables => object,
            Place::Message => {
                // No deeper than what is read.
                let _ = self.parts.try_push(Part::default());
                true
            }
            Place::Prompt => {
                self.prompts = self.prompts.saturating_add(1);
                true
            }
            Place::Background => {
                self.background = true;
                false
            }
            Place::Input | Place::Prompts => true,
            _ => false,
        }
    }

    fn close(&mut self, place: Place) {
        if place == Place::Message {
            self.parts.pop();
        }
    }

    fn text(&mut self, place: Place, piece: &[u8]) {
        match place {
            Place::Message | Place::Input | Place::Prompts | Place::Prompt => self.counter.text(piece),
            Place::Type => self.parts.last_mut().into_iter().for_each(|part| push(&mut part.kind, piece)),
            Place::Data => match self.parts.last_mut() {
                Some(part) if part.is_text => self.counter.text(piece),
                Some(part) => part.data.extend_from_slice(piece),
                None => {}
            },
            Place::Model => push(&mut self.model, piece),
            _ => {}
        }
    }

    fn text_end(&mut self, place: Place) {
        match (place, self.parts.last_mut()) {
            (Place::Type, Some(part)) if part.kind.as_slice() == b"text" => {
                part.is_text = true;
                self.counter.text(&std::mem::take(&mut part.data));
            }
            (Place::Prompt, _) => self.prompts = self.prompts.saturating_add(1),
            (Place::Background, _) => self.background = true,
            _ => {}
        }
    }

    fn beyond(&mut self, place: Place, bytes: &[u8]) {
        self.text(place, bytes);
    }

    fn scalar(&mut self, place: Place, scalar: Scalar, at: u64) {
        let null = || usize::try_from(at).map_or(Said::Other, Said::Null);
        match (place, scalar) {
            (Place::Options, Scalar::Null) => self.options = null(),
            (Place::IncludeUsage, Scalar::Null) => self.usage = null(),
            (Place::Message | Place::Input | Place::Prompt, Scalar::Whole(_)) => {
                self.numbers = self.numbers.saturating_add(1);
            }
            (Place::Max, Scalar::Whole(tokens)) => self.max = self.max.max(Some(tokens)),
            (Place::Choices, Scalar::Whole(choices)) => self.choices = self.choices.max(choices),
            (Place::Stream, Scalar::True) => self.stream = Some(true),
            (Place::Stream, Scalar::False) => self.stream = Some(false),
            (Place::Background, _) => self.background |= !matches!(scalar, Scalar::False | Scalar::Null),
            _ => {}
        }
    }
}
