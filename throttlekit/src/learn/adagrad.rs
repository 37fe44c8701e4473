//! Gradient descent with steps that adapt.

/// Online gradient descent on one number within bounds, in steps after `AdaGrad` (Duchi, Hazan and Singer, 2011).
///
/// With `q` the sum of the squares of all gradients so far, the new one included, an observation moves the value by
///
/// ```text
/// x = clamp(x - scale / sqrt(epsilon + q) * gradient, low, high)
/// ```
///
/// For a convex loss the regret against the best fixed value after `T` observations grows as `sqrt(T)`, whatever the
/// scale of the gradients. The first step is as long as `scale`, whatever its gradient.
///
/// ```
/// use throttlekit::learn::AdaGrad;
///
/// let mut learner = AdaGrad::new(0.0, -1.0, 1.0, 0.5, 0.0);
/// learner.observe(-40.0);
/// assert_eq!(learner.value(), 0.5);
/// learner.observe(f64::NAN); // tells nothing
/// assert_eq!(learner.value(), 0.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaGrad {
    value: f64,
    low: f64,
    high: f64,
    scale: f64,
    epsilon: f64,
    squares: f64,
}

impl AdaGrad {
    /// A learner that starts at `start`, brought into `low..=high`.
    ///
    /// `scale` is the length of the first step; `epsilon`, small and not negative, tames a first gradient near 0. The
    /// numbers are taken as valid: finite, `low` at most `high`.
    pub fn new(start: f64, low: f64, high: f64, scale: f64, epsilon: f64) -> Self {
        Self { value: start.max(low).min(high), low, high, scale, epsilon, squares: 0.0 }
    }

    /// The value learnt so far.
    #[inline]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Takes a step against `gradient`. One that is not finite, or whose square is not, tells nothing.
    pub fn observe(&mut self, gradient: f64) {
        let squares = self.squares + gradient * gradient;
        // A gradient of 0 at the very start, without an epsilon, has no direction.
        if !squares.is_finite() || self.epsilon + squares <= 0.0 {
            return;
        }
        self.squares = squares;
        let step = self.scale / (self.epsilon + squares).sqrt();
        self.value = (self.value - step * gradient).max(self.low).min(self.high);
    }
}
