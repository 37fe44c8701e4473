//! What a run is told.

use throttlekit::twin::Numbers;

use super::{Ask, Group, Key, Span, Steps, Terms};
use crate::link::ScriptRun;

/// Whole numbers below it are exact in an `f64`, and so in a script.
const LARGEST_WHOLE: u64 = 1 << 53;

/// The arguments of a run. Numbers are written with the fewest digits that read back exactly.
pub(super) struct Words<'a>(pub(super) &'a mut ScriptRun);

impl Words<'_> {
    pub(super) fn terms(&mut self, terms: Terms) {
        self.number(terms.now_ms);
        self.number(terms.ttl_floor_ms.max(1.0));
    }

    pub(super) fn number(&mut self, number: f64) {
        #[allow(clippy::cast_possible_truncation)] // the cast saturates, and what it changed is not taken
        let whole = number as i64;
        #[allow(clippy::cast_precision_loss)] // as above
        let is_whole = whole as f64 == number && whole.unsigned_abs() < LARGEST_WHOLE;
        // Most are whole, and cost a fifth to write as such. Negative zero is no whole number.
        if is_whole && (whole != 0 || number.is_sign_positive()) {
            self.0.arg(whole);
        } else {
            self.0.arg(number);
        }
    }

    pub(super) fn count(&mut self, count: usize) {
        self.0.arg(count);
    }

    pub(super) fn numbers(&mut self, numbers: &Numbers) {
        self.count(numbers.as_slice().len());
        for number in numbers.as_slice() {
            self.number(*number);
        }
    }

    /// What the keys of a span in a plain run are asked: the request, and which take the step more than once.
    pub(super) fn plain(&mut self, span: &Span, keys: &[Key<'_>]) {
        self.numbers(&span.request.unwrap_or(Numbers::from([])));
        let often = || {
            // The server counts from 1.
            (1..).zip(keys).filter_map(|(place, key): (usize, _)| match key.steps {
                Steps::Same(_, times) if times > 1 => Some((place, times)),
                _ => None,
            })
        };
        self.count(2 * often().count());
        for (place, times) in often() {
            self.count(place);
            self.count(times);
        }
    }

    /// A group as runs: the same step on keys of a span that follow each other, or several times on one key.
    pub(super) fn group(&mut self, group: &mut Group, spans: &[Span]) {
        if group.asks.is_empty() {
            return;
        }
        if !group.all {
            // Stable: the steps on one key stay in their order.
            group.asks.sort_by_key(|(key, _)| *key);
        }
        let sum = |end: &mut usize, span: &Span| {
            *end += span.count;
            Some(*end)
        };
        let ends: Vec<usize> = spans.iter().scan(0, sum).collect();
        let mut runs: Vec<(usize, usize, usize, usize, &Ask)> = Vec::new();
        for (key, ask) in &group.asks {
            let span = ends.partition_point(|end| end <= key);
            match runs.last_mut() {
                Some((_, first, 1, times, same)) if key == first && ask == *same && *ask != Ask::Remove => *times += 1,
                Some((of, first, count, 1, same)) if span == *of && *key == *first + *count && ask == *same => {
                    *count += 1;
                }
                _ => runs.push((span, *key, 1, 1, ask)),
            }
        }
        self.count(group.all.into());
        self.count(runs.len());
        for (span, first, count, times, ask) in runs {
            // The server counts from 1.
            self.count(span + 1);
            self.count(first + 1);
            self.count(count);
            match ask {
                Ask::Step(request) => {
                    self.count(times);
                    self.numbers(request);
                }
                Ask::Guarded(words) => {
                    self.count(times);
                    self.count(words.len());
                    for word in words {
                        self.0.arg(word);
                    }
                }
                // No step at all forgets the keys. What is only read is in no group.
                Ask::Remove | Ask::Read => {
                    self.count(0);
                    self.count(0);
                }
            }
        }
    }
}
