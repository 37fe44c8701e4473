//! The exchanges with the server: what is sent at once, and what comes of the answers.
//!
//! Statements that are sent together must all be prepared before: one that is not would be sent after the others.

use std::future::{Future, poll_fn};
use std::pin::Pin;
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

/// Lets the server decide and write, in one exchange. Every call is the same formula on one key that no other call has.
/// What the server does not admit is lost.
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
    let Some(first) = batch.calls().first() else { return Ok(Vec::new()) };
    let Some(Formula::Gcra { increment_ms, tolerance_ms }) = first.formula() else {
        return Err(Trouble::differs());
    };
    let now_ms = (!server_time).then(|| first.now_ms().floor());
    let lines = match batch.keys() {
        [key] => client.query(&gcra, &[key, &increment_ms, &tolerance_ms, &now_ms]).await,
        keys => client.query(&gcra, &[&keys, &increment_ms, &tolerance_ms, &now_ms]).await,
    };
    let lines = lines.map_err(|error| Trouble::during(&error))?;
    lease.settle(false);
    let mut answers: Vec<Answer> = (0..batch.len()).map(|_| Answer::Lost).collect();
    for line in &lines {
        let (key, found) = Computed::from_line(line).map_err(|error| Trouble::during(&error))?;
        let call = batch.call_on(key);
        if let Some((answer, asked)) = call.and_then(|call| answers.get_mut(call).zip(batch.calls().get_mut(call))) {
            *answer = found.explain(asked, increment_ms);
        }
    }
    Ok(answers)
}

/// What the server admitted.
struct Computed {
    now_ms: f64,
    /// The state of the row afterwards.
    tat_ms: Option<f64>,
}

impl Computed {
    fn from_line(line: &Line) -> Driver<(&str, Self)> {
        let text: &str = line.try_get(2)?;
        Ok((line.try_get(0)?, Self { now_ms: line.try_get(1)?, tat_ms: text.parse().ok() }))
    }

    /// Steps `call` from a state that leads to the one that the server wrote, which gives the reply.
    fn explain(self, call: &mut Call, increment_ms: f64) -> Answer {
        let led = self.tat_ms.and_then(|tat_ms| Some((tat_ms, before(tat_ms, self.now_ms, increment_ms)?)));
        let Some((tat_ms, prior)) = led else { return Answer::Is(Err(Trouble::differs().to_error())) };
        let writes = match call.step(&[prior.map(|prior| prior.to_string())], self.now_ms) {
            Ok(writes) => writes,
            Err(error) => return Answer::Is(Err(error)),
        };
        let written =
            writes.first().and_then(|write| write.state.as_ref()).and_then(|(text, _)| text.parse::<f64>().ok());
        if written == Some(tat_ms) { Answer::Is(Ok(())) } else { Answer::Is(Err(Trouble::differs().to_error())) }
    }
}

/// A state from which a check at `now_ms` came to `tat_ms`: `Some(None)` for none. The arrival time that was there, or
/// now, plus the increment was rounded to `tat_ms`; whatever else rounds to the same is as good, since replies depend on
/// the sum alone. `None` if there is no such state.
#[allow(clippy::float_cmp, clippy::option_option)] // bits are what is compared; no state is a state
fn before(tat_ms: f64, now_ms: f64, increment_ms: f64) -> Option<Option<f64>> {
    if now_ms + increment_ms == tat_ms {
        return Some(None);
    }
    // The difference is rounded too, but what it is off by is at most half of the last digit of `tat_ms`: it leads back
    // there, or one of its neighbours does where that is a tie.
    let near = tat_ms - increment_ms;
    let neighbour = |bits| f64::from_bits(bits);
    [near, neighbour(near.to_bits().wrapping_sub(1)), neighbour(near.to_bits().wrapping_add(1))]
        .into_iter()
        .find(|prior| prior + increment_ms == tat_ms)
        .map(Some)
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

#[cfg(test)]
mod tests {
    use super::before;

    #[test]
    #[allow(clippy::float_cmp)]
    fn a_state_that_leads_to_the_one_found_is_found() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let now_ms = (rng.f64() * 2e12).floor();
            let increment_ms = rng.f64() * 10_f64.powi(rng.i32(-2..13));
            let prior = now_ms + rng.f64() * 10_f64.powi(rng.i32(-3..13));
            let tat_ms = prior + increment_ms;
            let found = before(tat_ms, now_ms, increment_ms).unwrap().map_or(now_ms, |prior| prior.max(now_ms));
            assert_eq!(found + increment_ms, tat_ms, "{prior} + {increment_ms} at {now_ms}");
        }
        assert_eq!(before(1_000.0 + 100.0, 1_000.0, 100.0), Some(None));
        assert_eq!(before(f64::NAN, 1_000.0, 100.0), None);
    }
}
