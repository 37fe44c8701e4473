//! A cluster: each run goes to the node that holds its slot.
//!
//! A node that does not hold the slot says so without running anything, so that the run may be sent on. Everything else
//! that goes wrong is the caller's to hear, and makes the topology be asked for anew.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use redis::{ServerErrorKind, Value};
use throttlekit::Error;
use tokio::time::Instant;

use crate::error::{Failure, answer, code};
use crate::link::ScriptRun;
use crate::link::batch::Batch;
use crate::link::dial::{Address, Dial};
use crate::link::flight::{Flight, Waiter};
use crate::link::node::{Node, Reply, Target};
use crate::link::slots::slot_of;
use crate::link::topology::{Range, Topology, ranges, redirected};

/// How often one run is sent on before its caller hears of it. A slot on its way from one node to another takes two; a
/// topology long out of date one more.
const MOST_HOPS: u32 = 5;
/// The wait before a run is sent again whose keys are on their way to another node; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// How long a topology is kept at least, however many answers say that it is out of date. Runs are sent on meanwhile.
const SHORTEST_STAY: Duration = Duration::from_millis(100);
/// How many nodes are asked for the topology at the same time.
const ASKED_AT_ONCE: usize = 3;

/// A cluster. A clone is a handle to the same connections, which are made by the first runs that need them.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    dial: Arc<Dial>,
    /// The nodes that were given.
    seeds: Vec<Address>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    topology: Option<Arc<Topology>>,
    /// Every node in use, those that runs were sent on to among them.
    nodes: HashMap<Address, Node>,
    /// The question for the topology that is under way.
    flight: Option<Flight<Outcome>>,
    /// Until when it is not asked again, and why the last question failed.
    rest: Option<(Instant, Option<Failure>)>,
}

type Outcome = Result<Arc<Topology>, Failure>;
type Answer = Result<Value, Error>;

/// A run on its way.
struct Leg {
    index: usize,
    run: ScriptRun,
    way: Way,
}

/// Where a run goes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Way {
    /// To the node that holds its slot as far as is known.
    Owner,
    /// To this node, which holds its slot now.
    Moved(Address),
    /// To this node, which takes over its slot and has the key.
    Ask(Address),
}

impl Cluster {
    /// The cluster that the nodes at `seeds` are of.
    pub(crate) fn new(dial: Arc<Dial>, seeds: Vec<Address>) -> Self {
        Self(Arc::new(Inner { dial, seeds, state: Mutex::new(State::default()) }))
    }

