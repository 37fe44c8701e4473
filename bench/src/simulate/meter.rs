//! Requests that produce tokens one after the other, up to a length that nobody knows beforehand, against a budget.

use std::collections::VecDeque;

/// When a request may start, and when it has to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// It starts when the longest possible request still fits into the budget beside what is reserved.
    ReserveMost,
    /// It starts while the requests that have ended are within the budget, and counts at its end.
    CountAtEnd,
    /// It starts while tokens are left, and stops when none are.
    Stream,
}

/// A budget and the requests that run against it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Tokens.
    pub budget: f64,
    /// Requests at a time.
    pub slots: usize,
    /// The longest possible request; longer ones are cut to it.
    pub cap: f64,
    /// Tokens that a request produces in one round, and has counted at once.
    pub chunk: f64,
    /// Rounds.
    pub rounds: u32,
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Tokens produced.
    pub served: f64,
    /// Tokens beyond the budget, as far as the policy counts them.
    pub overshoot: f64,
    /// The part of the budget that was used.
    pub utilisation: f64,
    /// Requests started.
    pub admitted: u32,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Request {
    total: f64,
    rest: f64,
}

/// Runs requests of these lengths.
pub fn run(policy: Policy, setting: Setting, lengths: &[f64]) -> Outcome {
    let Setting { budget, slots, cap, chunk, rounds } = setting;
    let mut queue: VecDeque<f64> = lengths.iter().copied().collect();
    let mut slots: Vec<Option<Request>> = vec![None; slots];
    let (mut served, mut reserved, mut committed, mut admitted) = (0.0, 0.0, 0.0, 0);
    let mut fill = |slots: &mut [Option<Request>], served: f64, reserved: &mut f64, committed: f64| {
        for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
            let may = match policy {
                Policy::ReserveMost => *reserved + cap <= budget,
                Policy::CountAtEnd => committed < budget,
                Policy::Stream => served < budget,
            };
            if !may {
                break;
            }
            let Some(length) = queue.pop_front() else { break };
            let total = length.min(cap);
            *slot = Some(Request { total, rest: total });
            admitted += 1;
            if policy == Policy::ReserveMost {
                *reserved += cap;
            }
        }
    };
    fill(&mut slots, served, &mut reserved, committed);
    for _ in 0..rounds {
        for slot in &mut slots {
            let Some(request) = slot else { continue };
            if policy == Policy::Stream && served >= budget {
                *slot = None;
                continue;
            }
            let piece = chunk.min(request.rest);
            served += piece;
            request.rest -= piece;
            if request.rest == 0.0 {
                match policy {
                    Policy::ReserveMost => reserved -= cap - request.total,
                    Policy::CountAtEnd => committed += request.total,
                    Policy::Stream => {}
                }
                *slot = None;
            }
        }
        fill(&mut slots, served, &mut reserved, committed);
    }
    let overshoot = match policy {
        Policy::ReserveMost => 0.0,
        Policy::CountAtEnd => committed - budget,
        Policy::Stream => served - budget,
    };
    Outcome { served, overshoot: overshoot.max(0.0), utilisation: served.min(budget) / budget, admitted }
}
