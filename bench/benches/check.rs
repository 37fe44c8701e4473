//! The speed of one check, beside its rivals: the table that counts. See the README of this package.

use std::error::Error;

use bench::args::Args;
use bench::clock::{GovernorClock, TscClock};
use bench::measure::{Candidate, Plan, Rounds, Row, Verdict, candidate};
use bench::report::{self, Claims, Table, one, two};
use bench::rival::{
    Batched, Floor, Limit, Sharded, SipBuilder, ThroughAdmit, ThroughLimiter, ThroughTable, governor_keyed,
    governor_with, state_table,
};
use foldhash::fast::RandomState;
use serde_json::{Value, json};
use throttlekit::{Clock, CoarseClock, SystemClock};

const FLOOR: &str = "floor";
const TABLE: &str = "ThrottleKit table";
const LIMITER: &str = "ThrottleKit limiter";
const ADMIT: &str = "ThrottleKit dyn Admit";
const BATCH: &str = "ThrottleKit batch of 64";
const SHARDED: &str = "256 x Mutex<HashMap>";
const COARSE: &str = "ThrottleKit, coarse clock";
const GOVERNOR: &str = "governor";
const FOLDHASH: &str = "governor, foldhash";
/// The row of the batch claim.
const BATCH_ROW: &str = "1M keys, allowed";

/// Which clock and hash a rival gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    /// One clock for all, and SipHash-1-3 for all but the row that names another hash.
    Same,
    /// What each side does when nobody asks otherwise; the floor gets the system's clock.
    Own,
}

impl Setting {
    fn title(self) -> &'static str {
        match self {
            Self::Same => "one clock and one hash for all",
            Self::Own => "each side's own defaults",
        }
    }

    fn rivals(self, row: Row) -> Result<Vec<Box<dyn Candidate>>, Box<dyn Error>> {
        let limit = if row.verdict == Verdict::Allowed { Limit::GENEROUS } else { Limit::SPENT };
        let mut rivals = match self {
            Self::Same => with_clock(TscClock::new(), row, limit)?,
            Self::Own => with_clock(SystemClock::new(), row, limit)?,
        };
        let keys = row.traffic.keys;
        match self {
            Self::Same => {
                let clock = GovernorClock(TscClock::new());
                rivals.push(candidate(GOVERNOR, governor_with::<SipBuilder, _>(limit, clock.clone()), keys));
                rivals.push(candidate(FOLDHASH, governor_with::<RandomState, _>(limit, clock), keys));
            }
            Self::Own => {
                let coarse = ThroughLimiter::new(state_table(usize::try_from(keys)?)?, limit, CoarseClock::new())?;
                rivals.push(candidate(COARSE, coarse, keys));
                rivals.push(candidate(GOVERNOR, governor_keyed(limit), keys));
                let clock = governor::clock::DefaultClock::default();
                rivals.push(candidate(FOLDHASH, governor_with::<RandomState, _>(limit, clock), keys));
            }
        }
        Ok(rivals)
    }
}

/// The floor, this project in all its forms over one table, and the plain table.
fn with_clock<C: Clock + Clone>(clock: C, row: Row, limit: Limit) -> Result<Vec<Box<dyn Candidate>>, Box<dyn Error>> {
    let keys = row.traffic.keys;
    let size = usize::try_from(keys)?;
    let table = state_table(size)?;
    let mut rivals = vec![
        candidate(FLOOR, Floor::new(size, limit, clock.clone()), keys),
        candidate(TABLE, ThroughTable::new(table.clone(), limit, clock.clone())?, keys),
        candidate(LIMITER, ThroughLimiter::new(table.clone(), limit, clock.clone())?, 0),
        candidate(ADMIT, ThroughAdmit::new(table.clone(), limit, clock.clone())?, 0),
    ];
    if keys > 1 {
        rivals.push(candidate(BATCH, Batched::new(table, limit, clock.clone())?, 0));
    }
    rivals.push(candidate(SHARDED, Sharded::new(limit, clock), keys));
    Ok(rivals)
}

