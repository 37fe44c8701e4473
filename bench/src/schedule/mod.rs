//! The shipped two-tier limiter under every schedule of a small fleet.
//!
//! A few limiters lease from one store that does nothing by itself. At each step something that may happen next happens: a
//! request arrives, the store gets to a request that is on its way, an answer lands or fails, a caller goes away, units are given back, half a
//! window goes by. The search takes every order of such steps, up to a number of each kind, and looks at every state on
//! the way. It runs the code that is published, not a model of it: the limiter, its shared leases and its wakers.
//!
//! A limiter cannot be copied, so a state is reached by its steps from the start. Two orders that show every limiter the
//! same events with the same outcome, and leave the store and what is on its way alike, have the same future; the second one
//! is not followed.
//!
//! In every state no window has admitted more than it may, no limiter has admitted more in a window than that window
//! granted it, so that no unit outlives its window, and no caller waits for something that never comes.

mod fleet;
mod search;
mod store;

pub use fleet::{Fleet, Setting, Step, settings};
pub use search::{Broken, Searched, search};
