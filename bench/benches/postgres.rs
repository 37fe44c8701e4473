//! Checks on a PostgreSQL server: one statement as anybody would write it, five round trips as stores make them that
//! take a lock, read and write one by one, and ours.
//!
//! The server runs on one core, the load on another, where there are two.

use std::cell::Cell;
use std::error::Error;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bench::args::Args;
use bench::cores::pin;
use bench::measure::median;
use bench::report::{self, Claims, Table};
use fastrand::Rng;
use quanta::Instant;
use serde_json::{Value, json};
use tests::postgres::Postgres;
use throttlekit::store::Remote;
use throttlekit::{Gcra, Limiter};
use throttlekit_postgres::{Mode, PostgresStore};
use tokio::task::LocalSet;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};

/// Distinct keys.
const KEYS: usize = 10_000;

/// Milliseconds that one unit takes, and how far a key may run ahead of them: for ever, or not at all after a first unit
/// of half a day.
const INTERVAL_MS: f64 = 100.0;
const ADMITS: f64 = 1e12;

/// One statement: decides, writes, and says whether it did.
const BY_HAND: &str = "INSERT INTO by_hand AS t (key, tat) \
     VALUES ($1::text, floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 + $2::float8) \
     ON CONFLICT (key) DO UPDATE SET tat = greatest(t.tat, excluded.tat - $2::float8) + $2::float8 \
     WHERE excluded.tat - $2::float8 >= greatest(t.tat, excluded.tat - $2::float8) + $2::float8 - $3::float8 \
     RETURNING tat";

/// What checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rival {
    ByHand,
    FiveTrips,
    Shared,
    Fast,
}

const RIVALS: [(Rival, &str); 4] = [
    (Rival::ByHand, "one statement by hand"),
    (Rival::FiveTrips, "five round trips"),
    (Rival::Shared, "shared mode"),
    (Rival::Fast, "fast mode"),
];

type Limit = Limiter<Gcra, Remote>;

struct Bench {
    /// One connection for each client, with the statement of the first rival.
    sessions: Vec<Rc<(Client, Statement)>>,
    shared: Limit,
    fast: Limit,
}

impl Bench {
    async fn start(server: &Postgres, clients: usize, options: &str) -> Result<Self, Box<dyn Error>> {
        let url = format!("{}?options={options}", server.url());
        let mut sessions = Vec::new();
        for _ in 0..clients {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            let statement = client.prepare(BY_HAND).await?;
            sessions.push(Rc::new((client, statement)));
        }
        let limit = |mode| -> Result<Limit, Box<dyn Error>> {
            // A busy disk is not what is measured.
            let long = Duration::from_secs(20);
            let store = PostgresStore::builder(&url).mode(mode).timeout(long).statement_timeout(long).build()?;
            let gcra = Gcra::builder().limit(1.0).period_ms(INTERVAL_MS).burst(ADMITS / INTERVAL_MS).build()?;
            Ok(Limiter::builder(gcra).keyspace(Remote::new(store)).build())
        };
        let bench = Self { sessions, shared: limit(Mode::Shared)?, fast: limit(Mode::Fast)? };
        // Creates the tables.
        bench.shared.check("first").await?;
        bench.fast.check("first").await?;
        Ok(bench)
    }

    /// Checks per second by all clients together, each in its own task.
    async fn rate(&self, rival: Rival, slice: Duration) -> f64 {
        let count = Rc::new(Cell::new(0_u32));
        let tasks = LocalSet::new();
        let start = Instant::now();
        for (index, session) in self.sessions.iter().enumerate() {
            let (session, count) = (Rc::clone(session), Rc::clone(&count));
            let (shared, fast) = (self.shared.clone(), self.fast.clone());
            let mut rng = Rng::with_seed(index as u64);
            tasks.spawn_local(async move {
                while start.elapsed() < slice {
                    let key = format!("user-{}", rng.usize(..KEYS));
                    let admitted = match rival {
                        Rival::ByHand => by_hand(&session, &key).await,
                        Rival::FiveTrips => five_trips(&session.0, &key).await,
                        Rival::Shared => check(&shared, &key).await,
                        Rival::Fast => check(&fast, &key).await,
                    };
                    assert!(admitted.unwrap_or_else(|error| panic!("a check failed: {error}")));
                    count.set(count.get() + 1);
                }
            });
        }
        tasks.await;
        f64::from(count.get()) / start.elapsed().as_secs_f64()
    }
}

