//! Events that differ from the one before in their text alone.
//!
//! Most events of a stream are the same but for a few words. To read a document by the byte takes longer than to pass it
//! on, so the last event that was read is kept, and what follows is compared with it: the same bytes put the reader
//! into the same state, and only what is between them has to be counted. What is not the same is read.
//!
//! A line may come in pieces. One that began the same and goes on otherwise is read from its start: what came of it is
//! known, but for its texts, and these are counted.

use arrayvec::ArrayVec;
use memchr::{memchr, memchr3};

use crate::answer::{Answer, Place};
use crate::json::{Reader, Scalar, Walk};

/// Longer events are read.
const MAX_BYTES: usize = 1_024;
/// The longest end of an event.
const MAX_END: usize = 3;
/// Events with more texts that may differ are read.
const MAX_TEXTS: usize = 8;
/// After so many events that were read in vain, only each such many is kept.
const PATIENCE: u32 = 8;

/// The bytes of one line and its end, with gaps for texts.
#[derive(Debug)]
pub(crate) struct Template {
    /// Of the line without its texts.
    bytes: Vec<u8>,
    gaps: ArrayVec<Gap, MAX_TEXTS>,
    /// How many of these bytes came of the line that is being compared, and how many of the gaps are behind them.
    at: usize,
    filled: usize,
    /// Lines that were read since one was the same.
    misses: u32,
    /// No line was the same as what is kept.
    unused: bool,
    /// Texts that do not count differ too.
    wide: bool,
}

/// Where in the bytes of a template a text is, and what it is.
#[derive(Clone, Copy, Debug)]
struct Gap {
    at: usize,
    place: Place,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared<'a> {
    /// It is not the same, and nothing of it was counted.
    Never,
    /// It is the same as far as it came.
    More,
    /// A line was the same and is counted. This follows it.
    Same(&'a [u8]),
    /// What came [before](Template::take_before) was the same and is counted, and this is not.
    Differs(&'a [u8]),
}

impl Template {
    /// With room for any line that is kept, if there are lines.
    pub(crate) fn new(lines: bool) -> Self {
        let bytes = Vec::with_capacity(if lines { MAX_BYTES + MAX_END } else { 0 });
        Self { bytes, gaps: ArrayVec::new(), at: 0, filled: 0, misses: 0, unused: false, wide: false }
    }

    /// Whether a line is being compared.
    pub(crate) fn is_within(&self) -> bool {
        self.at > 0
    }

    /// Compares `bytes`: with the start of a line, or with where the bytes before them ended. What is the same is counted,
    /// by a reader that is at the start of a document and stays there.
    pub(crate) fn compare<'a>(
        &mut self,
        bytes: &'a [u8],
        reader: &mut Reader<Place>,
        answer: &mut Answer,
    ) -> Compared<'a> {
        if self.gaps.is_empty() {
            return Compared::Never;
        }
        let begins = self.at == 0;
        let mut found: ArrayVec<(Place, Found<'a>), MAX_TEXTS> = ArrayVec::new();
        let mut rest = bytes;
        let compared = loop {
            let gap = self.gaps.get(self.filled);
            let gap = match gap {
                Some(gap) if gap.at == self.at => {
                    let (text, after) = Found::of(rest);
                    // There are not more gaps than have room.
                    if text == Found::Unclear || found.try_push((gap.place, text)).is_err() {
                        break Compared::Differs(rest);
                    }
                    if after.is_empty() {
                        break Compared::More;
                    }
                    rest = after;
                    self.filled += 1;
                    self.gaps.get(self.filled)
                }
                gap => gap,
            };
            let to = gap.map_or(self.bytes.len(), |gap| gap.at);
            let kept = self.bytes.get(self.at..to).unwrap_or_default();
            let Some((same, after)) = rest.split_at_checked(kept.len()) else {
                if !kept.starts_with(rest) {
                    break Compared::Differs(rest);
                }
                self.at += rest.len();
                break Compared::More;
            };
            if same != kept {
                break Compared::Differs(rest);
            }
            rest = after;
            self.at = to;
            if gap.is_none() {
                (self.at, self.filled, self.misses, self.unused) = (0, 0, 0, false);
                break Compared::Same(rest);
            }
        };
        if begins && matches!(compared, Compared::Differs(_)) {
            (self.at, self.filled) = (0, 0);
            return Compared::Never;
        }
        for (place, text) in &found {
            text.count(*place, reader, answer);
        }
        compared
    }

    /// What came of a line that is not the same after all, without its texts. It is given back by
    /// [`put_back`](Self::put_back).
    pub(crate) fn take_before(&mut self) -> (Vec<u8>, usize) {
        let at = std::mem::take(&mut self.at);
        self.filled = 0;
        (std::mem::take(&mut self.bytes), at)
    }

    pub(crate) fn put_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// Reads `line`, a document with `skip` bytes before it, and keeps it if lines that are the same but for their texts do
    /// the same to the answer. `end` is that of the event: without it, or where it is not known yet, nothing is kept.
    pub(crate) fn read(
        &mut self,
        line: &[u8],
        end: &[u8],
        skip: usize,
        reader: &mut Reader<Place>,
        answer: &mut Answer,
    ) {
        let document = line.get(skip..).unwrap_or_default();
        self.misses = self.misses.saturating_add(1);
        let rarely = self.misses > PATIENCE && self.misses % PATIENCE != 0;
        if line.len() > MAX_BYTES || end.is_empty() || rarely {
            return reader.read(document, answer);
        }
        let mut watch = Watch { answer, start: line.as_ptr().addr(), texts: ArrayVec::new(), open: None, same: true };
        reader.read(document, &mut watch);
        let Watch { texts, same, .. } = watch;
        let counts = |text: &Text| text.place != Place::Ignored;
        if !same || !reader.is_closed() || !texts.iter().any(counts) || !answer.only_adds() {
            return;
        }
        // What is kept should have been the same, but for something that does not count.
        self.wide |= self.unused;
        self.unused = true;
        self.bytes.clear();
        self.gaps.clear();
        let mut from = 0;
        for text in texts.iter().filter(|text| self.wide || counts(text)) {
            // A broken escape may stand before what is read of a text, or after it.
            let is_all = line.get(text.end) == Some(&b'"');
            let before = line.get(from..text.start).filter(|before| is_all && before.ends_with(b"\""));
            let Some(before) = before else { return self.gaps.clear() };
            self.bytes.extend_from_slice(before);
            self.gaps.push(Gap { at: self.bytes.len(), place: text.place });
            from = text.end;
        }
        self.bytes.extend_from_slice(line.get(from..).unwrap_or_default());
        self.bytes.extend_from_slice(end);
    }
}

/// A text, or as much of it as came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found<'a> {
    /// Up to its quote.
    Plain(&'a [u8]),
    /// With escapes, and its quote.
    Escaped(&'a [u8]),
    /// Without its quote.
    Part(&'a [u8]),
    /// An escape that may be cut, or an end of the line within it.
    Unclear,
}

/// Most texts are shorter: a search by the vector takes longer to begin than these bytes do.
const WORD: usize = 32;

/// The bytes that a text does not have as such, or that say what follows it.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    ends[b'"' as usize] = true;
    ends[b'\\' as usize] = true;
    ends[b'\n' as usize] = true;
    ends[b'\r' as usize] = true;
    ends
};

impl<'a> Found<'a> {
    /// The text at the start of `rest`, and what follows it from its quote: nothing if the text goes on.
    fn of(rest: &'a [u8]) -> (Self, &'a [u8]) {
        let (word, more) = rest.split_at(rest.len().min(WORD));
        let end = word.iter().position(|byte| ENDS[usize::from(*byte)]);
        let end = end.unwrap_or_else(|| {
            let end = memchr3(b'"', b'\\', b'\n', more).unwrap_or(more.len());
            let line_end = more.get(..end).and_then(|text| memchr(b'\r', text));
            word.len() + line_end.unwrap_or(end)
        });
        let (text, after) = rest.split_at(end);
        match after.first() {
            None => (Self::Part(text), after),
            Some(b'"') => (Self::Plain(text), after),
            Some(_) => match escaped_end(rest, end).and_then(|end| Some((rest.get(..=end)?, rest.get(end..)?))) {
                Some((text, after)) => (Self::Escaped(text), after),
                None => (Self::Unclear, after),
            },
        }
    }

    fn count(self, place: Place, reader: &mut Reader<Place>, answer: &mut Answer) {
        match self {
            Self::Plain(text) | Self::Part(text) if !text.is_empty() => answer.text(place, text),
            Self::Escaped(text) => reader.read_text(place, text, answer),
            _ => {}
        }
    }
}

/// Where the quote is that ends the text whose first escape is `at`, if it is there.
fn escaped_end(rest: &[u8], at: usize) -> Option<usize> {
    let mut bytes = rest.iter().enumerate().skip(at);
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(index),
            b'\n' | b'\r' => return None,
            // What follows a backslash ends nothing, unless it is the end of the line.
            b'\\' if matches!(bytes.next(), None | Some((_, b'\n' | b'\r'))) => return None,
            _ => {}
        }
    }
    None
}

