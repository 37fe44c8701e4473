//! What a layer adds to a service, in process: nanoseconds per request. Allocations are counted by `door_allocations`,
//! whose allocator would be in the way here.

mod actix;
mod slots;
mod stacks;

use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

use bench::args::Args;
use bench::gauge::{FLOOR, FLOOR_OF_GOALS_NS, Gauge, Goals};
use bench::keys::{Spread, Traffic};
use bench::measure::{Candidate, Plan, Rounds, Row, Sample, Slice, Verdict};
use bench::report::{self, Claims, Table, one};
use serde_json::{Value, json};
use stacks::Stack;

struct Contender(RefCell<Stack>, &'static str);

impl Candidate for Contender {
    fn name(&self) -> &str {
        self.1
    }

    fn slice(&self, _traffic: Traffic, _threads: usize, budget: Duration, _seed: u64) -> Sample {
        /// Requests in one timed stretch.
        const STRETCH: usize = 256;
        let mut stack = self.0.borrow_mut();
        let mut extensions = stacks::extensions();
        let mut slice = Slice::new(budget);
        while !slice.is_full() {
            slice.time(STRETCH, || (0..STRETCH).filter(|_| (stack.door)(&mut extensions)).count());
        }
        slice.sample()
    }
}

/// One stack alone, for a profiler: `--part NAME`.
fn profile(stack: &mut Stack) -> Result<(), Box<dyn Error>> {
    let mut extensions = stacks::extensions();
    let admitted = (0..100_000).filter(|_| (stack.door)(&mut extensions)).count();
    if admitted == 0 { Err("nothing was admitted".into()) } else { Ok(()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    // Machines change their speed within seconds, and a round is compared with itself alone: short ones, and many.
    let plan = if args.quick { Plan::new(true) } else { Plan { rounds: 121, budget: Duration::from_millis(20) } };
    let mut stacks: Vec<Stack> = stacks::all()?.into_iter().chain(actix::all()?).collect();
    if let Some(part) = &args.part {
        let stack = stacks.iter_mut().find(|stack| stack.name == part);
        return profile(stack.ok_or_else(|| format!("no stack is called {part:?}"))?);
    }
    let bares: Vec<&str> = stacks.iter().map(|stack| stack.bare).collect();
    let contenders: Vec<Box<dyn Candidate>> = stacks
        .into_iter()
        .map(|stack| -> Box<dyn Candidate> {
            let name = stack.name;
            Box::new(Contender(RefCell::new(stack), name))
        })
        .collect();
    let traffic = Traffic::new(1, Spread::Uniform);
    let row = Row { name: "one peer, allowed", traffic, verdict: Verdict::Allowed };
    let contenders: Vec<_> = contenders.into_iter().chain([Box::new(Gauge::new()) as Box<dyn Candidate>]).collect();
    let rounds = Rounds::run(&contenders, row, &[1], plan);

    report::header("doors of frameworks");
    println!("{}", report::clock_costs());
    println!("One request through `Service::call`, its body read to the end; one peer, always admitted.\n");
    let mut table = Table::new(["stack", "ns", "over bare"]);
    let mut figures: Vec<Value> = Vec::new();
    for (name, bare) in rounds.names().iter().zip(bares) {
        let over = rounds.over((name, 1), (bare, 1));
        table.row([name.clone(), one(rounds.ns(name, 1)), one(over)]);
        figures.push(json!({ "stack": name, "ns": rounds.ns(name, 1), "over": over }));
    }
    table.print();
    println!("{}", Goals::at(rounds.ns(FLOOR, 1)));
    println!("Claims are of what a round took by the floor in the same round, times {FLOOR_OF_GOALS_NS}.\n");
    let scaled = |terms: &[(f64, &str)]| FLOOR_OF_GOALS_NS * rounds.sum_by(terms, FLOOR, 1);
    let mut claims = Claims::default();
    for (name, base, bound) in [
        ("ThrottleKit", "bare", 60.0),
        ("ThrottleKit, headers", "bare", 150.0),
        ("ThrottleKit, slots", "ThrottleKit, slots back before", 40.0),
        ("actix ThrottleKit", "actix bare", 60.0),
        ("actix ThrottleKit, headers", "actix bare", 150.0),
        ("actix ThrottleKit, slots", "actix ThrottleKit, slots back before", 40.0),
    ] {
        claims.at_most(format!("{name}: scaled ns over {base}"), scaled(&[(1.0, name), (-1.0, base)]), bound);
    }
    // What axum itself takes for a layer with limits is what the rival's takes there more than around a bare service.
    for (fields, bound) in [("", 60.0), (", headers", 150.0)] {
        let (ours, rival) = (format!("axum, ThrottleKit{fields}"), format!("tower_governor{fields}"));
        let in_axum = format!("axum, {rival}");
        let layer = scaled(&[(1.0, &in_axum), (-1.0, "axum, no layer"), (-1.0, &rival), (1.0, "bare")]);
        // What both have of the route without a layer falls out.
        let own = scaled(&[(1.0, &ours), (-1.0, &in_axum), (1.0, &rival), (-1.0, "bare")]);
        claims.at_most(format!("{ours}: scaled ns over no layer and axum's own {layer:.0}"), own, bound);
    }
    let [tower, actix] = ["ThrottleKit", "actix ThrottleKit"]
        .map(|rate| scaled(&[(1.0, &format!("{rate}, rate and slot")), (-1.0, rate)]));
    println!(
        "Of a slot the permit in the body is judged: both sides take one and give it back. A rate and a slot take {tower:.0} \
         scaled ns more than the rate alone, under actix-web {actix:.0}.\n"
    );
    claims.print();
    report::save("door", json!({ "figures": figures, "claims": claims.json() }));
    Ok(())
}
