//! The generator of the streams that all members of the family agree on.

/// The 32-bit generator `mulberry32`: the same numbers from the same seed, on every machine and in every language of the
/// family. For tests and simulations; nobody must rely on it where a number may not be guessed.
///
/// # Examples
///
/// ```
/// use throttlekit::testkit::Mulberry;
///
/// let mut random = Mulberry::new(1);
/// assert_eq!(random.draw(), 0.6270739405881613);
/// assert_eq!(random.below(1_000.0), 2.0);
/// ```
#[derive(Clone, Debug)]
pub struct Mulberry(u32);

impl Mulberry {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// A number from 0 up to, not including, 1.
    pub fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let a = self.0;
        let mut t = (a ^ (a >> 15)).wrapping_mul(1 | a);
        t = t.wrapping_add((t ^ (t >> 7)).wrapping_mul(0x3d | t)) ^ t;
        f64::from(t ^ (t >> 14)) / 4_294_967_296.0
    }

    /// A whole number from 0 up to, not including, `bound`. It is one draw.
    pub fn below(&mut self, bound: f64) -> f64 {
        (self.draw() * bound).floor()
    }
}
