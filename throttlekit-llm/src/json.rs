//! A reader of JSON that takes it in pieces of any size, and keeps nothing of it but where it is.
//!
//! An answer comes in chunks that are cut anywhere, and a whole answer may be large, so nothing here waits for the end of
//! anything or allocates. Only what is asked for is looked at: the rest is skipped by the byte. It does not validate:
//! garbage makes it read less, and never fail.

use memchr::memchr2;
use throttlekit::MAX_SAFE;

/// How deep what is read can lie; of what lies deeper there are [bytes](Walk::beyond).
pub(crate) const DEPTH: usize = 12;
/// Longer names of members are those of nothing that is read.
const NAME: usize = 32;

/// What is read of a document: which of its places matter, and what to do with what is there.
pub(crate) trait Walk {
    /// A place in the document.
    type Place: Copy;

    /// The place of a member of the object at `parent`; `None` if it does not matter.
    fn member(&mut self, parent: Self::Place, name: &[u8]) -> Option<Self::Place>;

    /// The place of an element of the array at `parent`.
    fn element(&mut self, parent: Self::Place) -> Option<Self::Place>;

    /// An object (or an array) opens at `place`; the answer says whether what is in it matters. `at` is how many bytes of
    /// the document came before what is in it.
    fn open(&mut self, place: Self::Place, object: bool, at: u64) -> bool;

    /// The object or array at `place` ends.
    fn close(&mut self, place: Self::Place);

    /// A piece of the text at `place`, unescaped.
    fn text(&mut self, place: Self::Place, piece: &[u8]);

    /// The text at `place` ends.
    fn text_end(&mut self, place: Self::Place);

    /// A piece of what is in the object or array at `place`, which lies too deep to be read.
    fn beyond(&mut self, _place: Self::Place, _bytes: &[u8]) {}

    /// A number, `true`, `false` or `null`, before which `at` bytes of the document came.
    fn scalar(&mut self, place: Self::Place, scalar: Scalar, at: u64);
}

/// What is neither text nor a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// A whole number from 0 to 2^64 - 1; written with a fraction or an exponent, as `1e5`, up to 2^53 - 1.
    Whole(u64),
    True,
    False,
    Null,
    /// A number of another kind, or garbage.
    Other,
}

/// Where the reader is; see the module.
#[derive(Clone, Debug)]
pub(crate) struct Reader<P> {
    stack: [Option<(P, bool)>; DEPTH],
    depth: usize,
    /// Containers that are open and do not matter.
    skipped: u32,
    mode: Mode,
    /// Whether the next text of the object is the name of a member.
    name_next: bool,
    /// The place of the value to come, or that is being read; while something is skipped, where that would be read if it
    /// did not lie too deep.
    place: Option<P>,
    root: P,
    name: [u8; NAME],
    name_len: usize,
    token: Token,
    /// Bytes of the document so far.
    at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Between,
    Name,
    Text,
    /// The second half of an escape, within a name or a text.
    Escape,
    /// Digits of `\u` so far, and how many.
    Unicode(u16, u8),
    Scalar,
    /// Within what does not matter.
    Skip,
    SkipText,
    SkipEscape,
}

/// Longer numbers with a fraction or an exponent are garbage.
const WORD: usize = 32;

/// A number or word as far as it came.
#[derive(Clone, Copy, Debug, Default)]
struct Token {
    whole: Option<u64>,
    word: [u8; WORD],
    len: u8,
    /// Bytes of the document before it.
    at: u64,
    /// The first half of a surrogate pair, within a text.
    high: u16,
}

impl<P: Copy> Reader<P> {
    /// At the start of a document.
    pub(crate) fn new(root: P) -> Self {
        Self {
            stack: [None; DEPTH],
            depth: 0,
            skipped: 0,
            mode: Mode::Between,
            name_next: false,
            place: Some(root),
            root,
            name: [0; NAME],
            name_len: 0,
            token: Token::default(),
            at: 0,
        }
    }

    /// Forgets what came: another document begins.
    pub(crate) fn restart(&mut self) {
        (self.depth, self.skipped, self.mode, self.at) = (0, 0, Mode::Between, 0);
        (self.name_next, self.place) = (false, Some(self.root));
    }

