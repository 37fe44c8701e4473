//! The generator of the streams that all members of the family agree on.

/// The 32-bit generator `mulberry32`.
pub(crate) struct Mulberry(u32);

impl Mulberry {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// A number from 0 up to, not including, 1.
    pub(crate) fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let a = self.0;
        let mut t = (a ^ (a >> 15)).wrapping_mul(1 | a);
        t = t.wrapping_add((t ^ (t >> 7)).wrapping_mul(0x3d | t)) ^ t;
        f64::from(t ^ (t >> 14)) / 4_294_967_296.0
    }

    /// A whole number from 0 up to, not including, `bound`.
    pub(crate) fn below(&mut self, bound: f64) -> f64 {
        (self.draw() * bound).floor()
    }
}
