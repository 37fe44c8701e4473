//! Which dimension's decision is shown.

use crate::decision::Decision;
use crate::error::Error;
use crate::store::{Call, Rule};

/// What has to hold for a request to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Every dimension admits.
    All,
    /// One dimension admits.
    Any,
}

impl Mode {
    /// How a store commits.
    pub(super) fn rule(self) -> Rule {
        match self {
            Self::All => Rule::All,
            Self::Any => Rule::Each,
        }
    }

    /// The stable name that events carry.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
        }
    }
}

/// The best admission and the best denial so far. The order in which decisions are added does not matter.
pub(super) struct Tally {
    mode: Mode,
    allowed: Option<Candidate>,
    denied: Option<Candidate>,
    /// All of them, in the order of declaration, if they are wanted.
    each: Option<Box<[Decision]>>,
}

/// What a joint check comes to.
pub(super) struct Shown {
    /// The decision of the dimension that is shown.
    pub(super) decision: Decision,
    /// The decision of each dimension, if they were kept.
    pub(super) each: Option<Box<[Decision]>>,
}

/// A decision with what makes it better than others of its kind: less is better, and of equals the lower index.
struct Candidate {
    rank: (u64, usize),
    decision: Decision,
}

impl Tally {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, allowed: None, denied: None, each: None }
    }

    /// Keeps the decisions of `count` dimensions too.
    pub(super) fn keeping(mode: Mode, count: usize) -> Self {
        Self { each: Some(vec![Decision::ALLOW_FULL; count].into()), ..Self::new(mode) }
    }

    /// Adds the decision of the dimension that was declared at `index`.
    pub(super) fn add(&mut self, index: usize, decision: Decision) {
        if let Some(place) = self.each.as_mut().and_then(|each| each.get_mut(index)) {
            *place = decision;
        }
        // All: the least remaining, the longest wait. Any: the most remaining, the shortest wait.
        let (held, rank) = match (decision.allowed, self.mode) {
            (true, Mode::All) => (&mut self.allowed, decision.remaining),
            (true, Mode::Any) => (&mut self.allowed, u64::MAX - decision.remaining),
            (false, Mode::All) => (&mut self.denied, u64::MAX - decision.retry_after_ms),
            (false, Mode::Any) => (&mut self.denied, decision.retry_after_ms),
        };
        let rank = (rank, index);
        if held.as_ref().is_none_or(|held| rank < held.rank) {
            *held = Some(Candidate { rank, decision });
        }
    }

    /// Whether the decision of each dimension is kept.
    pub(super) fn keeps(&self) -> bool {
        self.each.is_some()
    }

    /// What the replies of a store come to.
    pub(super) fn replies(mut self, call: Call) -> Result<Shown, Error> {
        if self.keeps() {
            let judged: Vec<(Decision, Decision)> = call.into_replies()?;
            let every = judged.iter().all(|(decision, _)| decision.allowed);
            // What has to be charged together with others, and is not, shows what it has as it is.
            let spares = self.mode == Mode::All && !every;
            for (index, (decision, before)) in judged.into_iter().enumerate() {
                let spared = spares && decision.allowed;
                self.add(index, if spared { decision.as_it_is(&before) } else { decision });
            }
        } else {
            for (index, decision) in call.into_replies()?.into_iter().enumerate() {
                self.add(index, decision);
            }
        }
        self.shown()
    }

    /// The decision to show, and all of them if they were kept.
    ///
    /// # Errors
    ///
    /// `state_invalid` if no decision was added: a store that answered nothing.
    pub(super) fn shown(self) -> Result<Shown, Error> {
        let shown = match self.mode {
            Mode::All => self.denied.or(self.allowed),
            Mode::Any => self.allowed.or(self.denied),
        };
        let decision =
            shown.map(|shown| shown.decision).ok_or_else(|| Error::state_invalid("the store answered nothing"))?;
        Ok(Shown { decision, each: self.each })
    }
}
