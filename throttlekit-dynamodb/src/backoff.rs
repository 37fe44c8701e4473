//! Waiting between lost races.

use std::time::Duration;

use tokio::time::sleep;

/// The longest wait after the first lost race. It doubles with each.
const FIRST: Duration = Duration::from_millis(2);
/// No wait is longer: a race takes a few milliseconds, so more would only idle.
const LONGEST: Duration = Duration::from_millis(50);

/// The longest wait to let others go first: a few requests.
const GIVE_WAY: Duration = Duration::from_millis(20);

/// Counts lost races, and waits a random part of a span that doubles, so that those who met do not meet again.
#[derive(Debug)]
pub(crate) struct Backoff {
    left: u32,
    span: Duration,
}

impl Backoff {
    /// Allows `max_retries` further attempts.
    pub(crate) fn new(max_retries: u32) -> Self {
        Self { left: max_retries, span: FIRST }
    }

    /// Says whether another attempt is allowed.
    pub(crate) fn go_on(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Waits, and says whether another attempt is allowed; if not, it does not wait.
    pub(crate) async fn wait(&mut self) -> bool {
        if !self.go_on() {
            return false;
        }
        sleep(self.span.mul_f64(fastrand::f64())).await;
        self.span = (self.span * 2).min(LONGEST);
        true
    }
}

/// Waits before a write on a key that others write to as well, so that they get their turn: whoever has just written knows
/// the latest version without being told, and would win every race.
pub(crate) async fn give_way() {
    sleep(GIVE_WAY.mul_f64(fastrand::f64())).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Backoff, LONGEST};

    #[tokio::test(start_paused = true)]
    async fn allows_its_number_of_further_attempts() {
        let mut backoff = Backoff::new(2);
        assert_eq!([backoff.wait().await, backoff.wait().await, backoff.wait().await], [true, true, false]);
        assert!(!Backoff::new(0).wait().await);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_differ_and_are_bounded() {
        let mut spans = Vec::new();
        for _ in 0..4 {
            let mut backoff = Backoff::new(16);
            loop {
                let from = Instant::now();
                if !backoff.wait().await {
                    break;
                }
                spans.push(from.elapsed());
            }
        }
        // The timer rounds up to whole milliseconds.
        assert!(spans.iter().all(|span| *span <= LONGEST + Duration::from_millis(1)));
        assert!(spans.iter().any(|span| *span > LONGEST / 4));
        assert!(spans.iter().any(|span| *span != spans[0]));
    }
}