fn print(row: Row, setting: Setting, rounds: &Rounds, threads: &[usize]) {
    println!("## {}: {}\n", row.name, setting.title());
    let mut head = vec!["rival".to_owned()];
    for &n in threads {
        head.extend([format!("ns, {n} thr."), "x floor".to_owned(), "M/s".to_owned()]);
    }
    let scaled: Vec<usize> = threads.iter().copied().filter(|&n| n > 1 && threads.contains(&1)).collect();
    head.extend(scaled.iter().map(|n| format!("{n} thr. / 1")));
    let mut table = Table::new(head);
    for name in rounds.names() {
        let mut cells = vec![name.clone()];
        for &n in threads {
            let ns = rounds.ns(name, n);
            cells.extend([one(ns), two(rounds.ratio((name, n), (FLOOR, n))), one(many(n) * 1e3 / ns)]);
        }
        cells.extend(scaled.iter().map(|&n| two(scaling(rounds, name, n))));
        table.row(cells);
    }
    table.print();
}

/// How many times the checks of one thread `n` threads make together.
fn scaling(rounds: &Rounds, name: &str, n: usize) -> f64 {
    many(n) * rounds.ratio((name, 1), (name, n))
}

#[allow(clippy::cast_precision_loss)] // a number of threads
fn many(threads: usize) -> f64 {
    threads as f64
}

fn judge(row: Row, setting: Setting, rounds: &Rounds, threads: &[usize], claims: &mut Claims) {
    let place = |n: usize| format!("{}, {n} thread{} ({})", row.name, if n == 1 { "" } else { "s" }, setting.title());
    let small = row.traffic.keys <= 10_000;
    for &n in threads {
        let bound = if small { 1.3 } else { 1.1 };
        claims.at_most(format!("{}: x floor", place(n)), rounds.ratio((LIMITER, n), (FLOOR, n)), bound);
        for peer in [GOVERNOR, FOLDHASH] {
            let faster = rounds.ratio((peer, n), (LIMITER, n));
            claims.at_least(format!("{}: times faster than {peer}", place(n)), faster, if small { 1.0 } else { 2.0 });
        }
        if row.name == BATCH_ROW {
            claims.at_most(format!("{}: batch / one by one", place(n)), rounds.ratio((BATCH, n), (LIMITER, n)), 0.5);
        }
    }
    if row.traffic.keys == 1 && row.verdict == Verdict::Denied && threads.contains(&1) && threads.contains(&2) {
        claims.at_least(format!("{}: 2 threads / 1 ({})", row.name, setting.title()), scaling(rounds, LIMITER, 2), 1.7);
    }
}

fn figures(row: Row, setting: Setting, rounds: &Rounds, threads: &[usize]) -> Value {
    let rivals: Vec<Value> = rounds
        .names()
        .iter()
        .flat_map(|name| threads.iter().map(move |&n| (name, n)))
        .map(|(name, n)| {
            let ratio = rounds.ratio((name, n), (FLOOR, n));
            json!({ "rival": name, "threads": n, "ns": rounds.ns(name, n), "x_floor": ratio })
        })
        .collect();
    json!({ "row": row.name, "setting": setting.title(), "rivals": rivals })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    let rows: Vec<Row> = Row::ALL.into_iter().filter(|row| !(args.quick && row.traffic.keys > 1_000_000)).collect();
    args.choose_among(rows.iter().map(|row| row.name))?;
    let threads = if args.threads.is_empty() { vec![1, 2] } else { args.threads.clone() };
    let plan = Plan::new(args.quick);
    report::header("One check");
    println!("{}", report::clock_costs());
    println!("Medians of {} rounds of {} ms; ratios within a round.\n", plan.rounds, plan.budget.as_millis());
    let mut claims = Claims::of_chosen(&args);
    let mut all = Vec::new();
    for setting in [Setting::Same, Setting::Own] {
        let mut filled: Option<(Row, Vec<Box<dyn Candidate>>)> = None;
        for &row in rows.iter().filter(|row| args.wants(row.name)) {
            let rivals = match filled.take() {
                Some((other, rivals)) if row.shares_tables(&other) => rivals,
                unfit => {
                    // Its memory goes before new tables are made.
                    drop(unfit);
                    setting.rivals(row)?
                }
            };
            let rounds = Rounds::run(&rivals, row, &threads, plan);
            filled = Some((row, rivals));
            print(row, setting, &rounds, &threads);
            // Requests in turn explain the rows that are judged: how much of the ratio is that others begin earlier.
            if !row.traffic.in_turn {
                judge(row, setting, &rounds, &threads, &mut claims);
            }
            all.push(figures(row, setting, &rounds, &threads));
        }
    }
    claims.print();
    report::save("check", json!({ "rows": all, "claims": claims.json() }));
    Ok(())
}
