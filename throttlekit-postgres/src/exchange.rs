//! The exchanges with the server: what is sent at once, and what comes of the answers.
//!
//! Statements that are sent together must all be prepared before: one that is not would be sent after the others.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::slice;
use std::task::Poll;

use deadpool_postgres::Object;
use futures_util::future::{MaybeDone, join3, maybe_done, try_join, try_join3};
use throttlekit::store::Call;
use throttlekit::{Error, Formula};
use tokio_postgres::{Row as Line, Statement};

use crate::batch::{Batch, Row};
use crate::lease::Lease;
use crate::table::Table;
use crate::trouble::Trouble;

/// What became of one call.
pub(crate) enum Answer {
    Is(Result<(), Error>),
    /// It is answered, and wants to change nothing.
    Denied,
    /// Another process was faster, and nothing was written.
    Lost,
}

type Answers = Vec<Answer>;
type Driver<T> = Result<T, tokio_postgres::Error>;

/// Reads without a lock: one exchange.
pub(crate) async fn read(
    lease: &mut Lease,
    table: &Table,
    batch: &mut Batch,
    server_time: bool,
) -> Result<Answers, Trouble> {
    let (now_ms, mut rows) = look(lease, table, batch.keys()).await?;
    Ok(batch.step(&mut rows, server_time.then_some(now_ms)))
}

/// Reads and writes under the locks of all keys: one exchange, and a second one if anything is written. If nothing is,
/// the transaction is left open, so that the answer need not wait for its end.
pub(crate) async fn locked(
    lease: &mut Lease,
    table: &Table,
    batch: &mut Batch,
    server_time: bool,
) -> Result<Answers, Trouble> {
    let begin = lease.begin();
    let client = lease.client()?;
    let single = batch.keys().len() == 1;
    let texts = if single {
        [&table.lock_one, &table.read_one, &table.write_one]
    } else {
        [&table.lock_many, &table.read_many, &table.write_many]
    };
    let [lock, read, write] = texts.map(|text| client.prepare_cached(text));
    let prepared = try_join(try_join3(lock, read, write), client.prepare_cached(&table.delete)).await;
    let ((lock, read, write), delete) = prepared.map_err(|error| Trouble::before(&error))?;

    let keys = batch.keys();
    let (begun, locked, lines) = join3(
        client.batch_execute(begin),
        async {
            match keys {
                [key] => client.execute(&lock, &[key]).await,
                keys => client.execute(&lock, &[&keys]).await,
            }
        },
        fetch(client, &read, keys),
    )
    .await;
    let lines = begun.and(locked).and(lines).map_err(|error| Trouble::before(&error))?;
    let (now_ms, before) = parse(&lines).map_err(|error| Trouble::before(&error))?;

    let mut after = before.clone();
    let answers = batch.step(&mut after, server_time.then_some(now_ms));
    let changes = Changes::between(batch.keys(), &before, &after);
    let open = changes.is_empty();
    if !open {
        let (written, deleted, committed) = join3(
            changes.write(client, &write, single),
            changes.delete(client, &delete),
            client.batch_execute("COMMIT"),
        )
        .await;
        written.and(deleted).and(committed).map_err(|error| Trouble::during(&error))?;
    }
    lease.settle(open);
    Ok(answers)
}

/// Reads without a lock, and writes what nobody has changed since: one exchange, and a second one if anything is
/// written. Every call has one key.
pub(crate) async fn swapped(
    lease: &mut Lease,
    table: &Table,
    batch: &mut Batch,
    server_time: bool,
) -> Result<Answers, Trouble> {
    let client = lease.client()?;
    let texts = [&table.swap_in, &table.swap, &table.swap_out];
    let [insert, update, delete] = texts.map(|text| client.prepare_cached(text));
    let prepared = try_join3(insert, update, delete).await;
    let (insert, update, delete) = prepared.map_err(|error| Trouble::before(&error))?;
    let (now_ms, before) = look(lease, table, batch.keys()).await?;
    let mut after = before.clone();
    let answers = batch.step(&mut after, server_time.then_some(now_ms));

    let client = lease.client()?;
    let swaps = batch.keys().iter().zip(before.iter().zip(&after)).filter(|(_, (old, new))| old != new);
    let swaps: Vec<_> = swaps
        .map(|(key, (old, new))| async {
            match (&old.state, &new.state) {
                (None, _) => client.execute(&insert, &[key, &new.state, &new.expires_at]).await,
                (Some(_), Some(_)) => {
                    client.execute(&update, &[key, &new.state, &new.expires_at, &old.state, &old.expires_at]).await
                }
                (Some(_), None) => client.execute(&delete, &[key, &old.state, &old.expires_at]).await,
            }
        })
        .collect();
    let changed = before.iter().zip(&after).map(|(old, new)| old != new);
    let mut swapped = together(client, swaps).await?.into_iter();
    let lost: Vec<bool> = changed.map(|changed| changed && swapped.next() == Some(0)).collect();
    lease.settle(false);
    let answer = |(call, answer)| {
        let lost = lost.get(batch.place(call)).copied().unwrap_or_default();
        if lost { Answer::Lost } else { answer }
    };
    Ok(answers.into_iter().enumerate().map(answer).collect())
}

