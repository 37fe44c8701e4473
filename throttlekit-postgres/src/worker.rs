//! The task that serves a lane.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use throttlekit::Error;
use throttlekit::store::Call;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use crate::batch::Batch;
use crate::core::Core;
use crate::exchange::{self, Answer};
use crate::lane::{Asked, Manner, Turn};
use crate::lease::Lease;
use crate::trouble::Trouble;

/// How often a batch is tried anew after a failure that wrote nothing, such as a deadlock with a process that locks in
/// another order.
const MORE_TRIES: u32 = 2;

/// How often a call may lose the race for its key before it locks the row.
const RACES: u32 = 4;

/// How long the server may take to create the table.
const CREATION: Duration = Duration::from_secs(2);

/// Takes calls to the server.
pub(crate) struct Worker {
    core: Arc<Core>,
}

impl Worker {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Serves a lane until no call waits.
    pub(crate) async fn serve(self, mut turn: Turn) {
        let mut lease = None;
        loop {
            let mut asked = turn.next();
            if asked.is_empty() && lease.is_some() {
                // Those who were just answered may ask again at once.
                tokio::task::yield_now().await;
                asked = turn.next();
            }
            if !asked.is_empty() {
                self.answer(&mut lease, asked).await;
                self.core.sweep_if_due();
                continue;
            }
            if let Some(mut lease) = lease.take() {
                // A connection whose transaction does not end is closed.
                let _ = within(self.core.limits.statement, lease.end()).await;
            }
            if turn.end() {
                return;
            }
        }
    }

    /// Runs calls and answers each.
    async fn answer(&self, lease: &mut Option<Lease>, asked: Vec<Asked>) {
        let mut batches = vec![(asked, 0)];
        while let Some((asked, races)) = batches.pop() {
            let Some(manner) = asked.first().map(|asked| asked.manner) else { continue };
            let (calls, callers): (Vec<_>, Vec<_>) = asked.into_iter().map(Caller::split).unzip();
            let mut batch = Batch::new(calls, &self.core.prefix);
            let outcome = self.run(lease, manner, &mut batch).await;
            self.core.counters.batches.fetch_add(1, Relaxed);
            let calls = callers.into_iter().zip(batch.into_calls());
            match outcome {
                Ok(answers) => {
                    let told = calls.zip(answers).map(|((caller, call), answer)| self.tell(caller, call, answer));
                    let mut lost: Vec<Asked> = told.flatten().collect();
                    for asked in &mut lost {
                        asked.manner = next(asked, races);
                    }
                    // Those that go on in different manners go on apart.
                    while let Some(first) = lost.first().map(|asked| asked.manner) {
                        let (same, others) = lost.into_iter().partition(|asked| asked.manner == first);
                        batches.push((same, races + 1));
                        lost = others;
                    }
                }
                Err(trouble) if trouble.may_be_of_one_call() && calls.len() > 1 => {
                    batches.extend(calls.rev().map(|(caller, call)| (vec![caller.join(call)], races)));
                }
                // Nobody listens any more where this fails.
                Err(trouble) => calls.for_each(|(caller, _)| drop(caller.answer.send(Err(trouble.to_error())))),
            }
        }
    }

    /// Tells the caller, who may have gone. A call without an answer comes back.
    fn tell(&self, caller: Caller, call: Call, answer: Answer) -> Option<Asked> {
        let (denied, result) = match answer {
            Answer::Lost => return Some(caller.join(call)),
            Answer::Denied => (true, Ok(call)),
            Answer::Is(Ok(())) => (false, Ok(call)),
            Answer::Is(Err(error)) => (false, Err(error)),
        };
        // A read decides nothing.
        if caller.manner != Manner::Read {
            self.core.hints.note(caller.hash, denied);
        }
        let _ = caller.answer.send(result);
        None
    }

    /// Runs a batch, and again if it is certain that nothing was written.
    async fn run(&self, lease: &mut Option<Lease>, manner: Manner, batch: &mut Batch) -> Result<Vec<Answer>, Trouble> {
        let mut tries = 0;
        loop {
            let trouble = match self.try_once(lease, manner, batch).await {
                Ok(answers) => return Ok(answers),
                Err(trouble) => trouble,
            };
            match lease {
                Some(lease) if trouble.leaves_connection() => lease.settle(true),
                _ => *lease = None,
            }
            let uncreated = trouble.is_missing_table() && self.core.auto_create;
            if uncreated {
                self.core.complete.store(false, Relaxed);
            }
            if tries >= MORE_TRIES || !(uncreated || trouble.is_worth_another_try()) {
                return Err(trouble);
            }
            tries += 1;
        }
    }

    async fn try_once(
        &self,
        lease: &mut Option<Lease>,
        manner: Manner,
        batch: &mut Batch,
    ) -> Result<Vec<Answer>, Trouble> {
        let core = &*self.core;
        let lease = match lease {
            Some(lease) if !lease.is_closed() => lease,
            _ => lease.insert(Lease::take(&core.pool).await?),
        };
        if core.auto_create && !core.complete.load(Relaxed) {
            within(CREATION, create(lease, core)).await?;
            core.complete.store(true, Relaxed);
        }
        let (table, server_time) = (&core.table, core.server_time);
        // Two exchanges at most.
        within(core.limits.statement * 2, async {
            // The server computes each key once; calls that meet on one are stepped here.
            if manner == Manner::Locked || (matches!(manner, Manner::Computed(..)) && batch.meets()) {
                return exchange::locked(lease, table, batch, server_time).await;
            }
            lease.end().await?;
            match manner {
                Manner::Read => exchange::read(lease, table, batch, server_time).await,
                Manner::Looked => exchange::looked(lease, table, batch, server_time).await,
                Manner::Computed(..) => exchange::computed(lease, table, batch, server_time).await,
                Manner::Swapped | Manner::Locked => exchange::swapped(lease, table, batch, server_time).await,
            }
        })
        .await
    }
}

/// Creates the table if it is not there.
async fn create(lease: &mut Lease, core: &Core) -> Result<(), Trouble> {
    lease.end().await?;
    let client = lease.client()?;
    let found = client.simple_query(&core.table.exists).await.map_err(|error| Trouble::before(&error))?;
    let complete = found.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        _ => false,
    });
    if !complete {
        let created = client.batch_execute(&core.table.create).await.map_err(|error| Trouble::before(&error));
        match created {
            Err(trouble) if trouble.is_created_twice() => {
                client.batch_execute("ROLLBACK").await.map_err(|error| Trouble::before(&error))?;
            }
            created => created?,
        }
    }
    lease.settle(false);
    Ok(())
}

/// Gives up after `limit`. What was sent may still be carried out.
pub(crate) async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(Trouble::slow("the server's answer")))
}

/// An [`Asked`] without its call.
struct Caller {
    manner: Manner,
    otherwise: Manner,
    hash: u64,
    answer: oneshot::Sender<Result<Call, Error>>,
}

impl Caller {
    fn split(asked: Asked) -> (Call, Self) {
        let Asked { call, manner, otherwise, hash, answer } = asked;
        (call, Self { manner, otherwise, hash, answer })
    }

    fn join(self, call: Call) -> Asked {
        let Self { manner, otherwise, hash, answer } = self;
        Asked { call, manner, otherwise, hash, answer }
    }
}

/// How to go on with a call that was not answered.
fn next(asked: &Asked, races: u32) -> Manner {
    match asked.manner {
        _ if races >= RACES => Manner::Locked,
        // Denied on no state at all, which a read tells.
        Manner::Computed(..) => Manner::Looked,
        _ => asked.otherwise,
    }
}