    /// Runs the scripts as one pipeline for each node, all nodes at once.
    pub(crate) async fn send(&self, runs: Vec<ScriptRun>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = runs.iter().map(|_| None).collect();
        let mut legs: Vec<Leg> =
            runs.into_iter().enumerate().map(|(index, run)| Leg { index, run, way: Way::Owner }).collect();
        let mut wait = None;
        for hop in 0..=MOST_HOPS {
            if legs.is_empty() {
                break;
            }
            if let Some(wait) = wait.take() {
                tokio::time::sleep(wait).await;
            }
            let groups = self.groups(legs, &mut answers).await;
            legs = Vec::new();
            for (group, replies) in join_all(groups.into_iter().map(Group::run)).await {
                for (position, reply) in replies.into_iter().enumerate() {
                    let next = if hop < MOST_HOPS { self.next(&group, position, &reply) } else { None };
                    if let Some(leg) = next {
                        if leg.way == Way::Owner {
                            wait = Some(FIRST_WAIT.saturating_mul(1 << hop.min(8)));
                        }
                        legs.push(leg);
                    } else if let Some(&index) = group.indices.get(position) {
                        if reply.as_ref().map_or(true, is_down) {
                            self.renew();
                        }
                        answers[index] = Some(reply.map_err(Error::from).and_then(answer));
                    }
                }
            }
        }
        let lost = || Err(Error::store_unavailable("the cluster sent the run from node to node"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// Asks every node that holds slots for a sign of life.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let topology = self.topology().await?;
        let pings = topology.nodes().iter().map(|(_, node)| node.ping());
        join_all(pings).await.into_iter().collect::<Result<(), Failure>>().map_err(|failure| {
            self.renew();
            failure.into()
        })
    }

    /// What becomes of a run that got `reply`, if it is known that it did not run.
    fn next(&self, group: &Group, position: usize, reply: &Reply) -> Option<Leg> {
        let Ok(Value::ServerError(error)) = reply else { return None };
        let to = || redirected(error.details()?, &group.address);
        let way = match error.kind()? {
            ServerErrorKind::Moved => {
                self.renew();
                Way::Moved(to()?)
            }
            ServerErrorKind::Ask => Way::Ask(to()?),
            // Some of its keys have gone to another node already, and some have not.
            ServerErrorKind::TryAgain => Way::Owner,
            _ => return None,
        };
        Some(Leg { index: *group.indices.get(position)?, run: group.batch.run(position)?, way })
    }

    /// The runs by the node that they go to, in order. What cannot be sent anywhere is answered.
    async fn groups(&self, legs: Vec<Leg>, answers: &mut [Option<Answer>]) -> Vec<Group> {
        let topology =
            if legs.iter().any(|leg| leg.way == Way::Owner) { self.topology().await } else { Err(unowned()) };
        let mut owned: Vec<Vec<Leg>> = Vec::new();
        let mut sent_on: HashMap<Way, Vec<Leg>> = HashMap::new();
        for leg in legs {
            if leg.way != Way::Owner {
                sent_on.entry(leg.way.clone()).or_default().push(leg);
                continue;
            }
            let slot = slot_of(leg.run.first_key().unwrap_or_default());
            let owner = topology.as_ref().map_err(Failure::clone).and_then(|topology| {
                topology.owner(slot).ok_or_else(|| {
                    self.renew();
                    unowned()
                })
            });
            match owner {
                Ok(position) => {
                    if owned.len() <= position {
                        owned.resize_with(position + 1, Vec::new);
                    }
                    owned[position].push(leg);
                }
                Err(failure) => answers[leg.index] = Some(Err(failure.into())),
            }
        }
        let mut groups = Vec::new();
        if let Ok(topology) = topology {
            for ((address, node), legs) in topology.nodes().iter().zip(owned) {
                if !legs.is_empty() {
                    groups.push(Group::new(address.clone(), node.clone(), legs, Batch::new));
                }
            }
        }
        for (way, legs) in sent_on {
            match way {
                Way::Owner => {}
                Way::Moved(address) => groups.push(Group::new(address.clone(), self.node(&address), legs, Batch::new)),
                Way::Ask(address) => groups.push(Group::new(address.clone(), self.node(&address), legs, Batch::asking)),
            }
        }
        groups
    }

    /// The node at an address.
    fn node(&self, address: &Address) -> Node {
        self.0.node(&mut self.0.lock(), address)
    }

    /// The topology, asked for if none is known.
    async fn topology(&self) -> Outcome {
        let waiter = {
            let mut state = self.0.lock();
            if let Some(topology) = &state.topology {
                return Ok(Arc::clone(topology));
            }
            match self.ask(&mut state) {
                Ok(waiter) => waiter,
                Err(failure) => return Err(failure),
            }
        };
        waiter.outcome().await.unwrap_or_else(|| Err(Failure::new("asking for the topology was cut short")))
    }

    /// Asks for the topology anew, in the background, unless that has just been done. The known one holds until then.
    fn renew(&self) {
        // A failure to ask shows when the topology is needed and not known.
        let _ = self.ask(&mut self.0.lock());
    }

    /// The question that is under way, or a new one if it is time for it.
    fn ask(&self, state: &mut State) -> Result<Waiter<Outcome>, Failure> {
        match &state.flight {
            Some(flight) if flight.is_alive() => return Ok(flight.waiter()),
            _ => {}
        }
        match &state.rest {
            Some((until, failure)) if Instant::now() < *until => {
                return Err(failure.clone().unwrap_or_else(unowned));
            }
            _ => {}
        }
        let mut nodes: Vec<(Address, Node)> = match &state.topology {
            Some(topology) => topology.nodes().to_vec(),
            None => Vec::new(),
        };
        fastrand::shuffle(&mut nodes);
        for address in &self.0.seeds {
            if nodes.iter().all(|(known, _)| known != address) {
                nodes.push((address.clone(), self.0.node(state, address)));
            }
        }
        let inner = Arc::downgrade(&self.0);
        let flight = Flight::start(async move { Inner::settle(&inner, ask_any(nodes).await) })
            .ok_or_else(|| Failure::new("there is no tokio runtime to connect on"))?;
        let waiter = flight.waiter();
        state.flight = Some(flight);
        Ok(waiter)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, state: &mut State, address: &Address) -> Node {
        let new = || Node::new(Arc::clone(&self.dial), Target::Fixed(address.clone()));
        state.nodes.entry(address.clone()).or_insert_with(new).clone()
    }

    /// Keeps what the nodes answered, if the cluster is still there.
    fn settle(inner: &Weak<Self>, found: Result<Vec<Range>, Failure>) -> Outcome {
        let Some(inner) = inner.upgrade() else { return Err(unowned()) };
        let mut state = inner.lock();
        state.flight = None;
        let stay = SHORTEST_STAY.mul_f64(0.5 + 0.5 * fastrand::f64());
        match found {
            Ok(ranges) => {
                let topology = Arc::new(Topology::new(ranges, |address| inner.node(&mut state, address)));
                // Nodes that hold nothing any more are let go, with their connections.
                state.nodes = topology.nodes().iter().cloned().collect();
                state.topology = Some(Arc::clone(&topology));
                state.rest = Some((Instant::now() + stay, None));
                Ok(topology)
            }
            Err(failure) => {
                state.rest = Some((Instant::now() + stay, Some(failure.clone())));
                Err(failure)
            }
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("seeds", &self.0.seeds).finish_non_exhaustive()
    }
}

/// Runs that go to one node together.
struct Group {
    address: Address,
    node: Node,
    indices: Vec<usize>,
    batch: Batch,
}

impl Group {
    fn new(address: Address, node: Node, legs: Vec<Leg>, batch: fn(Vec<ScriptRun>) -> Batch) -> Self {
        let (indices, runs) = legs.into_iter().map(|leg| (leg.index, leg.run)).unzip();
        Self { address, node, indices, batch: batch(runs) }
    }

    async fn run(self) -> (Self, Vec<Reply>) {
        let replies = self.node.run(&self.batch).await;
        (self, replies)
    }
}

fn unowned() -> Failure {
    Failure::new("no node of the cluster holds the slot of the key")
}

/// Whether the answer says that the node or the cluster is not what it was.
fn is_down(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error)
        if matches!(error.kind(), Some(ServerErrorKind::ClusterDown | ServerErrorKind::ReadOnly | ServerErrorKind::Moved)))
}

/// What the first node says that knows; a few are asked at the same time, since one may hang.
async fn ask_any(nodes: Vec<(Address, Node)>) -> Result<Vec<Range>, Failure> {
    let questions = nodes.into_iter().map(|(address, node)| async move {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        match node.command(&command).await? {
            Value::ServerError(error) => Err(Failure::new(format!("{address}: the server answered {}", code(&error)))),
            answer => ranges(&answer, &address).ok_or_else(|| Failure::new(format!("{address} knows no slots"))),
        }
    });
    let mut answers = stream::iter(questions).buffer_unordered(ASKED_AT_ONCE);
    let mut failure = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(ranges) => return Ok(ranges),
            Err(reason) => failure = Some(reason),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::new("there are no nodes to ask")))
}