/// Reads without a lock, in one exchange, and answers the calls that change nothing: denials. Others are lost.
pub(crate) async fn looked(
    lease: &mut Lease,
    table: &Table,
    batch: &mut Batch,
    server_time: bool,
) -> Result<Answers, Trouble> {
    let (now_ms, rows) = look(lease, table, batch.keys()).await?;
    Ok(batch.judge(&rows, server_time.then_some(now_ms)))
}

/// Lets the server decide and write, in one exchange. Every call is the same formula on one key. What the server does not
/// answer is lost.
pub(crate) async fn computed(
    lease: &mut Lease,
    table: &Table,
    batch: &mut Batch,
    server_time: bool,
) -> Result<Answers, Trouble> {
    let client = lease.client()?;
    let single = batch.keys().len() == 1;
    let text = if single { &table.gcra_one } else { &table.gcra_many };
    let gcra = client.prepare_cached(text).await.map_err(|error| Trouble::before(&error))?;
    let Some((first, _)) = batch.get(0) else { return Ok(Vec::new()) };
    let Some(Formula::Gcra { increment_ms, tolerance_ms }) = first.formula() else {
        return Err(Trouble::differs());
    };
    let now_ms = (!server_time).then(|| first.now_ms().floor());
    // A statement can write a row once: further calls on one key go to further statements, which lock nothing new.
    let waves = batch.waves();
    let keys: Vec<Vec<&str>> = waves.iter().map(|wave| batch.keys_of(wave)).collect();
    let statements = keys.iter().map(async |keys| match keys.as_slice() {
        [key] if single => client.query(&gcra, &[key, &increment_ms, &tolerance_ms, &now_ms]).await,
        keys => client.query(&gcra, &[&keys, &increment_ms, &tolerance_ms, &now_ms]).await,
    });
    let statements = statements.collect::<Vec<_>>();
    let lines = together(client, statements).await?;
    lease.settle(false);
    let mut answers: Vec<Answer> = (0..batch.len()).map(|_| Answer::Lost).collect();
    for (wave, lines) in waves.iter().zip(lines) {
        let mut computed = HashMap::new();
        for line in &lines {
            let (key, found) = Computed::from_line(line).map_err(|error| Trouble::during(&error))?;
            computed.insert(key, found);
        }
        for call in wave {
            let found = batch.get(*call).and_then(|(_, key)| computed.remove(key));
            if let (Some(found), Some(asked), Some(answer)) =
                (found, batch.calls().get_mut(*call), answers.get_mut(*call))
            {
                *answer = found.explain(asked);
            }
        }
    }
    Ok(answers)
}

/// What the server found and did.
struct Computed {
    prior: Option<String>,
    now_ms: f64,
    /// The state of the row afterwards.
    state: String,
}

impl Computed {
    fn from_line(line: &Line) -> Driver<(&str, Self)> {
        Ok((line.try_get(0)?, Self { prior: line.try_get(1)?, now_ms: line.try_get(2)?, state: line.try_get(3)? }))
    }

    /// Steps `call` over what the server found, which gives the reply, and compares the outcome.
    fn explain(self, call: &mut Call) -> Answer {
        let writes = match call.step(slice::from_ref(&self.prior), self.now_ms) {
            Ok(writes) => writes,
            Err(error) => return Answer::Is(Err(error)),
        };
        let number = |text: &str| text.parse::<f64>().ok();
        match writes.first().and_then(|write| write.state.as_ref()) {
            Some((ours, _)) if number(ours).is_some() && number(ours) == number(&self.state) => Answer::Is(Ok(())),
            // A denial leaves the row as it was.
            None if self.prior.as_ref() == Some(&self.state) => Answer::Denied,
            _ => Answer::Is(Err(Trouble::differs().to_error())),
        }
    }
}