async fn by_hand((client, statement): &(Client, Statement), key: &str) -> Result<bool, Box<dyn Error>> {
    Ok(client.query_opt(statement, &[&key, &INTERVAL_MS, &ADMITS]).await?.is_some())
}

/// Statement by statement, each with its text, on the table of the shared mode.
async fn five_trips(client: &Client, key: &str) -> Result<bool, Box<dyn Error>> {
    client.batch_execute("BEGIN").await?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    client.query_typed(lock, &[(&key, Type::TEXT)]).await?;
    let now_ms = epoch_ms();
    let read = "SELECT state FROM throttlekit WHERE key = $1 AND expires_at > $2";
    let rows = client.query_typed(read, &[(&key, Type::TEXT), (&now_ms, Type::INT8)]).await?;
    let state: Option<String> = rows.first().map(|row| row.get(0));
    #[allow(clippy::cast_precision_loss)] // an instant of our time is exact
    let now = now_ms as f64;
    let tat = state.map(|text| text.parse()).transpose()?.unwrap_or(now).max(now) + INTERVAL_MS;
    if now < tat - ADMITS {
        client.batch_execute("COMMIT").await?;
        return Ok(false);
    }
    let write = "INSERT INTO throttlekit (key, state, expires_at) VALUES ($1, $2, $3) \
         ON CONFLICT (key) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at";
    #[allow(clippy::cast_possible_truncation)] // far below 2^63
    let expires_at = tat.ceil() as i64;
    let state = tat.to_string();
    client.query_typed(write, &[(&key, Type::TEXT), (&state, Type::TEXT), (&expires_at, Type::INT8)]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(true)
}

fn epoch_ms() -> i64 {
    use throttlekit::Clock as _;

    #[allow(clippy::cast_possible_truncation)] // whole milliseconds
    let now = throttlekit::SystemClock::new().now_ms() as i64;
    now
}

async fn check(limiter: &Limit, key: &str) -> Result<bool, Box<dyn Error>> {
    Ok(limiter.check(key).await?.allowed)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| panic!("no runtime: {error}")).block_on(future)
}

async fn run(args: &Args, server: &Postgres) -> Result<(), Box<dyn Error>> {
    let (slice, rounds) = if args.quick { (300, 3) } else { (2_000, 7) };
    let slice = Duration::from_millis(slice);
    report::header("PostgreSQL");
    let mut claims = Claims::default();
    let mut figures = Vec::new();
    for (disk, options) in [("waits for the disk", ""), ("does not wait", "-c%20synchronous_commit%3Doff")] {
        let mut table = Table::new(["checks per second, admitted", "1 client", "16 clients"]);
        let mut columns = Vec::new();
        for clients in [1, 16] {
            let bench = Bench::start(server, clients, options).await?;
            for (rival, _) in RIVALS {
                bench.rate(rival, slice / 4).await;
            }
            let mut rates = vec![Vec::new(); RIVALS.len()];
            for _ in 0..rounds {
                for ((rival, _), rates) in RIVALS.iter().zip(&mut rates) {
                    rates.push(bench.rate(*rival, slice).await);
                }
            }
            // Ratios of what ran next to each other: the disk's mood changes.
            let ratio = |ours: usize, theirs: usize| -> f64 {
                median(rates[ours].iter().zip(&rates[theirs]).map(|(ours, theirs)| ours / theirs).collect())
            };
            let who = format!("{clients} client{}, the server {disk}", if clients == 1 { "" } else { "s" });
            claims.at_least(format!("fast / by hand, {who}"), ratio(3, 0), 0.8);
            claims.at_least(format!("shared / five round trips, {who}"), ratio(2, 1), 5.0);
            columns.push(rates.into_iter().map(median).collect::<Vec<_>>());
        }
        println!("The server {disk}:\n");
        for (index, (_, name)) in RIVALS.iter().enumerate() {
            table.row([(*name).to_owned(), format!("{:.0}", columns[0][index]), format!("{:.0}", columns[1][index])]);
            figures
                .push(json!({ "disk": disk, "rival": name, "one": columns[0][index], "sixteen": columns[1][index] }));
        }
        table.print();
    }
    claims.print();
    report::save("postgres", json!({ "figures": Value::from(figures), "claims": claims.json() }));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    // The server first, with all that it starts by itself, such as the process that writes its log: each inherits the core.
    let own = std::process::id().to_string();
    pin(&own, 0);
    let server = Postgres::start_durable();
    pin(&own, 1);
    server.sql("CREATE TABLE by_hand (key text PRIMARY KEY, tat double precision NOT NULL)");
    block_on(run(&args, &server))
}
