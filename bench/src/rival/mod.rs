//! The contestants.
//!
//! Each answers the same question with its own table: may this key go on, under a GCRA limit? All get the key as `&str`.

mod arithmetic;
mod floor;
mod ours;
mod peer;
mod sharded;

use std::hint::black_box;

pub use arithmetic::Limit;
pub use floor::Floor;
pub use ours::{
    Batched, SHOWN_COST, States, ThroughAdmit, ThroughLimiter, ThroughTable, gcra, seeded_table, shown, state_table,
};
pub use peer::{Peer, SipBuilder, governor_keyed, governor_with};
pub use sharded::Sharded;

/// One way to limit.
pub trait Rival: Send + Sync {
    /// What one thread keeps between checks.
    type Session: Default;
    /// The whole answer to a check.
    type Answer;

    /// Checks one key for one unit.
    fn check(&self, session: &mut Self::Session, key: &str) -> Self::Answer;

    /// Whether an answer admits.
    fn allowed(answer: &Self::Answer) -> bool;

    /// Checks each key; how many were admitted. The whole answer is made in memory each time.
    #[inline]
    fn run(&self, session: &mut Self::Session, keys: &[&str]) -> usize {
        let mut allowed = 0;
        for key in keys {
            let answer = black_box(self.check(session, black_box(key)));
            allowed += usize::from(Self::allowed(&answer));
        }
        allowed
    }

    /// The same, where the processor cannot know the next key before the answer: where it is comes of the answers so far.
    #[inline]
    fn run_in_turn(&self, session: &mut Self::Session, keys: &[&str]) -> usize {
        let none = black_box(0);
        let mut allowed = 0;
        for at in 0..keys.len() {
            let key = keys[at + (allowed & none)];
            let answer = black_box(self.check(session, black_box(key)));
            allowed += usize::from(Self::allowed(&answer));
        }
        allowed
    }
}
