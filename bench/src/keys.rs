//! Keys and how requests spread over them.

use fastrand::Rng;

const PREFIX: &[u8; 5] = b"user-";
const DIGITS: usize = 10;
const LENGTH: usize = PREFIX.len() + DIGITS;

/// The text of one key, `user-` and ten digits, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct KeyText([u8; LENGTH]);

impl KeyText {
    /// The key of number `id`; ids that differ by a multiple of 10^10 share a key.
    #[inline]
    pub fn new(mut id: u64) -> Self {
        let mut text = [b'0'; LENGTH];
        text[..PREFIX.len()].copy_from_slice(PREFIX);
        for digit in text[PREFIX.len()..].iter_mut().rev() {
            *digit = b'0' + u8::try_from(id % 10).unwrap_or(0);
            id /= 10;
        }
        Self(text)
    }

    /// The key.
    #[inline]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// How requests spread over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each key is as likely as any other.
    Uniform,
    /// The k-th most wanted key is wanted in proportion to 1/k.
    Zipf,
}

/// Requests to come: over how many keys, and how spread.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// How many keys there are.
    pub keys: u64,
    /// How requests spread over them.
    pub spread: Spread,
    /// Whether each waits for the answer to the one before it, as requests of a service do that has something to do in
    /// between. Else the processor begins with the next ones while memory answers for one.
    pub in_turn: bool,
}

impl Traffic {
    /// Requests that follow each other at once.
    pub const fn new(keys: u64, spread: Spread) -> Self {
        Self { keys, spread, in_turn: false }
    }

    /// The same, each after the answer to the one before it.
    #[must_use]
    pub const fn in_turn(self) -> Self {
        Self { in_turn: true, ..self }
    }

    /// The number of the next request's key.
    #[inline]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // ids are below 2^33
    fn draw(self, rng: &mut Rng) -> u64 {
        match self.spread {
            Spread::Uniform => rng.u64(..self.keys),
            // The inverse of the distribution function ln(k + 1) / ln(n + 1). A multiplication by a prime above the
            // number of keys scatters the wanted keys over the ids, and with them over the pages of a table filled in
            // order.
            Spread::Zipf => {
                let rank = (rng.f64() * ((self.keys + 1) as f64).ln()).exp() as u64;
                rank.wrapping_mul(2_147_483_647) % self.keys
            }
        }
    }
}

/// Keys of a stretch of requests, laid out in the order of the requests, made outside the timed part.
///
/// Small, so that its text stays in the first cache and the tables alone decide what misses.
#[derive(Debug, Default)]
pub struct Chunk {
    text: String,
}

impl Chunk {
    /// Requests in one chunk.
    pub const LENGTH: usize = 1024;

    /// Draws the next stretch.
    pub fn draw(&mut self, traffic: Traffic, rng: &mut Rng) {
        self.fill(std::iter::repeat_with(|| traffic.draw(rng)).take(Self::LENGTH));
    }

    /// Takes the keys of `ids`.
    pub fn fill(&mut self, ids: impl IntoIterator<Item = u64>) {
        self.text.clear();
        for id in ids {
            self.text.push_str(KeyText::new(id).as_str());
        }
    }

    /// The keys, in order.
    pub fn keys(&self) -> Vec<&str> {
        (0..self.text.len() / LENGTH).map(|i| &self.text[i * LENGTH..(i + 1) * LENGTH]).collect()
    }
}
