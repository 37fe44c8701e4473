//! What learning how much to reserve costs beside knowing it, and what reservations do for admission.

use std::cell::Cell;
use std::collections::VecDeque;
use std::error::Error;

use throttlekit::budget::{LearnedReservation, PredictiveReservation, ReservationOptions, Ticket};
use throttlekit::learn::{Hedge, LearningRate};

use super::lengths::{adversarial, by_rank, heavy_tail};

/// The greatest reservation.
pub const CAP: f64 = 512.0;
/// Tokens of the budget that requests are admitted to.
pub const BUDGET: f64 = 1_000.0;

/// A token that is reserved in vain costs 1, one that was not reserved 4.
///
/// # Errors
///
/// If an option is refused.
pub fn learner() -> Result<LearnedReservation, Box<dyn Error>> {
    Ok(options().build()?)
}

fn options() -> ReservationOptions {
    ReservationOptions::new(1.0, 4.0, CAP)
}

/// What reserving this much for work of this length costs.
pub fn loss(reserved: f64, length: f64) -> f64 {
    if reserved > length { reserved - length } else { 4.0 * (length - reserved) }
}

/// What a learner paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paid {
    /// With reservations in whole tokens.
    pub whole: f64,
    /// With the reservations before they are rounded.
    pub continuous: f64,
    /// The reservation at the end.
    pub last: f64,
}

/// Learns from `lengths`, one after the other.
#[allow(clippy::cast_precision_loss)] // at most the cap
pub fn learn(learner: &mut LearnedReservation, lengths: &[f64]) -> Paid {
    let (mut whole, mut continuous) = (0.0, 0.0);
    for length in lengths {
        whole += loss(learner.reserve() as f64, *length);
        continuous += loss(learner.continuous(), *length);
        learner.observe(*length);
    }
    Paid { whole, continuous, last: learner.continuous() }
}

/// The least cost of one reservation for all of `lengths`, and that reservation.
pub fn best_fixed(lengths: &[f64]) -> (f64, f64) {
    let cost = |reserved: f64| lengths.iter().map(|length| loss(reserved, *length)).sum::<f64>();
    let reservations = (0..=512).map(f64::from);
    reservations
        .map(|reserved| (cost(reserved), reserved))
        .fold((f64::INFINITY, 0.0), |best, next| if next.0 < best.0 { next } else { best })
}