    /// Whether nothing was read of a document.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_closed() && self.at == 0
    }

    /// Whether everything that was opened is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.depth == 0 && self.skipped == 0 && self.mode == Mode::Between
    }

    /// Ends a number or word: a line is over. A text has no line feeds as such.
    pub(crate) fn end_line<W: Walk<Place = P>>(&mut self, walk: &mut W) {
        if self.mode == Mode::Scalar {
            self.read(b"\n", walk);
        }
    }

    /// Reads on.
    pub(crate) fn read<W: Walk<Place = P>>(&mut self, bytes: &[u8], walk: &mut W) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            let used = match self.mode {
                Mode::Text => self.text(rest, walk),
                Mode::SkipText | Mode::Skip | Mode::SkipEscape => self.pass_over(rest, walk),
                Mode::Between => {
                    self.between(byte, rest.len(), bytes.len(), walk);
                    1
                }
                Mode::Name => self.name(rest, walk),
                Mode::Escape => self.escape(byte, walk),
                Mode::Unicode(so_far, digits) => self.unicode(byte, so_far, digits, walk),
                Mode::Scalar => self.scalar(byte, walk),
            };
            rest = if used == 1 { after } else { rest.get(used..).unwrap_or_default() };
        }
        self.at = self.at.saturating_add(bytes.len() as u64);
    }

    /// Reads the rest of a text at `place`, up to its quote, which `bytes` ends with: of a document that is not read
    /// otherwise.
    pub(crate) fn read_text<W: Walk<Place = P>>(&mut self, place: P, bytes: &[u8], walk: &mut W) {
        (self.place, self.mode, self.token.high) = (Some(place), Mode::Text, 0);
        self.read(bytes, walk);
        self.restart();
    }

    fn top(&self) -> Option<(P, bool)> {
        self.depth.checked_sub(1).and_then(|top| self.stack.get(top).copied().flatten())
    }

    /// Between two tokens. `left` of the `len` bytes of this piece are not read yet.
    fn between<W: Walk<Place = P>>(&mut self, byte: u8, left: usize, len: usize, walk: &mut W) {
        let at = self.at.saturating_add((len - left) as u64);
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b':' => {}
            b',' => match self.top() {
                Some((_, true)) => (self.name_next, self.place) = (true, None),
                Some((place, false)) => self.place = walk.element(place),
                None => {}
            },
            b'{' | b'[' => {
                let object = byte == b'{';
                let place = self.place.filter(|_| self.depth < DEPTH);
                let place = place.filter(|place| walk.open(*place, object, at.saturating_add(1)));
                if let (Some(place), Some(slot)) = (place, self.stack.get_mut(self.depth)) {
                    *slot = Some((place, object));
                    self.depth += 1;
                    self.name_next = object;
                    self.place = if object { None } else { walk.element(place) };
                } else {
                    self.place = self.place.filter(|_| self.depth == DEPTH);
                    (self.skipped, self.mode) = (1, Mode::Skip);
                }
            }
            b'}' | b']' => {
                if let Some((place, _)) = self.top() {
                    self.depth -= 1;
                    walk.close(place);
                }
                (self.name_next, self.place) = (false, None);
            }
            b'"' if self.name_next => (self.name_len, self.mode) = (0, Mode::Name),
            b'"' => {
                self.token.high = 0;
                self.mode = if self.place.is_some() { Mode::Text } else { Mode::SkipText };
            }
            _ => {
                self.token = Token { whole: Some(0), at, ..Token::default() };
                self.mode = Mode::Scalar;
                self.token.push(byte);
            }
        }
    }

    fn name<W: Walk<Place = P>>(&mut self, rest: &[u8], walk: &mut W) -> usize {
        let Some(end) = memchr2(b'"', b'\\', rest) else {
            self.keep_name(rest);
            return rest.len();
        };
        let piece = rest.get(..end).unwrap_or_default();
        if rest.get(end) == Some(&b'\\') {
            self.keep_name(piece);
            self.mode = Mode::Escape;
            return end + 1;
        }
        let parent = self.top().filter(|(_, object)| *object).map(|(parent, _)| parent);
        self.place = if self.name_len == 0 {
            // All of it is in this piece.
            parent.and_then(|parent| walk.member(parent, piece))
        } else {
            self.keep_name(piece);
            let name = self.name.get(..self.name_len);
            parent.zip(name).and_then(|(parent, name)| walk.member(parent, name))
        };
        (self.name_next, self.mode) = (false, Mode::Between);
        end + 1
    }

    /// Keeps a piece of a name; of one that is too long, that it is.
    fn keep_name(&mut self, piece: &[u8]) {
        let end = self.name_len.saturating_add(piece.len());
        match self.name.get_mut(self.name_len..end) {
            Some(slot) => {
                slot.copy_from_slice(piece);
                self.name_len = end;
            }
            None => self.name_len = NAME + 1,
        }
    }

    fn text<W: Walk<Place = P>>(&mut self, rest: &[u8], walk: &mut W) -> usize {
        let Some(place) = self.place else {
            self.mode = Mode::SkipText;
            return 0;
        };
        let end = memchr2(b'"', b'\\', rest);
        let run = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if !run.is_empty() {
            self.half(place, walk);
            walk.text(place, run);
        }
        match end.and_then(|end| rest.get(end)) {
            Some(b'"') => {
                self.half(place, walk);
                walk.text_end(place);
                self.mode = Mode::Between;
            }
            Some(_) => self.mode = Mode::Escape,
            None => return run.len(),
        }
        run.len() + 1
    }

    fn escape<W: Walk<Place = P>>(&mut self, byte: u8, walk: &mut W) -> usize {
        if byte == b'u' {
            self.mode = Mode::Unicode(0, 0);
            return 1;
        }
        let plain = match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            other => other,
        };
        if self.name_next {
            self.keep_name(&[plain]);
        } else if let Some(place) = self.place {
            self.half(place, walk);
            walk.text(place, &[plain]);
        }
        self.mode = self.after_escape();
        1
    }

    fn after_escape(&self) -> Mode {
        if self.name_next { Mode::Name } else { Mode::Text }
    }

    fn unicode<W: Walk<Place = P>>(&mut self, byte: u8, so_far: u16, digits: u8, walk: &mut W) -> usize {
        let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok()) else {
            // No escape after all: go on with the text, which may end here.
            self.mode = self.after_escape();
            return 0;
        };
        let unit = so_far << 4 | digit;
        if digits < 3 {
            self.mode = Mode::Unicode(unit, digits + 1);
            return 1;
        }
        self.mode = self.after_escape();
        if self.name_next {
            // No name that is read has a pair.
            let character = char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
            self.keep_name(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else if let Some(place) = self.place {
            let high = self.token.high;
            let low = (0xDC00..0xE000).contains(&unit);
            if high != 0 && low {
                self.token.high = 0;
                let pair = 0x1_0000 + (u32::from(high - 0xD800) << 10) + u32::from(unit - 0xDC00);
                character(pair, place, walk);
            } else {
                self.half(place, walk);
                if (0xD800..0xDC00).contains(&unit) {
                    self.token.high = unit;
                } else {
                    character(u32::from(unit), place, walk);
                }
            }
        }
        1
    }

    /// The first half of a pair whose second never came.
    fn half<W: Walk<Place = P>>(&mut self, place: P, walk: &mut W) {
        if self.token.high != 0 {
            self.token.high = 0;
            character(0xFFFD, place, walk);
        }
    }

    fn scalar<W: Walk<Place = P>>(&mut self, byte: u8, walk: &mut W) -> usize {
        if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'}' | b']' | b':' | b'"' | b'{' | b'[') {
            self.token.push(byte);
            return 1;
        }
        self.mode = Mode::Between;
        if let Some(place) = self.place {
            walk.scalar(place, self.token.scalar(), self.token.at);
        }
        0
    }

    fn pass_over<W: Walk<Place = P>>(&mut self, rest: &[u8], walk: &mut W) -> usize {
        let used = match self.mode {
            Mode::SkipText => self.skip_text(rest),
            Mode::Skip => self.skip(rest),
            _ => {
                self.mode = Mode::SkipText;
                1
            }
        };
        if let Some(place) = self.place {
            walk.beyond(place, rest.get(..used).unwrap_or_default());
        }
        used
    }

    fn skip_text(&mut self, rest: &[u8]) -> usize {
        let Some(end) = memchr2(b'"', b'\\', rest) else { return rest.len() };
        self.mode = match rest.get(end) {
            Some(b'\\') => Mode::SkipEscape,
            _ if self.skipped > 0 => Mode::Skip,
            _ => Mode::Between,
        };
        end + 1
    }

    fn skip(&mut self, rest: &[u8]) -> usize {
        for (index, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.mode = Mode::SkipText;
                    return index + 1;
                }
                b'{' | b'[' => self.skipped = self.skipped.saturating_add(1),
                b'}' | b']' => {
                    self.skipped -= 1;
                    if self.skipped == 0 {
                        self.mode = Mode::Between;
                        return index + 1;
                    }
                }
                _ => {}
            }
        }
        rest.len()
    }
}