/// Where a text is in its line.
#[derive(Clone, Copy, Debug)]
struct Text {
    start: usize,
    end: usize,
    place: Place,
}

/// Sees what a document does to the answer.
struct Watch<'a> {
    answer: &'a mut Answer,
    /// Where the line is in memory: pieces of text are parts of it.
    start: usize,
    texts: ArrayVec<Text, MAX_TEXTS>,
    open: Option<Text>,
    /// Whether another line that is the same but for its texts does the same.
    same: bool,
}

impl Walk for Watch<'_> {
    type Place = Place;

    fn member(&mut self, parent: Place, name: &[u8]) -> Option<Place> {
        // A text that is not read may differ too.
        self.answer.member(parent, name).or(Some(Place::Ignored))
    }

    fn element(&mut self, parent: Place) -> Option<Place> {
        self.answer.element(parent)
    }

    fn open(&mut self, place: Place, object: bool, at: u64) -> bool {
        self.answer.open(place, object, at)
    }

    fn close(&mut self, place: Place) {
        self.answer.close(place);
    }

    fn text(&mut self, place: Place, piece: &[u8]) {
        match place {
            Place::Text | Place::Content | Place::RootDelta | Place::Response | Place::Ignored => {
                let start = piece.as_ptr().addr().wrapping_sub(self.start);
                let text = Text { start, end: start.wrapping_add(piece.len()), place };
                // Of a text with escapes, what is read is not what is written.
                self.same &= self.open.replace(text).is_none();
            }
            _ => {}
        }
        self.answer.text(place, piece);
    }

    fn text_end(&mut self, place: Place) {
        if let Some(text) = self.open.take() {
            self.same &= self.texts.try_push(text).is_ok();
        }
        self.answer.text_end(place);
    }

    fn scalar(&mut self, place: Place, scalar: Scalar) {
        // What tells how many tokens there are, or the number of an event, tells it each time.
        self.same &= !place.tells() || !matches!(scalar, Scalar::Whole(_) | Scalar::True);
        self.answer.scalar(place, scalar);
    }
}
