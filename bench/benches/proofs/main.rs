//! What is proven of leases and budgets, a table each: all states of small fleets, the shipped limiter under all schedules,
//! and simulations with the seeds and parameters of the published figures. Tests hold the figures.
//!
//! Names after `--` choose tables. `plots` draws the pictures of the documentation again, into `docs/plots`. The table
//! `production` needs a trace: `--trace FILE`, a CSV file whose third column is the number of produced tokens.

#![allow(clippy::unnecessary_wraps)] // all tables have one type

mod leasing;
mod models;
mod plots;
mod tokens;

use std::error::Error;
use std::path::Path;

use bench::args::Args;
use bench::report;
use serde_json::{Map, Value};

/// What a table comes to, for the file of figures.
type Figures = Result<Value, Box<dyn Error>>;

/// What a table may need.
#[derive(Clone, Copy)]
struct Options<'a> {
    quick: bool,
    trace: Option<&'a Path>,
}

/// Prints a table, and returns its figures.
type Print = fn(Options<'_>) -> Figures;

/// The tables by name.
const TABLES: [(&str, Print); 18] = [
    ("models", models::models),
    ("schedules", models::schedules),
    ("trilemma", models::trilemma),
    ("schemes", leasing::schemes),
    ("shipped", leasing::shipped),
    ("alike", leasing::alike),
    ("fairness", leasing::fairness),
    ("sizes", leasing::sizes),
    ("fleets", leasing::fleets),
    ("late", leasing::late),
    ("rough", leasing::rough),
    ("meter", tokens::meter),
    ("gateways", tokens::gateways),
    ("reservations", tokens::reservations),
    ("predictions", tokens::predictions),
    ("admission", tokens::admission),
    ("production", tokens::production),
    ("plots", plots::plots),
];

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    report::header("Proofs");
    let unknown = args.filters.iter().find(|name| !TABLES.iter().any(|(table, _)| table == name));
    if let Some(unknown) = unknown {
        let names = TABLES.map(|(name, _)| name).join(", ");
        return Err(format!("no table is called {unknown:?}; there are {names}").into());
    }
    let options = Options { quick: args.quick, trace: args.trace.as_deref() };
    let mut figures = Map::new();
    for (name, table) in TABLES {
        if args.filters.is_empty() || args.filters.iter().any(|filter| filter == name) {
            println!("\n## {name}\n");
            figures.insert(name.to_owned(), table(options)?);
        }
    }
    report::save("proofs", Value::Object(figures));
    Ok(())
}
