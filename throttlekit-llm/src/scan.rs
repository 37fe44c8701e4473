//! From bytes to documents: which of a stream's bytes are JSON.

use std::fmt;

use memchr::memchr2;

use crate::answer::{Answer, Dialect, Event, Place, Shape, Told};
use crate::count::CountTokens;
use crate::json::Reader;
use crate::template::{Compared, Template};
use crate::usage::Usage;

/// How documents lie in the bytes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// Server-sent events: `data:` lines, events end with an empty line.
    Sse,
    /// A document on each line.
    Ndjson,
    /// One document: an answer that does not stream.
    Whole,
    /// Not to be read, such as a compressed answer.
    Opaque,
}

impl Framing {
    /// The framing of a response with these header fields.
    ///
    /// What has a content coding other than `identity` is [`Opaque`](Self::Opaque), as is what is of a type that is not known
    /// here.
    ///
    /// ```
    /// use throttlekit_llm::Framing;
    ///
    /// assert_eq!(Framing::of(Some("text/event-stream; charset=utf-8"), None), Framing::Sse);
    /// assert_eq!(Framing::of(Some("application/x-ndjson"), Some("Identity")), Framing::Ndjson);
    /// assert_eq!(Framing::of(Some("application/json"), None), Framing::Whole);
    /// assert_eq!(Framing::of(Some("text/event-stream"), Some("gzip")), Framing::Opaque);
    /// ```
    pub fn of(content_type: Option<&str>, content_encoding: Option<&str>) -> Self {
        if content_encoding.is_some_and(|codings| !Self::is_plain(codings)) {
            return Self::Opaque;
        }
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            Self::Sse
        } else if is("application/x-ndjson")
            || is("application/ndjson")
            || is("application/jsonl")
            || is("application/x-jsonlines")
        {
            Self::Ndjson
        } else if is("application/json") {
            Self::Whole
        } else {
            Self::Opaque
        }
    }

    /// Whether content with these codings, as `Content-Encoding` lists them, is as it was written.
    ///
    /// ```
    /// use throttlekit_llm::Framing;
    ///
    /// assert!(Framing::is_plain("identity, Identity") && Framing::is_plain(""));
    /// assert!(!Framing::is_plain("identity, gzip"));
    /// ```
    pub fn is_plain(codings: &str) -> bool {
        let mut codings = codings.split(',').map(str::trim);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
    }

    /// Whether an answer consists of lines, so that it can end after any of them.
    pub(crate) fn has_lines(self) -> bool {
        matches!(self, Self::Sse | Self::Ndjson)
    }
}

/// Reads an answer in pieces of any size: counts its text, and finds what the provider says of its tokens.
///
/// It knows the answers of `OpenAI` (chat completions, completions, responses), Anthropic (messages) and Ollama by what is
/// in them. It keeps nothing of an answer but its id, its model and where it is in it, and allocates nothing.
///
/// ```
/// use throttlekit_llm::{BytesPerToken, Dialect, Framing, Scanner};
///
/// let mut scanner = Scanner::new(Framing::Sse, BytesPerToken::default());
/// scanner.feed(br#"data: {"choices":[{"index":0,"delta":{"content":"Hel"#);
/// scanner.feed(b"lo\"}}]}\n\n");
/// assert_eq!((scanner.tokens(), scanner.dialect()), (2, Some(Dialect::Chat)));
/// scanner.feed(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n");
/// assert_eq!((scanner.usage().input, scanner.usage().output), (Some(9), Some(1)));
/// scanner.feed(b"data: [DONE]\n\n");
/// assert!(scanner.has_ended());
/// ```
pub struct Scanner {
    framing: Framing,
    json: Reader<Place>,
    answer: Answer,
    line: Line,
    template: Template,
    /// Something was read since [`keep`](Self::keep) was called last: more of the shape may be another than
    /// the event.
    has_read: bool,
    /// A line feed that comes now belongs to the line's end before it.
    after_cr: bool,
}

/// What a line of events is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// As many bytes of `data:` came.
    Start(u8),
    /// As many bytes of a byte order mark came, with which a stream may begin.
    Mark(u8),
    Data,
    Other,
}

const DATA: &[u8] = b"data:";
const MARK: &[u8] = b"\xEF\xBB\xBF";

