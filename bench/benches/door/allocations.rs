//! What a layer adds to a service, in process: allocations per request.

mod actix;
mod slots;
mod stacks;

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;

use bench::args::Args;
use bench::report::{self, Claims, Table, two};
use serde_json::{Value, json};

const REQUESTS: u32 = 1_000;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let _ = Args::from_env();
    report::header("doors of frameworks, allocations");
    let mut table = Table::new(["stack", "allocations a request", "over bare", "bytes a request"]);
    let mut figures: Vec<Value> = Vec::new();
    let mut claims = Claims::default();
    let mut counts = HashMap::new();
    for mut stack in stacks::all()?.into_iter().chain(actix::all()?) {
        let mut extensions = stacks::extensions();
        // The key's slot, and whatever else is made once.
        (stack.door)(&mut extensions);
        let counted = allocation_counter::measure(|| {
            for _ in 0..REQUESTS {
                assert!((stack.door)(&mut extensions), "{} denies", stack.name);
            }
        });
        #[allow(clippy::cast_precision_loss)] // small counts
        let [count, bytes] = [counted.count_total, counted.bytes_total].map(|n| n as f64 / f64::from(REQUESTS));
        counts.insert(stack.name, count);
        let bare = *counts.get(stack.bare).ok_or("a bare stack comes before those around it")?;
        table.row([stack.name.to_owned(), two(count), two(count - bare), two(bytes)]);
        figures.push(json!({ "stack": stack.name, "allocations": count, "over": count - bare, "bytes": bytes }));
        match stack.name {
            "ThrottleKit" | "axum, ThrottleKit" | "actix ThrottleKit" => {
                claims.at_most(format!("{}: allocations over the bare service", stack.name), count - bare, 0.0);
            }
            "ThrottleKit, headers" | "axum, ThrottleKit, headers" | "actix ThrottleKit, headers" => {
                claims.at_most(format!("{}: allocations over the bare service", stack.name), count - bare, 4.0);
            }
            _ => {}
        }
    }
    table.print();
    claims.print();
    report::save("door_allocations", json!({ "figures": figures, "claims": claims.json() }));
    Ok(if claims.hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
