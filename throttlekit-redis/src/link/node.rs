//! One server: a connection that everybody shares and that is replaced when it breaks.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use crate::error::{Failure, code, is_noscript};
use crate::link::batch::Batch;
use crate::link::dial::{Address, Dial, Wire};
use crate::link::flight::{Flight, Waiter};
use crate::link::sentinel::Sentinels;

/// The longest pause after an attempt to connect that failed. With the jitter it keeps a fleet from knocking in step,
/// and a server that is back is found well within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The pause after the first attempt that failed; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// How long a run waits for an attempt to connect that is not the first. The attempt goes on without it, so that a server
/// that hangs holds up nobody for long, and not those whose runs go to other nodes at the same time.
const RETRY_WAIT: Duration = Duration::from_millis(50);
/// A connection that breaks without ever having been of use is replaced only when it would have been this old.
const USELESS_LIFE: Duration = Duration::from_millis(100);

/// What a server is found by.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Its address.
    Fixed(Address),
    /// The sentinels that know which server is the master now.
    Watched(Sentinels),
}

/// A server. A clone is a handle to the same connection, which is made by the first run that needs it.
#[derive(Clone)]
pub(crate) struct Node(Arc<Inner>);

struct Inner {
    dial: Arc<Dial>,
    target: Target,
    state: Mutex<State>,
}

enum State {
    /// Not connected.
    Apart {
        /// How many attempts in a row failed.
        failures: u32,
        /// Until when no attempt is made, and why; none before the first.
        pause: Option<(Instant, Failure)>,
    },
    /// An attempt is under way.
    Connecting {
        failures: u32,
        /// Why the attempt before it failed, or the connection; none for the first attempt.
        reason: Option<Failure>,
        flight: Flight<Outcome>,
    },
    /// Connected.
    Joined(Arc<Wire>),
}

type Outcome = Result<Arc<Wire>, Failure>;

/// The answer to one run, maybe an error of the server, or why there is none.
pub(crate) type Reply = Result<Value, Failure>;

impl Node {
    /// A server that is not connected to yet.
    pub(crate) fn new(dial: Arc<Dial>, target: Target) -> Self {
        Self(Arc::new(Inner { dial, target, state: Mutex::new(State::Apart { failures: 0, pause: None }) }))
    }

    /// Runs the batch as one pipeline: one reply for each run. Runs whose script the server does not know are sent once
    /// more with its text, and nothing else is.
    pub(crate) async fn run(&self, batch: &Batch) -> Vec<Reply> {
        let wire = match self.wire().await {
            Ok(wire) => wire,
            Err(failure) => return vec![Err(failure); batch.len()],
        };
        let mut replies = self.exchange(&wire, batch).await;
        // The server may forget a script between the first and the second round, but a text it cannot.
        for every in [false, true] {
            let unknown: Vec<usize> = (0..replies.len()).filter(|&index| is_unknown(&replies[index])).collect();
            if unknown.is_empty() {
                break;
            }
            let again = self.exchange(&wire, &batch.with_sources(&unknown, every)).await;
            for (index, reply) in unknown.into_iter().zip(again) {
                replies[index] = reply;
            }
        }
        replies
    }

    /// Asks for a sign of life.
    pub(crate) async fn ping(&self) -> Result<(), Failure> {
        match self.command(&redis::cmd("PING")).await? {
            Value::ServerError(error) => Err(Failure::new(format!("the server answered {}", error.code()))),
            _ => Ok(()),
        }
    }

    /// Sends one command.
    pub(crate) async fn command(&self, command: &redis::Cmd) -> Reply {
        let wire = self.wire().await?;
        wire.command(command).await.map_err(|error| self.broken(&wire, Failure::of_exchange(&error)))
    }

    async fn exchange(&self, wire: &Arc<Wire>, batch: &Batch) -> Vec<Reply> {
        match wire.batch(batch).await {
            Ok(answers) if answers.len() == batch.len() => {
                // A server that lost its role keeps its connections; the next one may find the new master.
                if answers.iter().any(is_read_only) {
                    self.broken(wire, Failure::new("the server takes no writes (READONLY)"));
                } else {
                    wire.set_useful();
                }
                answers.into_iter().map(Ok).collect()
            }
            Ok(_) => {
                let failure = self.broken(wire, Failure::new("the server gave another number of answers"));
                vec![Err(failure); batch.len()]
            }
            Err(error) => vec![Err(self.broken(wire, Failure::of_exchange(&error))); batch.len()],
        }
    }

