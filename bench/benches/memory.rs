//! What a key costs in memory: the growth of the resident set, one process per rival.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::process::Command;

use bench::args::Args;
use bench::clock::{GovernorClock, TscClock};
use bench::keys::KeyText;
use bench::report::{self, Claims, Table, one};
use bench::rival::{Floor, Limit, Rival, Sharded, SipBuilder, ThroughLimiter, governor_with, state_table};
use serde_json::{Value, json};
use throttlekit::BuildError;

const OURS: &str = "ThrottleKit";
const RIVALS: [&str; 4] = ["floor", OURS, "256 x Mutex<HashMap>", "governor"];

/// A line of the process's own account, in bytes.
fn status(field: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or_else(|| format!("no {field}"))?;
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Makes one rival, fills it, and prints how the resident set grew: now, and at its highest.
fn part<R: Rival>(make: impl FnOnce() -> Result<R, BuildError>, keys: usize) -> Result<(), Box<dyn Error>> {
    let before = status("VmRSS")?;
    let rival = make()?;
    let mut session = R::Session::default();
    for id in 0..keys as u64 {
        assert!(R::allowed(&rival.check(&mut session, KeyText::new(id).as_str())), "a first check is denied");
    }
    let (after, peak) = (status("VmRSS")?, status("VmHWM")?);
    black_box(&rival);
    println!("{} {}", after - before, peak - before);
    Ok(())
}

fn play(name: &str, keys: usize) -> Result<(), Box<dyn Error>> {
    let clock = TscClock::new();
    let limit = Limit::GENEROUS;
    match name {
        "floor" => part(|| Ok(Floor::new(keys, limit, clock)), keys),
        OURS => part(|| ThroughLimiter::new(state_table(keys)?, limit, clock), keys),
        "256 x Mutex<HashMap>" => part(|| Ok(Sharded::new(limit, clock)), keys),
        "governor" => part(|| Ok(governor_with::<SipBuilder, _>(limit, GovernorClock(clock))), keys),
        other => Err(format!("no rival {other:?}").into()),
    }
}

fn measure(name: &str, keys: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?).args(["--part", name, "--keys", &keys.to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let error = || format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    let (grown, peak) = text.trim().split_once(' ').ok_or_else(error)?;
    #[allow(clippy::cast_precision_loss)] // a count of keys
    let keys = keys as f64;
    Ok((grown.parse::<f64>()? / keys, peak.parse::<f64>()? / keys))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    if let Some(name) = &args.part {
        return play(name, args.keys.unwrap_or(1));
    }
    args.choose_among(RIVALS)?;
    report::header("Memory");
    println!("Bytes of resident memory a key, held / at the highest, {} byte keys.\n", KeyText::new(0).as_str().len());
    let sizes: Vec<usize> = match args.keys {
        Some(keys) => vec![keys],
        None if args.quick => vec![1_000, 100_000, 1_000_000],
        None => vec![1_000, 100_000, 1_000_000, 10_000_000],
    };
    let mut claims = Claims::of_chosen(&args);
    let mut figures: Vec<Value> = Vec::new();
    let mut table = Table::new(["rival".to_owned()].into_iter().chain(sizes.iter().map(|n| format!("{n} keys"))));
    for name in RIVALS.into_iter().filter(|name| args.wants(name)) {
        let mut cells = vec![name.to_owned()];
        for &keys in &sizes {
            let (held, peak) = measure(name, keys)?;
            cells.push(format!("{} / {}", one(held), one(peak)));
            figures.push(json!({ "rival": name, "keys": keys, "bytes_held": held, "bytes_peak": peak }));
            if name == OURS && keys >= 1_000_000 {
                claims.at_most(format!("bytes a key at {keys}"), held, 40.0);
            }
        }
        table.row(cells);
    }
    table.print();
    claims.print();
    report::save("memory", json!({ "figures": figures, "claims": claims.json() }));
    Ok(())
}