impl Scanner {
    /// At the start of an answer.
    pub fn new(framing: Framing, counter: impl CountTokens) -> Self {
        Self::boxed(framing, Box::new(counter))
    }

    pub(crate) fn boxed(framing: Framing, counter: Box<dyn CountTokens>) -> Self {
        Self {
            framing,
            json: Reader::new(Place::Root),
            answer: Answer::new(counter),
            line: Line::Mark(0),
            template: Template::new(framing.has_lines()),
            has_read: false,
            after_cr: false,
        }
    }

    /// Reads on.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.answer.shape.last = Some(*last);
        }
        self.read(bytes);
    }

    fn read(&mut self, bytes: &[u8]) {
        match self.framing {
            Framing::Sse => self.events(bytes),
            Framing::Ndjson => self.lines(bytes),
            Framing::Whole => {
                self.has_read = true;
                self.json.read(bytes, &mut self.answer);
            }
            Framing::Opaque => self.answer.counter.text(bytes),
        }
    }

    /// The answer is over: what came of a last line counts as one.
    pub fn finish(&mut self) {
        if self.framing != Framing::Opaque && !self.answer.shape.is_at_line_start() {
            self.read(b"\n");
        }
    }

    /// How many tokens were produced so far, as the counter has it.
    pub fn tokens(&mut self) -> u64 {
        self.answer.counter.tokens()
    }

    /// What the provider said so far of how many there are.
    pub fn usage(&self) -> Usage {
        self.answer.told.usage
    }

    /// How many tokens were produced so far: what the provider said, and what was counted since it said so.
    pub fn output(&mut self) -> u64 {
        let counted = self.answer.counter.tokens();
        self.answer.told.output(counted)
    }

    /// By which API the answer is written, once that is clear.
    pub fn dialect(&self) -> Option<Dialect> {
        self.answer.dialect
    }

    /// Whether the answer has said that it is over.
    pub fn has_ended(&self) -> bool {
        self.answer.shape.ended
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn answer(&self) -> &Answer {
        &self.answer
    }

    pub(crate) fn shape(&self) -> Shape {
        self.answer.shape
    }

    /// Makes `shape` and `told`, which are what this made of them before, those that there are now.
    pub(crate) fn keep(&mut self, shape: &mut Shape, told: &mut Told) {
        // Events that are the same leave the rest as it was, which is not worth a copy for each chunk.
        if std::mem::take(&mut self.has_read) {
            *shape = self.answer.shape;
            if std::mem::take(&mut self.answer.told.is_new) {
                *told = self.answer.told;
            }
        } else {
            (shape.event, shape.last) = (self.answer.shape.event, self.answer.shape.last);
        }
    }

    fn events(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            let begins = self.line == Line::Start(0) && byte == b'd' && self.json.is_fresh();
            if begins {
                let after = self.template.pass(rest, &mut self.answer);
                if after.len() < rest.len() {
                    self.event_passed();
                    rest = after;
                    continue;
                }
            }
            if begins || self.template.is_within() {
                self.after_cr = false;
                match self.template.compare(rest, &mut self.json, &mut self.answer) {
                    Compared::More => {
                        self.answer.shape.event = Event::Data;
                        return;
                    }
                    Compared::Same(after) => {
                        self.event_passed();
                        rest = after;
                        continue;
                    }
                    Compared::Differs(differs) => {
                        let (bytes, at) = self.template.take_before();
                        let mut before = bytes.get(..at).unwrap_or_default();
                        while !before.is_empty() {
                            self.read_on(&mut before);
                        }
                        self.template.put_back(bytes);
                        rest = differs;
                        continue;
                    }
                    Compared::Never => {}
                }
                if self.whole_line(&mut rest) {
                    continue;
                }
            }
            self.read_on(&mut rest);
        }
    }

    /// An event was the same to its end. A line feed that still belongs to that is an empty line here, which says nothing.
    fn event_passed(&mut self) {
        (self.after_cr, self.answer.shape.event) = (false, Event::Complete);
    }

    /// Reads some of `rest`, which is not empty.
    fn read_on(&mut self, rest: &mut &[u8]) {
        let Some((&byte, after)) = rest.split_first() else { return };
        self.has_read = true;
        if self.after_cr {
            self.after_cr = false;
            if byte == b'\n' {
                *rest = after;
                return;
            }
        }
        let is_empty = matches!((self.line, byte), (Line::Start(0) | Line::Mark(0), b'\n' | b'\r'));
        if self.answer.shape.event == Event::Complete && !is_empty {
            self.answer.shape.event = Event::Begun;
        }
        match self.line {
            Line::Data | Line::Other => {
                let end = memchr2(b'\n', b'\r', rest);
                let (line, next) = rest.split_at(end.unwrap_or(rest.len()));
                if self.line == Line::Data {
                    self.json.read(line, &mut self.answer);
                }
                *rest = next;
                if let Some((&byte, next)) = next.split_first() {
                    self.line_ends(byte);
                    *rest = next;
                }
            }
            Line::Mark(came) => match MARK.get(usize::from(came)) {
                Some(mark) if *mark == byte => {
                    self.line = if usize::from(came) + 1 == MARK.len() { Line::Start(0) } else { Line::Mark(came + 1) };
                    *rest = after;
                }
                _ => self.line = if came == 0 { Line::Start(0) } else { Line::Other },
            },
            Line::Start(0) if matches!(byte, b'\n' | b'\r') => {
                self.after_cr = byte == b'\r';
                self.next_document();
                self.answer.shape.event = Event::Complete;
                *rest = after;
            }
            Line::Start(came) => match DATA.get(usize::from(came)) {
                Some(expected) if *expected == byte => {
                    self.line = Line::Start(came + 1);
                    if usize::from(came) + 1 == DATA.len() {
                        (self.line, self.answer.shape.event) = (Line::Data, Event::Data);
                    }
                    *rest = after;
                }
                _ => self.line = Line::Other,
            },
        }
    }

    /// Reads the line at the start of `rest`, and keeps it, if all of it is there and it is one of data.
    fn whole_line(&mut self, rest: &mut &[u8]) -> bool {
        let Some(end) = memchr2(b'\n', b'\r', rest).filter(|_| rest.starts_with(DATA)) else { return false };
        let (line, after) = rest.split_at(end);
        self.has_read = true;
        // The line feed that may follow the last of these belongs to it.
        let ends: [&[u8]; 2] = [b"\n\n", b"\r\n\r"];
        let event_end = ends.into_iter().find(|end| after.starts_with(end)).unwrap_or_default();
        self.template.read(line, event_end, DATA.len(), &mut self.json, &mut self.answer);
        *rest = after;
        // Its end is read as that of any line of data.
        self.line = Line::Data;
        true
    }

    fn line_ends(&mut self, byte: u8) {
        self.after_cr = byte == b'\r';
        if self.line == Line::Data {
            self.json.end_line(&mut self.answer);
            self.answer.shape.event = if self.json.is_closed() { Event::Data } else { Event::Open };
        }
        self.line = Line::Start(0);
    }

    fn lines(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let fresh = self.json.is_fresh();
            if fresh {
                let after = self.template.pass(rest, &mut self.answer);
                if after.len() < rest.len() {
                    rest = after;
                    continue;
                }
            }
            if fresh || self.template.is_within() {
                match self.template.compare(rest, &mut self.json, &mut self.answer) {
                    Compared::More => return,
                    Compared::Same(after) => {
                        rest = after;
                        continue;
                    }
                    Compared::Differs(differs) => {
                        self.has_read = true;
                        let (bytes, at) = self.template.take_before();
                        self.json.read(bytes.get(..at).unwrap_or_default(), &mut self.answer);
                        self.template.put_back(bytes);
                        rest = differs;
                        continue;
                    }
                    Compared::Never => {}
                }
            }
            self.has_read = true;
            let end = memchr2(b'\n', b'\r', rest);
            let (line, next) = rest.split_at(end.unwrap_or(rest.len()));
            if fresh && end.is_some() && !line.is_empty() {
                let end = next.get(..1).unwrap_or_default();
                self.template.read(line, end, 0, &mut self.json, &mut self.answer);
            } else {
                self.json.read(line, &mut self.answer);
            }
            if end.is_some() {
                self.next_document();
            }
            rest = next.get(1..).unwrap_or_default();
        }
    }

    fn next_document(&mut self) {
        self.json.restart();
        self.answer.restart();
    }
}

impl fmt::Debug for Scanner {
    /// Shows no text of the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner")
            .field("framing", &self.framing)
            .field("dialect", &self.answer.dialect)
            .field("usage", &self.answer.told.usage)
            .finish_non_exhaustive()
    }
}