/// Sends `statements` at once, as one transaction if there are several. Their answers, in order.
async fn together<T>(client: &Object, mut statements: Vec<impl Future<Output = Driver<T>>>) -> Result<Vec<T>, Trouble> {
    let results = match statements.len() {
        0 => Ok(Vec::new()),
        1 => statements.remove(0).await.map(|answer| vec![answer]),
        _ => {
            let begin = client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
            let (begun, answers, committed) = join3(begin, in_order(statements), client.batch_execute("COMMIT")).await;
            // The first failure is the cause, those behind it its consequence.
            begun.and_then(|()| answers.into_iter().collect()).and_then(|answers| committed.map(|()| answers))
        }
    };
    results.map_err(|error| Trouble::during(&error))
}

/// Polls all futures, always in their order, so that what they send has that order.
async fn in_order<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<Pin<Box<MaybeDone<_>>>> =
        futures.into_iter().map(|future| Box::pin(maybe_done(future))).collect();
    poll_fn(|cx| {
        let waiting =
            futures.iter_mut().filter_map(|future| future.as_mut().poll(cx).is_pending().then_some(())).count();
        if waiting == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.iter_mut().filter_map(|future| future.as_mut().take_output()).collect()
}

/// The rows of `keys` and the server's time, in one exchange.
async fn look(lease: &mut Lease, table: &Table, keys: &[String]) -> Result<(f64, Vec<Row>), Trouble> {
    let client = lease.client()?;
    let text = if keys.len() == 1 { &table.read_one } else { &table.read_many };
    let looked = async {
        let lines = fetch(client, &client.prepare_cached(text).await?, keys).await?;
        parse(&lines)
    };
    let looked = looked.await.map_err(|error| Trouble::before(&error))?;
    lease.settle(false);
    Ok(looked)
}

async fn fetch(client: &Object, read: &Statement, keys: &[String]) -> Driver<Vec<Line>> {
    match keys {
        [key] => client.query(read, &[key]).await,
        keys => client.query(read, &[&keys]).await,
    }
}

fn parse(lines: &[Line]) -> Driver<(f64, Vec<Row>)> {
    let now_ms = lines.first().map(|line| line.try_get(0)).transpose()?.unwrap_or_default();
    let row = |line: &Line| {
        let expires_at: Option<i64> = line.try_get(2)?;
        Ok(Row { state: line.try_get(1)?, expires_at: expires_at.unwrap_or_default() })
    };
    Ok((now_ms, lines.iter().map(row).collect::<Driver<_>>()?))
}

/// Rows that are to be written or deleted.
#[derive(Default)]
struct Changes<'a> {
    keys: Vec<&'a str>,
    states: Vec<&'a str>,
    deadlines: Vec<i64>,
    gone: Vec<&'a str>,
}

impl<'a> Changes<'a> {
    fn between(keys: &'a [String], before: &[Row], after: &'a [Row]) -> Self {
        let mut changes = Self::default();
        for ((key, old), new) in keys.iter().zip(before).zip(after) {
            if old == new {
                continue;
            }
            match &new.state {
                Some(state) => {
                    changes.keys.push(key);
                    changes.states.push(state);
                    changes.deadlines.push(new.expires_at);
                }
                None => changes.gone.push(key),
            }
        }
        changes
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.gone.is_empty()
    }

    async fn write(&self, client: &Object, write: &Statement, single: bool) -> Driver<u64> {
        match (self.keys.as_slice(), self.states.as_slice(), self.deadlines.as_slice()) {
            ([], ..) => Ok(0),
            ([key], [state], [deadline]) if single => client.execute(write, &[key, state, deadline]).await,
            (keys, states, deadlines) => client.execute(write, &[&keys, &states, &deadlines]).await,
        }
    }

    async fn delete(&self, client: &Object, delete: &Statement) -> Driver<u64> {
        match self.gone.as_slice() {
            [] => Ok(0),
            keys => client.execute(delete, &[&keys]).await,
        }
    }
}