    /// The connection, made now if there is none.
    async fn wire(&self) -> Outcome {
        let (waiter, reason) = match self.join() {
            Join::Ready(outcome) => return outcome,
            Join::Wait(waiter, reason) => (waiter, reason),
        };
        // Cut short when the runtime that connects has ended.
        let cut_short = || Err(Failure::new("connecting was cut short"));
        match reason {
            None => waiter.outcome().await.unwrap_or_else(cut_short),
            Some(reason) => match tokio::time::timeout(RETRY_WAIT, waiter.outcome()).await {
                Ok(outcome) => outcome.unwrap_or_else(cut_short),
                Err(_) => Err(reason),
            },
        }
    }

    /// The connection, the attempt to make it, or why there is no attempt now. Starts one if it is time.
    fn join(&self) -> Join {
        let mut state = self.0.lock();
        if let State::Joined(wire) = &*state {
            let failure = if wire.is_closed() {
                Failure::new("the connection broke")
            } else if wire.is_silent(self.0.dial.timing.response) {
                Failure::silent()
            } else {
                return Join::Ready(Ok(Arc::clone(wire)));
            };
            *state = State::after(wire, failure);
        }
        let (failures, reason) = match &*state {
            State::Connecting { flight, reason, .. } if flight.is_alive() => {
                return Join::Wait(flight.waiter(), reason.clone());
            }
            State::Apart { pause: Some((until, failure)), .. } if Instant::now() < *until => {
                return Join::Ready(Err(failure.clone()));
            }
            State::Apart { failures, pause } => (*failures, pause.as_ref().map(|(_, failure)| failure.clone())),
            State::Connecting { failures, reason, .. } => (*failures, reason.clone()),
            State::Joined(_) => (0, None),
        };
        let inner = Arc::downgrade(&self.0);
        let (dial, target) = (Arc::clone(&self.0.dial), self.0.target.clone());
        let flight = Flight::start(async move {
            let outcome = match &target {
                Target::Fixed(address) => dial.open(address).await,
                Target::Watched(sentinels) => sentinels.master(&dial).await,
            };
            let outcome = outcome.map(Arc::new);
            Inner::settle(&inner, failures, &outcome);
            outcome
        });
        match flight {
            Some(flight) => {
                let waiter = flight.waiter();
                *state = State::Connecting { failures, reason: reason.clone(), flight };
                Join::Wait(waiter, reason)
            }
            None => Join::Ready(Err(Failure::new("there is no tokio runtime to connect on"))),
        }
    }

    /// Lets the next run connect anew, unless that has been seen to already. What is under way on `wire` goes on.
    fn broken(&self, wire: &Arc<Wire>, failure: Failure) -> Failure {
        let mut state = self.0.lock();
        match &*state {
            State::Joined(current) if Arc::ptr_eq(current, wire) => *state = State::after(wire, failure.clone()),
            _ => {}
        }
        failure
    }
}

impl State {
    /// What follows a connection that broke: a new attempt at once, but not many in a row with a server that takes
    /// connections and serves none.
    fn after(wire: &Wire, failure: Failure) -> Self {
        let until = if wire.is_useful() { wire.opened() } else { wire.opened() + USELESS_LIFE };
        Self::Apart { failures: 0, pause: Some((until, failure)) }
    }
}

/// What a run that needs the connection finds.
enum Join {
    Ready(Outcome),
    /// With the reason of the attempt before it.
    Wait(Waiter<Outcome>, Option<Failure>),
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what an attempt came to, if its node is still there.
    fn settle(inner: &Weak<Self>, failures: u32, outcome: &Outcome) {
        let Some(inner) = inner.upgrade() else { return };
        let next = match outcome {
            Ok(wire) => State::Joined(Arc::clone(wire)),
            Err(failure) => State::Apart {
                failures: failures.saturating_add(1),
                pause: Some((Instant::now() + pause(failures, fastrand::f64()), failure.clone())),
            },
        };
        *inner.lock() = next;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("target", &self.0.target).finish_non_exhaustive()
    }
}

/// How long no attempt is made after `failures` earlier ones and one more: between half of the step and the whole of it,
/// as `random` in `0..1` says.
fn pause(failures: u32, random: f64) -> Duration {
    let step = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    step.mul_f64(0.5 + 0.5 * random)
}

fn is_unknown(reply: &Reply) -> bool {
    matches!(reply, Ok(Value::ServerError(error)) if is_noscript(error))
}

fn is_read_only(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if code(error) == "READONLY")
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_PAUSE, pause};
    use std::time::Duration;

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_is_spread() {
        assert_eq!(pause(0, 1.0), Duration::from_millis(10));
        assert_eq!(pause(0, 0.0), Duration::from_millis(5));
        assert_eq!(pause(3, 1.0), Duration::from_millis(80));
        assert_eq!(pause(5, 1.0), LONGEST_PAUSE);
        assert_eq!(pause(u32::MAX, 0.5), LONGEST_PAUSE.mul_f64(0.75));
    }
}
