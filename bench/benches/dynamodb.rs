//! How many requests a check costs on DynamoDB, and how many of them are lost to other processes.
//!
//! Requests are what a table is billed by and what a check waits for, so they are counted, at a proxy; the time that a
//! server on this machine takes says nothing about a table elsewhere.

use std::error::Error;
use std::time::Duration;

use bench::args::Args;
use bench::report::{self, Claims, Table, two};
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use tests::dynamodb::{DynamoDb, Proxy, client};
use throttlekit::store::Remote;
use throttlekit::{FixedWindow, Limiter, ManualClock, Multi};
use throttlekit_dynamodb::{DynamoDbStore, DynamoDbStoreBuilder};

const TABLE: &str = "bench";

type Outcome<T> = Result<T, Box<dyn Error>>;
type Window = Limiter<FixedWindow, Remote, ManualClock>;

struct Bench {
    /// Ends with it.
    _server: DynamoDb,
    proxy: Proxy,
}

impl Bench {
    async fn start() -> Outcome<Self> {
        let server = DynamoDb::start();
        let bench = Self { proxy: Proxy::start(server.address()), _server: server };
        bench.store().build()?.create_table().await?;
        Ok(bench)
    }

    /// A store as one more process would have it. A busy machine is not what is measured.
    fn store(&self) -> DynamoDbStoreBuilder {
        DynamoDbStore::builder(client(self.proxy.address()), TABLE).timeout(Duration::from_secs(60))
    }

    /// Requests for each of `checks` since the last look.
    #[allow(clippy::cast_precision_loss)] // counts far below 2^53
    fn per_check(&self, checks: usize) -> f64 {
        self.proxy.take().len() as f64 / checks as f64
    }
}

/// A window that never turns.
fn window(store: DynamoDbStore, limit: f64, prefix: &str) -> Outcome<Window> {
    let strategy = FixedWindow::builder().limit(limit).window_ms(1_000.0).build()?;
    let limiter = Limiter::builder(strategy).keyspace(Remote::new(store)).clock(ManualClock::new(0.0));
    Ok(limiter.prefix(prefix).build())
}

/// One process, nobody else on its keys.
async fn alone(bench: &Bench, checks: usize, claims: &mut Claims) -> Outcome<Table> {
    let mut table = Table::new(["requests per check", "remembering", "not remembering"]);
    let mut columns: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for (column, remembered) in columns.iter_mut().zip([10_000, 0]) {
        let store = || bench.store().remembered_keys(remembered).build();
        let prefix = |part: &str| format!("{part}{remembered}");
        let names: Vec<_> = (0..checks).map(|n| format!("k{n}")).collect();

        let cold = window(store()?, 1e9, &prefix("cold"))?;
        bench.proxy.take();
        for name in &names {
            cold.check(name).await?;
        }
        column.push(bench.per_check(checks));

        let warm = window(store()?, 1e9, &prefix("warm"))?;
        warm.check("k").await?;
        bench.proxy.take();
        for _ in 0..checks {
            warm.check("k").await?;
        }
        column.push(bench.per_check(checks));

        let denied = window(store()?, 1.0, &prefix("denied"))?;
        denied.check("k").await?;
        bench.proxy.take();
        for _ in 0..checks {
            denied.check("k").await?;
        }
        column.push(bench.per_check(checks));

        let hot = window(store()?, 1e9, &prefix("hot"))?;
        hot.check("k").await?;
        bench.proxy.take();
        for _ in 0..checks.div_ceil(64) {
            try_join_all((0..64).map(|_| hot.check("k"))).await?;
        }
        column.push(bench.per_check(checks.div_ceil(64) * 64));

        let strategy = FixedWindow::builder().limit(1e9).window_ms(1_000.0).build()?;
        let joint = Multi::all().dimension("a", strategy, 1.0).dimension("b", strategy, 1.0);
        let joint = joint.store(Remote::new(store()?)).clock(ManualClock::new(0.0)).prefix(prefix("joint")).build()?;
        joint.check(&["k", "k"]).await?;
        bench.proxy.take();
        for _ in 0..checks {
            joint.check(&["k", "k"]).await?;
        }
        column.push(bench.per_check(checks));
    }
    let rows = ["a new key", "a key in use", "denied", "a key in use, 64 at once", "two keys in use, jointly"];
    let [with, without] = columns;
    for ((name, with), without) in rows.iter().zip(&with).zip(&without) {
        table.row([(*name).to_owned(), two(*with), two(*without)]);
    }
    let bounds = [2.0, 1.0, 1.0, 2.0 / 64.0 + 0.001, 1.0];
    for ((name, measured), bound) in rows.iter().zip(with).zip(bounds) {
        claims.at_most(format!("requests per check, {name}"), measured, bound);
    }
    Ok(table)
}

/// Several processes on one key, each with one check under way at a time.
#[allow(clippy::cast_precision_loss)] // counts far below 2^53
async fn contended(bench: &Bench, checks: usize, claims: &mut Claims) -> Outcome<Table> {
    let mut table = Table::new(["processes on one key", "requests per check", "lost races per check", "given up"]);
    for writers in [1, 4, 16] {
        let prefix = format!("contended{writers}");
        let limiters =
            (0..writers).map(|_| window(bench.store().build()?, 1e9, &prefix)).collect::<Outcome<Vec<_>>>()?;
        bench.proxy.take();
        let each = checks / writers;
        let work = limiters.iter().map(|limiter| async move {
            let mut failed = 0_u32;
            for _ in 0..each {
                failed += u32::from(limiter.check("k").await.is_err());
            }
            failed
        });
        let given_up: u32 = join_all(work).await.into_iter().sum();
        let requests = bench.proxy.take();
        let writes = requests.iter().filter(|name| *name == "PutItem").count();
        let made = each * writers;
        // Whoever gave up lost every write.
        let lost = writes as f64 - (made as f64 - f64::from(given_up));
        let per_check = requests.len() as f64 / made as f64;
        table.row([writers.to_string(), two(per_check), two(lost / made as f64), given_up.to_string()]);
        // Each process checks without a pause; more of them share what one item takes, and some may wait too long.
        if writers <= 4 {
            claims.at_most(format!("checks given up, {writers} processes on one key"), f64::from(given_up), 0.0);
        }
    }
    Ok(table)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let args = Args::from_env();
    let checks = if args.quick { 128 } else { 1_024 };
    report::header("DynamoDB");
    let bench = Bench::start().await?;
    let mut claims = Claims::default();
    alone(&bench, checks, &mut claims).await?.print();
    contended(&bench, checks, &mut claims).await?.print();
    claims.print();
    report::save("dynamodb", json!({ "claims": claims.json() }));
    Ok(())
}
