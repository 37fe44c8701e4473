//! The meter against a slow count, and under any interleaving of requests.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small whole numbers

use proptest::prelude::*;
use throttlekit::budget::{Budget, Served, TokenBudget};
use throttlekit::{ManualClock, Project, Refund};

use crate::support::Mulberry;

/// The rule in whole numbers, from the whole history: what each window was charged, and the debt that it got.
struct Slow {
    limit: u64,
    window: u64,
    max_debt: u64,
    carry: bool,
    window_of_served: u64,
    served: u64,
}

impl Slow {
    fn roll(&mut self, now: u64) {
        while self.window_of_served < now / self.window {
            let debt = self.served.saturating_sub(self.limit);
            self.served = if self.carry { debt.min(self.max_debt) } else { 0 };
            self.window_of_served += 1;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Debit(u64),
    Charge(u64),
    Refund(u64),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1_u64..16).prop_map(Act::Debit),
        2 => (1_u64..40).prop_map(Act::Charge),
        1 => (1_u64..10).prop_map(Act::Refund),
        3 => (0_u64..250).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_a_count_of_whole_numbers(
        limit in 1_u64..30, window in 1_u64..300, max_debt in 0_u64..90, carry: bool,
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let clock = ManualClock::new(0.0);
        let budget = Budget::builder().budget(limit as f64).window_ms(window as f64).max_debt(max_debt as f64);
        let meter = TokenBudget::builder(budget.carry_debt(carry).build().unwrap()).clock(clock.clone()).build();
        let mut slow = Slow { limit, window, max_debt, carry, window_of_served: 0, served: 0 };
        let (mut now, mut largest) = (0, 0);
        for act in acts {
            slow.roll(now);
            let left = slow.served < limit;
            match act {
                Act::Wait(ms) => {
                    now += ms;
                    clock.set(now as f64);
                    slow.roll(now);
                    largest = 0;
                }
                Act::Debit(tokens) => {
                    let before = slow.served;
                    prop_assert_eq!(meter.debit("k", tokens).unwrap().allowed, left);
                    if left {
                        slow.served += tokens;
                        largest = largest.max(tokens);
                        prop_assert!(slow.served - limit.min(slow.served) < largest, "{before} + {tokens}");
                    }
                }
                Act::Charge(tokens) => {
                    prop_assert_eq!(meter.charge("k", tokens).unwrap().allowed, left);
                    slow.served += tokens;
                }
                Act::Refund(tokens) => {
                    meter.refund("k", Refund::new(tokens as f64)).unwrap();
                    slow.served = slow.served.saturating_sub(tokens);
                }
            }
            let usage = meter.usage("k").unwrap();
            prop_assert_eq!(usage.served, slow.served);
            prop_assert_eq!(usage.remaining, limit.saturating_sub(slow.served));
            // The answer says when a debit passes, and when everything is back; neither a window early nor one late.
            if usage.remaining == 0 {
                let start = (now / window * window) as f64;
                let served = Served { start, units: usage.served as f64 };
                let retry = Project::peek(meter.budget(), Some(&served), now as f64).retry_after_ms;
                prop_assert_eq!(u64::try_from(usage.retry_at_ms).unwrap(), now + retry);
                clock.set((now + retry - 1) as f64);
                prop_assert!(meter.remaining("k").unwrap() == 0);
                clock.set((now + retry) as f64);
                prop_assert!(meter.remaining("k").unwrap() > 0);
                clock.set(now as f64);
            }
            if usage.served > 0 {
                clock.set(usage.reset_at_ms as f64 - 1.0);
                let later = meter.usage("k").unwrap();
                prop_assert!(later.served > 0);
                clock.set(usage.reset_at_ms as f64);
                prop_assert_eq!(meter.usage("k").unwrap().served, 0);
                clock.set(now as f64);
            }
        }
    }

    /// Requests in flight that debit as they go, interleaved in any way.
    #[test]
    fn any_interleaving_passes_a_budget_by_less_than_the_largest_debit(
        limit in 5_u64..200, slots in 1_usize..8, chunk in 1_u64..16, seed: u32,
        lengths in prop::collection::vec(1_u64..100, 1..40),
    ) {
        let budget = Budget::builder().budget(limit as f64).window_ms(1_000.0).build().unwrap();
        let meter = TokenBudget::builder(budget).clock(ManualClock::new(0.0)).build();
        let mut random = Mulberry::new(seed);
        let mut queue = lengths.into_iter();
        let mut running: Vec<u64> = queue.by_ref().take(slots).collect();
        let (mut produced, mut refused) = (0, false);
        while !running.is_empty() {
            let at = random.below(running.len() as f64) as usize;
            let piece = chunk.min(running[at]);
            if meter.debit("k", piece).unwrap().allowed {
                prop_assert!(!refused, "what was refused once in a window is not admitted later");
                produced += piece;
                running[at] -= piece;
            } else {
                refused = true;
                running[at] = 0;
            }
            if running[at] == 0 {
                running.swap_remove(at);
                running.extend(queue.next());
            }
        }
        prop_assert!(produced < limit + chunk);
        prop_assert!(!refused || produced >= limit, "nobody is refused while there is some left");
    }
}
