//! Strategies whose units may be dated later.

use crate::program::Project;
use crate::strategy::exact_gcra::ExactGcra;
use crate::strategy::fixed_window::FixedWindow;
use crate::strategy::gcra::Gcra;
use crate::strategy::quota::Quota;
use crate::strategy::sliding_window::SlidingWindow;
use crate::strategy::sliding_window_log::SlidingWindowLog;
use crate::strategy::token_bucket::TokenBucket;

/// A strategy that a [`Screened`](super::Screened) limiter can use: one whose spent units may be dated later.
///
/// All built-in strategies are. Implement it for one of your own if these hold:
///
/// - **Later is stricter.** Of two keys that spent the same units, the one that spent them later is admitted nothing that
///   the other is not, then and ever after. So a key that spent `n` units at known or unknown times up to now is never
///   admitted too much if it is taken for a new one that spends all of them now.
/// - **Old units have no say.** Units spent before the current window, if the strategy has
///   [windows that end for all keys at once](crate::Strategy::window_end_ms), or else more than
///   [`ttl_ms`](crate::Strategy::ttl_ms) ago, can be left out.
///
/// Why the second holds for a GCRA with the emission interval `T` and the tolerance `tau`, which is its `ttl_ms`: with
/// `u` units since the instant `now - tau`, at which the arrival time was at most `tau` ahead, hence at most at `now`, the
/// arrival time is at most `now + u * T`: that of a new key which spends `u` units now. A token bucket is the same in other
/// words.
pub trait Carry: Project {}

impl Carry for ExactGcra {}
impl Carry for FixedWindow {}
impl Carry for Gcra {}
impl Carry for Quota {}
impl Carry for SlidingWindow {}
impl Carry for SlidingWindowLog {}
impl Carry for TokenBucket {}
