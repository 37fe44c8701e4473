//! What admission by prices earns on streams whose requests are alike for a while, beside whoever comes first.
//!
//! A stream has 1,000 requests: small ones that cost 100 and are worth 1, large ones that cost 10,000 and are worth 50.
//! 1,000 may be admitted and 50,000 units spent. A figure is the share of the value that was not earned, of the best that is
//! to be had on average, over 20 streams. At a correlation of -1 the kinds alternate; at 1 a stream has one kind only.

use std::error::Error;

use bench::regret::{COST, LARGE_COST, Policy, RATE, REQUESTS, RUNS, SMALL, regret};
use bench::report::{self, Table};
use serde_json::json;

const CORRELATIONS: [f64; 5] = [-1.0, -0.5, 0.0, 0.5, 1.0];

/// The policies by name.
const POLICIES: [(&str, Policy); 6] = [
    ("first come", Policy::Marginal),
    ("prices (0, 0.01)", Policy::Prices(0.0, 0.01)),
    ("expecting large ones worth 200", Policy::Expecting(200.0)),
    ("the same, a sample of 200", Policy::Learning(200.0, 200)),
    ("expecting 50, solved again each 50", Policy::Resolving(50.0, 50)),
    ("expecting 200, solved again each 50", Policy::Resolving(200.0, 50)),
];

fn main() -> Result<(), Box<dyn Error>> {
    report::header("Regret");
    println!(
        "{REQUESTS} requests, {RATE} admissions, {COST} units, {RUNS} streams, small {SMALL:?}, large ({LARGE_COST}, 50)\n"
    );
    let names = CORRELATIONS.map(|correlation| format!("{correlation}"));
    let mut table = Table::new(["policy".to_owned()].into_iter().chain(names));
    let mut figures = Vec::new();
    for (name, policy) in POLICIES {
        let regrets = CORRELATIONS.map(|correlation| regret(policy, 50.0, correlation));
        let regrets: Vec<f64> = regrets.into_iter().collect::<Result<_, _>>()?;
        let cells = regrets.iter().map(|regret| format!("{:.2} %", regret * 100.0));
        table.row([name.to_owned()].into_iter().chain(cells));
        figures.push(json!({ "policy": name, "correlations": CORRELATIONS, "regrets": regrets }));
    }
    table.print();
    report::save("regret", json!({ "figures": figures }));
    Ok(())
}