/// The share `q` of `lengths` is at most this: their quantile by the nearest rank.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a place among them
pub fn nearest_rank(lengths: &[f64], q: f64) -> f64 {
    let mut sorted = lengths.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * lengths.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

/// Around the same lengths all the time.
pub fn steady(requests: usize) -> Vec<f64> {
    heavy_tail(requests, 120.0, CAP, 7)
}

/// Short requests and long ones, for the requests before and after a shift.
pub fn shift(requests: usize) -> (Vec<f64>, Vec<f64>) {
    (heavy_tail(requests, 80.0, CAP, 21), heavy_tail(requests, 300.0, CAP, 22))
}

/// What is predicted.
pub fn predicted() -> Vec<f64> {
    heavy_tail(3_000, 120.0, CAP, 11)
}

/// Predictions of `lengths`, from good to bad, by name.
pub fn predictions(lengths: &[f64]) -> [(&'static str, Vec<f64>); 4] {
    [
        ("perfect", lengths.to_vec()),
        ("noise 0.1", by_rank(lengths, 0.1, 21)),
        ("noise 0.3", by_rank(lengths, 0.3, 21)),
        ("adversarial", adversarial(lengths)),
    ]
}

/// What reservations from predictions cost, as far as the predictions prove good; and the greater weight at the end.
///
/// # Errors
///
/// If an option is refused.
#[allow(clippy::cast_precision_loss)] // at most the cap
pub fn follow(lengths: &[f64], predictions: &[f64], rate: LearningRate) -> Result<(f64, f64), Box<dyn Error>> {
    let mut policy = PredictiveReservation::with_rate(options(), rate)?;
    let mut sum = 0.0;
    for (length, prediction) in lengths.iter().zip(predictions) {
        let ticket = policy.reserve(*prediction);
        sum += loss(ticket.amount() as f64, *length);
        policy.observe(ticket, *length);
    }
    let [follow, robust] = policy.weights();
    Ok((sum, follow.max(robust)))
}

/// What believing the predictions blindly costs.
pub fn believe(lengths: &[f64], predictions: &[f64]) -> f64 {
    lengths.iter().zip(predictions).map(|(length, prediction)| loss(*prediction, *length)).sum()
}

/// How much is reserved for a request when it starts.
#[derive(Clone, Debug)]
pub enum Reserve {
    /// Nothing.
    Nothing,
    /// The cap.
    Cap,
    /// What was learnt.
    Learned(LearnedReservation),
    /// What it will take.
    Oracle,
    /// What was predicted.
    Prediction,
    /// What was predicted, as far as predictions proved good.
    Predictive(PredictiveReservation),
    /// The same, but the end of a request judges the reservation that was made last, and not its own. So it was when the
    /// figures were published.
    Latest(Latest),
}

/// A prediction and a learner, weighed by what was reserved last.
#[derive(Clone, Debug)]
pub struct Latest {
    hedge: Hedge,
    learner: LearnedReservation,
    last: Cell<(f64, f64)>,
}

impl Latest {
    #[allow(clippy::cast_precision_loss)] // at most the cap
    fn amount(&self, prediction: f64) -> f64 {
        let (follow, robust) = (prediction.clamp(0.0, CAP), self.learner.reserve() as f64);
        self.last.set((follow, robust));
        let [of_follow, of_robust] = self.hedge.weights();
        (of_follow * follow + of_robust * robust).clamp(0.0, CAP).round()
    }

    fn settle(&mut self, length: f64) {
        let (follow, robust) = self.last.get();
        self.hedge.observe([loss(follow, length), loss(robust, length)]);
        self.learner.observe(length);
    }
}

impl Reserve {
    /// What was learnt from 3,000 requests before.
    ///
    /// # Errors
    ///
    /// If an option is refused.
    pub fn learned() -> Result<Self, Box<dyn Error>> {
        let mut learner = learner()?;
        learn(&mut learner, &heavy_tail(3_000, 120.0, CAP, 99));
        Ok(Self::Learned(learner))
    }

    /// The same, and no prediction was seen yet.
    ///
    /// # Errors
    ///
    /// If an option is refused.
    pub fn predictive() -> Result<Self, Box<dyn Error>> {
        let mut policy = PredictiveReservation::new(options())?;
        for length in heavy_tail(3_000, 120.0, CAP, 99) {
            policy.train(length);
        }
        Ok(Self::Predictive(policy))
    }

    /// As [`predictive`](Self::predictive), judged by the latest reservation.
    ///
    /// # Errors
    ///
    /// If an option is refused.
    pub fn latest() -> Result<Self, Box<dyn Error>> {
        let Self::Learned(learner) = Self::learned()? else { return Err("nothing was learnt".into()) };
        Ok(Self::Latest(Latest { hedge: Hedge::new(LearningRate::Fixed(0.01))?, learner, last: Cell::default() }))
    }

    #[allow(clippy::cast_precision_loss)] // at most the cap
    fn amount(&self, length: f64, prediction: f64) -> (f64, Option<Ticket>) {
        match self {
            Self::Nothing => (0.0, None),
            Self::Cap => (CAP, None),
            Self::Learned(learner) => (learner.reserve() as f64, None),
            Self::Oracle => (length, None),
            Self::Prediction => (prediction.max(0.0), None),
            Self::Predictive(policy) => {
                let ticket = policy.reserve(prediction);
                (ticket.amount() as f64, Some(ticket))
            }
            Self::Latest(latest) => (latest.amount(prediction), None),
        }
    }

    fn settle(&mut self, ticket: Option<Ticket>, length: f64) {
        match (self, ticket) {
            (Self::Learned(learner), _) => learner.observe(length),
            (Self::Predictive(policy), Some(ticket)) => policy.observe(ticket, length),
            (Self::Latest(latest), _) => latest.settle(length),
            _ => {}
        }
    }
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admitted {
    /// Requests started.
    pub started: u32,
    /// Requests that produced all of their tokens.
    pub completed: u32,
    /// Tokens produced.
    pub served: f64,
}

impl Admitted {
    /// Requests that had to stop.
    pub fn aborted(&self) -> u32 {
        self.started - self.completed
    }

    /// The part of the budget that was used.
    pub fn utilisation(&self) -> f64 {
        self.served.min(BUDGET) / BUDGET
    }

    /// Tokens beyond the budget.
    pub fn overshoot(&self) -> f64 {
        (self.served - BUDGET).max(0.0)
    }
}

/// A request under way.
#[derive(Debug)]
struct Request {
    length: f64,
    rest: f64,
    reserved: f64,
    ticket: Option<Ticket>,
}

/// Runs 400 requests, first come, first served, `slots` at a time, in chunks of this many tokens. The next one starts when
/// what is reserved for it fits into the budget beside what is reserved for the others.
pub fn admit(mut reserve: Reserve, slots: usize, chunk: f64, predict: impl Fn(&[f64]) -> Vec<f64>) -> Admitted {
    let lengths = heavy_tail(400, 120.0, CAP, 7);
    let predictions = predict(&lengths);
    let mut queue: VecDeque<(f64, f64)> = lengths.into_iter().zip(predictions).collect();
    let mut slots: Vec<Option<Request>> = (0..slots).map(|_| None).collect();
    let mut admitted = Admitted { started: 0, completed: 0, served: 0.0 };
    let mut reserved = 0.0;
    let mut fill = |slots: &mut [Option<Request>], admitted: &mut Admitted, reserve: &Reserve, reserved: &mut f64| {
        for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
            let Some((length, prediction)) = queue.front().copied() else { return };
            let (amount, ticket) = reserve.amount(length, prediction);
            if admitted.served >= BUDGET || *reserved + amount > BUDGET {
                return;
            }
            queue.pop_front();
            *reserved += amount;
            *slot = Some(Request { length, rest: length, reserved: amount, ticket });
            admitted.started += 1;
        }
    };
    fill(&mut slots, &mut admitted, &reserve, &mut reserved);
    for _ in 0..400 {
        for slot in &mut slots {
            let Some(mut request) = slot.take() else { continue };
            let stopped = admitted.served >= BUDGET;
            if !stopped {
                let piece = chunk.min(request.rest);
                admitted.served += piece;
                request.rest -= piece;
            }
            if stopped || request.rest == 0.0 {
                reserved -= request.reserved;
            }
            if stopped {
                continue;
            }
            if request.rest == 0.0 {
                admitted.completed += 1;
                reserve.settle(request.ticket.take(), request.length);
            } else {
                *slot = Some(request);
            }
        }
        fill(&mut slots, &mut admitted, &reserve, &mut reserved);
    }
    admitted
}
