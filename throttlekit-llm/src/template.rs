//! Events that differ from the one before in their text alone.
//!
//! Most events of a stream are the same but for a few words. To read a document by the byte takes longer than to pass it
//! on, so the last event that was read is kept, and what follows is compared with it: the same bytes put the reader
//! into the same state, and only what is between them has to be counted. What is not the same is read.
//!
//! A line may come in pieces. One that began the same and goes on otherwise is read from its start: what came of it is
//! known, but for its texts, and these are counted.

use arrayvec::ArrayVec;

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

    /// Counts the whole lines that are the same and have no escapes, at the start of `bytes`. This follows them: all of it
    /// while a line [is compared](Self::is_within).
    pub(crate) fn pass<'a>(&mut self, bytes: &'a [u8], answer: &mut Answer) -> &'a [u8] {
        let mut rest = bytes;
        if !self.gaps.is_empty() && !self.is_within() {
            while let Some(after) = self.pass_line(rest, answer) {
                rest = after;
            }
        }
        if rest.len() < bytes.len() {
            (self.misses, self.unused) = (0, false);
        }
        rest
    }

    /// One of these lines.
    #[inline]
    fn pass_line<'a>(&self, bytes: &'a [u8], answer: &mut Answer) -> Option<&'a [u8]> {
        let mut texts: ArrayVec<&[u8], MAX_TEXTS> = ArrayVec::new();
        let (mut rest, mut at) = (bytes, 0);
        for gap in &self.gaps {
            let after = rest.strip_prefix(self.bytes.get(at..gap.at)?)?;
            // What follows begins with a quote, so a text that ends otherwise is not the same.
            let (text, after) = after.split_at_checked(plain(after))?;
            texts.try_push(text).ok()?;
            (rest, at) = (after, gap.at);
        }
        let rest = rest.strip_prefix(self.bytes.get(at..)?)?;
        for (gap, text) in self.gaps.iter().zip(&texts) {
            answer.add(gap.place, text);
        }
        Some(rest)
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
        let counts = |text: &Text| text.place.counts();
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

/// Bytes that are looked at together.
const WORD: usize = size_of::<u128>();

/// Which bytes of a word [end what is plain](ends_plain): all bits of theirs are set, and none of the others.
#[inline]
fn ends_in(word: [u8; WORD]) -> u128 {
    // The compiler makes vectors of this.
    let mut ends = [0; WORD];
    for (end, byte) in ends.iter_mut().zip(word) {
        *end = u8::from(ends_plain(byte)).wrapping_neg();
    }
    u128::from_le_bytes(ends)
}

/// Whether a text goes on differently at `byte`: its quote, an escape, or what none has as such.
#[allow(clippy::needless_bitwise_bool)] // with `||` the compiler makes branches, and no vectors
const fn ends_plain(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < b' ')
}

/// How many bytes at the start of a text are plain.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    // Most texts are a few bytes: to look at all of them takes no branch that depends on how many.
    let ends = bytes.first_chunk().map_or(0, |word| ends_in(*word));
    if ends == 0 { plain_of_many(bytes) } else { ends.trailing_zeros() as usize / 8 }
}

#[inline(never)]
fn plain_of_many(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4 * WORD;
    // The compiler makes vectors of this.
    let is_plain = |block: &&[u8]| !block.iter().fold(false, |ends, byte| ends | ends_plain(*byte));
    let mut at = bytes.chunks_exact(BLOCK).take_while(is_plain).count() * BLOCK;
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((word, after)) = rest.split_first_chunk() {
        let ends = ends_in(*word);
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        (at, rest) = (at + WORD, after);
    }
    at + rest.iter().position(|byte| ends_plain(*byte)).unwrap_or(rest.len())
}

impl<'a> Found<'a> {
    /// The text at the start of `rest`, and what follows it from its quote: nothing if the text goes on.
    fn of(rest: &'a [u8]) -> (Self, &'a [u8]) {
        let (text, after) = rest.split_at(plain(rest));
        match after.first() {
            None => (Self::Part(text), after),
            Some(b'"') => (Self::Plain(text), after),
            Some(b'\\') => {
                match escaped_end(rest, text.len()).and_then(|end| Some((rest.get(..=end)?, rest.get(end..)?))) {
                    Some((text, after)) => (Self::Escaped(text), after),
                    None => (Self::Unclear, after),
                }
            }
            // A control character: the reader knows what it means.
            Some(_) => (Self::Unclear, after),
        }
    }

    fn count(self, place: Place, reader: &mut Reader<Place>, answer: &mut Answer) {
        match self {
            Self::Plain(text) | Self::Part(text) => answer.add(place, text),
            Self::Escaped(text) => reader.read_text(place, text, answer),
            Self::Unclear => {}
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
        // Once there is a delta, a message of a choice is not read.
        self.same &= place != Place::Added;
        self.answer.open(place, object, at)
    }

    fn close(&mut self, place: Place) {
        self.answer.close(place);
    }

    fn text(&mut self, place: Place, piece: &[u8]) {
        match place {
            _ if place.counts() || place == Place::Ignored => {
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

    fn scalar(&mut self, place: Place, scalar: Scalar, at: u64) {
        // What tells how many tokens there are, or the number of an event, tells it each time.
        self.same &= !place.tells() || !matches!(scalar, Scalar::Whole(_) | Scalar::True);
        self.answer.scalar(place, scalar, at);
    }
}

#[cfg(test)]
mod tests {
    use super::{ends_plain, plain};

    #[test]
    fn what_is_plain_ends_at_the_first_byte_that_is_not() {
        for other in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0x8a, 0xa2, 0xdc, 0xff] {
            for len in (0..36).chain([63, 64, 65, 80, 128, 150]) {
                let mut text = vec![other; len];
                assert_eq!(plain(&text), len, "{len} bytes {other}");
                for at in 0..len {
                    for end in (0..=u8::MAX).filter(|end| ends_plain(*end)) {
                        text[at] = end;
                        assert_eq!(plain(&text), at, "{end} at {at} of {len} bytes {other}");
                    }
                    text[at] = other;
                }
            }
        }
    }
}
