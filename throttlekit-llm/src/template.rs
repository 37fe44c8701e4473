//! Events that differ from the one before in their text alone.
//!
//! Most events of a stream are the same but for a few words. To read a document by the byte takes longer than to pass it
//! on, so the last event that was read is kept, and what follows is compared with it: the same bytes put the reader
//! into the same state, and only what is between them has to be counted. What is not the same is read.

use arrayvec::ArrayVec;
use memchr::memchr2;

use crate::answer::{Answer, Place};
use crate::json::{Reader, Scalar, Walk};

/// Longer events are read.
const MAX_BYTES: usize = 1_024;
/// Events with more texts that may differ are read.
const MAX_TEXTS: usize = 8;
/// After so many events that were read in vain, only each such many is kept.
const PATIENCE: u32 = 8;

/// The bytes of one line, with gaps for texts.
#[derive(Debug)]
pub(crate) struct Template {
    /// Of the line without its texts.
    bytes: Vec<u8>,
    /// Where in these bytes texts are, and whether they count.
    gaps: ArrayVec<(usize, bool), MAX_TEXTS>,
    /// Lines that were read since one was the same.
    misses: u32,
    /// No line was the same as what is kept.
    unused: bool,
    /// Texts that do not count differ too.
    wide: bool,
    /// Where the texts that count were in the last line that was the same.
    found: ArrayVec<(usize, usize), MAX_TEXTS>,
}

impl Template {
    /// With room for any line that is kept, if there are lines.
    pub(crate) fn new(lines: bool) -> Self {
        let bytes = Vec::with_capacity(if lines { MAX_BYTES } else { 0 });
        Self { bytes, gaps: ArrayVec::new(), misses: 0, unused: false, wide: false, found: ArrayVec::new() }
    }

    /// Compares the start of `bytes`: how long the line there is, if it is the same but for its texts.
    pub(crate) fn same(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.gaps.is_empty() {
            return None;
        }
        self.found.clear();
        let (mut at, mut from) = (0, 0);
        for &(to, counts) in &self.gaps {
            let rest = bytes.get(at..)?.strip_prefix(self.bytes.get(from..to)?)?;
            let len = text_end(rest)?;
            if rest.get(len) == Some(&b'\\') {
                return None;
            }
            at += to - from;
            if counts {
                self.found.try_push((at, at + len)).ok()?;
            }
            at += len;
            from = to;
        }
        let last = self.bytes.get(from..)?;
        bytes.get(at..)?.strip_prefix(last)?;
        (self.misses, self.unused) = (0, false);
        Some(at + last.len())
    }

    /// The texts that count in the line of `bytes` that was the same.
    pub(crate) fn texts<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.found.iter().filter_map(|&(start, end)| bytes.get(start..end))
    }

    /// Reads `line`, a document with `skip` bytes before it, and keeps it if lines that are the same but for their texts do
    /// the same to the answer.
    pub(crate) fn read(&mut self, line: &[u8], skip: usize, reader: &mut Reader<Place>, answer: &mut Answer) {
        let document = line.get(skip..).unwrap_or_default();
        self.misses = self.misses.saturating_add(1);
        if line.len() > MAX_BYTES || (self.misses > PATIENCE && self.misses % PATIENCE != 0) {
            return reader.read(document, answer);
        }
        let mut watch = Watch { answer, start: line.as_ptr().addr(), texts: ArrayVec::new(), open: None, same: true };
        reader.read(document, &mut watch);
        let Watch { texts, same, .. } = watch;
        if !same || !reader.is_closed() || !texts.iter().any(|text| text.counts) || !answer.only_adds() {
            return;
        }
        // What is kept should have been the same, but for something that does not count.
        self.wide |= self.unused;
        self.unused = true;
        self.bytes.clear();
        self.gaps.clear();
        let mut from = 0;
        for text in texts.iter().filter(|text| text.counts || self.wide) {
            let Some(before) = line.get(from..text.start) else { return self.gaps.clear() };
            self.bytes.extend_from_slice(before);
            self.gaps.push((self.bytes.len(), text.counts));
            from = text.end;
        }
        self.bytes.extend_from_slice(line.get(from..).unwrap_or_default());
    }
}

/// Where the first quote or escape is. Most texts are a word, for which a search by the vector takes longer to begin.
fn text_end(rest: &[u8]) -> Option<usize> {
    let short = rest.iter().take(16).position(|byte| matches!(byte, b'"' | b'\\'));
    short.or_else(|| memchr2(b'"', b'\\', rest))
}

/// Where a text is in its line.
#[derive(Clone, Copy, Debug)]
struct Text {
    start: usize,
    end: usize,
    counts: bool,
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
                let text = Text { start, end: start.wrapping_add(piece.len()), counts: place != Place::Ignored };
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
