//! What each limit makes of an overloaded server, on a virtual clock.
//!
//! The server's capacity doubles, quarters and doubles again, a minute apart; one and a half times what it can answer
//! comes in. Goodput and the 99th percentile of the latency are those of a limit fixed at the capacity `K`, which knows it,
//! in the same minute. Shown is what each minute was like from its thirtieth second on, at the worst of the minutes.

use std::error::Error;
use std::time::Duration;

use bench::overload::{Fixed, Guarded, Limit, Scenario, Settled, run, scenarios};
use bench::report::{self, Table};
use serde_json::{Value, json};
use throttlekit::{Algorithm, Guard, Recalibration};
use tower_resilience_adaptive::{ConcurrencyAlgorithm, Gradient2, Vegas};

/// An algorithm of `tower-resilience-adaptive`, fed as its service feeds it.
struct Peer<A> {
    algorithm: A,
}

impl<A: ConcurrencyAlgorithm> Limit for Peer<A> {
    fn advance(&mut self, _now_ms: f64) {}

    fn take(&mut self, in_flight: usize) -> Option<u64> {
        (in_flight < self.algorithm.limit()).then_some(0)
    }

    fn give(&mut self, _slot: u64, latency_ms: f64, in_flight: usize) {
        self.algorithm.record_success_with_load(Duration::from_secs_f64(latency_ms / 1_000.0), in_flight);
    }

    fn limit(&self) -> u32 {
        u32::try_from(self.algorithm.limit()).unwrap_or(u32::MAX)
    }
}

/// The names of what is compared.
const LIMITS: [&str; 9] = [
    "fixed at K",
    "fixed at 1.3 K",
    "steady",
    "gradient2",
    "gradient2, recalibrated",
    "aimd",
    "aimd, recalibrated",
    "tower-resilience gradient2",
    "tower-resilience vegas",
];

fn settled(scenario: &Scenario, name: &str) -> Result<Vec<Settled>, Box<dyn Error>> {
    let guarded = |algorithm| Guarded::new(Guard::builder().algorithm(algorithm));
    let recalibrated = |algorithm| {
        let recalibration = Recalibration::default().interval_ms(10_000.0);
        Guarded::new(Guard::builder().algorithm(algorithm).recalibration(recalibration))
    };
    let (settled, _) = match name {
        "fixed at K" => run(scenario, &mut Fixed::new(1.0)),
        "fixed at 1.3 K" => run(scenario, &mut Fixed::new(1.3)),
        "steady" => run(scenario, &mut guarded(Algorithm::Steady)),
        "gradient2" => run(scenario, &mut guarded(Algorithm::Gradient2)),
        "gradient2, recalibrated" => run(scenario, &mut recalibrated(Algorithm::Gradient2)),
        "aimd" => run(scenario, &mut guarded(Algorithm::Aimd)),
        "aimd, recalibrated" => run(scenario, &mut recalibrated(Algorithm::Aimd)),
        "tower-resilience gradient2" => {
            let algorithm = Gradient2::builder().min_limit(4).max_limit(512).initial_limit(4).build()?;
            run(scenario, &mut Peer { algorithm })
        }
        "tower-resilience vegas" => {
            let algorithm = Vegas::builder().min_limit(4).max_limit(512).initial_limit(4).build()?;
            run(scenario, &mut Peer { algorithm })
        }
        unknown => return Err(format!("no limit is called {unknown:?}").into()),
    };
    Ok(settled)
}

/// Figures of the worst minute, beside the fixed limit at the capacity in the same minute.
fn row(name: &str, settled: &[Settled], best: &[Settled]) -> (Vec<String>, Value) {
    let worst = |figure: fn(&Settled) -> f64| settled.iter().map(figure).fold(0.0, f64::max);
    let least = settled.iter().map(|minute| minute.least).fold(f64::INFINITY, f64::min);
    let mean =
        settled.iter().map(|minute| minute.mean).sum::<f64>() / f64::from(u32::try_from(settled.len()).unwrap_or(1));
    let most = worst(|minute| minute.most);
    let settled_s = worst(|minute| minute.settled_ms) / 1_000.0;
    let pairs = || settled.iter().zip(best);
    let goodput = pairs().map(|(minute, best)| minute.goodput / best.goodput).fold(f64::INFINITY, f64::min);
    let p99 = pairs().map(|(minute, best)| minute.p99_ms / best.p99_ms).fold(0.0, f64::max);
    let settles = if settled_s.is_finite() { format!("{settled_s:.1} s") } else { "never".to_owned() };
    let cells = vec![
        name.to_owned(),
        format!("{least:.2}"),
        format!("{mean:.2}"),
        format!("{most:.2}"),
        settles,
        format!("{goodput:.2}"),
        format!("{p99:.2}"),
    ];
    let json = json!({
        "limit": name, "least": least, "mean": mean, "most": most, "settled_s": settled_s, "goodput": goodput, "p99": p99,
    });
    (cells, json)
}

fn main() -> Result<(), Box<dyn Error>> {
    report::header("Overload");
    let mut figures = Vec::new();
    for (title, scenario) in scenarios(17) {
        println!("\n## {title}\n");
        let best = settled(&scenario, LIMITS[0])?;
        let mut table = Table::new(["limit", "least / K", "mean / K", "most / K", "settles", "goodput", "p99"]);
        for name in LIMITS {
            let (cells, json) = row(name, &settled(&scenario, name)?, &best);
            table.row(cells);
            figures.push(json!({ "scenario": title, "figures": json }));
        }
        table.print();
    }
    report::save("overload", json!({ "figures": figures }));
    Ok(())
}