fn character<W: Walk>(code: u32, place: W::Place, walk: &mut W) {
    let mut buffer = [0; 4];
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    walk.text(place, character.encode_utf8(&mut buffer).as_bytes());
}

impl Token {
    fn push(&mut self, byte: u8) {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        self.whole = self.whole.filter(|_| digit < 10).and_then(|n| n.checked_mul(10)?.checked_add(digit));
        if let Some(slot) = self.word.get_mut(usize::from(self.len)) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    fn scalar(&self) -> Scalar {
        match (self.whole, self.word.get(..usize::from(self.len))) {
            (Some(whole), _) => Scalar::Whole(whole),
            (None, Some(b"true")) => Scalar::True,
            (None, Some(b"false")) => Scalar::False,
            (None, Some(b"null")) => Scalar::Null,
            (None, word) => word.and_then(whole).map_or(Scalar::Other, Scalar::Whole),
        }
    }
}

/// A whole number that is written as a real one: many servers make no difference.
#[cold]
fn whole(word: &[u8]) -> Option<u64> {
    let number: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    #[allow(clippy::cast_precision_loss)] // exact up to there
    let is_whole = number.fract() == 0.0 && (0.0..=MAX_SAFE as f64).contains(&number);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, and in range
    is_whole.then_some(number as u64)
}
