//! What the programs print and leave behind.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use throttlekit::{Clock, CoarseClock, SystemClock};

use crate::args::Args;
use crate::clock::TscClock;
use crate::cores;
use crate::measure::Slice;

/// The machine and the toolchain: no run's figures mean anything without.
pub fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let rustc = Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']).trim(),
        "cores": cores::count(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "rustc": String::from_utf8_lossy(&rustc).trim(),
    })
}

/// Prints the header that every program's output starts with.
pub fn header(title: &str) {
    let machine = machine();
    let text = |field: &str| machine[field].to_string().replace('"', "");
    println!("# {title}\n");
    println!("{}, {} cores, {} {}, {}\n", text("cpu"), text("cores"), text("os"), text("arch"), text("rustc"));
}

/// Nanoseconds of one reading of each clock in use.
pub fn clock_costs() -> String {
    let tsc = TscClock::new();
    let system = SystemClock::new();
    let coarse = CoarseClock::new();
    let [tsc, system, coarse] = [reading(&tsc), reading(&system), reading(&coarse)];
    format!("Clock readings: shared {tsc:.1} ns, `SystemClock` {system:.1} ns, `CoarseClock` {coarse:.1} ns.\n")
}

fn reading(clock: &impl Clock) -> f64 {
    const STRETCH: usize = 1_000;
    let mut slice = Slice::new(Duration::from_millis(20));
    while !slice.is_full() {
        slice.time(STRETCH, || (0..STRETCH).filter(|_| std::hint::black_box(clock.now_ms()) > 0.0).count());
    }
    slice.sample().ns
}

/// A Markdown table.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these column titles.
    pub fn new<T: Into<String>>(head: impl IntoIterator<Item = T>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints it, columns aligned, followed by an empty line.
    pub fn print(&self) {
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.head]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &[String]| {
            let mut line = String::from("|");
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                // Writing to a string cannot fail.
                let _ = if column == 0 { write!(line, " {cell:<width$} |") } else { write!(line, " {cell:>width$} |") };
            }
            line
        };
        println!("{}", line(&self.head));
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        println!("{}", line(&rule));
        for row in &self.rows {
            println!("{}", line(row));
        }
        println!();
    }
}

/// `x` with one decimal, or a dash for NaN.
pub fn one(x: f64) -> String {
    if x.is_nan() { "-".to_owned() } else { format!("{x:.1}") }
}

/// `x` with two decimals, or a dash for NaN.
pub fn two(x: f64) -> String {
    if x.is_nan() { "-".to_owned() } else { format!("{x:.2}") }
}

/// Claims, and what was measured of them.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    all: Vec<Claim>,
    /// Whether rows were chosen, so that claims about others are of no interest.
    chosen: bool,
}

impl Claims {
    /// Of a program that measures only what its filters let through.
    pub fn of_chosen(args: &Args) -> Self {
        Self { all: Vec::new(), chosen: !args.filters.is_empty() }
    }

    /// `measured` must be at most `bound`; NaN is what was not measured.
    pub fn at_most(&mut self, what: impl Into<String>, measured: f64, bound: f64) {
        self.add(Claim { what: what.into(), measured, bound, at_least: false });
    }

    /// `measured` must be at least `bound`; NaN is what was not measured.
    pub fn at_least(&mut self, what: impl Into<String>, measured: f64, bound: f64) {
        self.add(Claim { what: what.into(), measured, bound, at_least: true });
    }

    fn add(&mut self, claim: Claim) {
        if !(self.chosen && claim.measured.is_nan()) {
            self.all.push(claim);
        }
    }

    /// Whether all hold. One that was not measured does not, and without a choice of rows there is one at least.
    pub fn hold(&self) -> bool {
        (self.chosen || !self.all.is_empty()) && self.all.iter().all(Claim::holds)
    }

    /// Prints them, and whether they hold.
    pub fn print(&self) {
        let mut table = Table::new(["claim", "bound", "measured", "holds"]);
        for claim in &self.all {
            let sign = if claim.at_least { ">=" } else { "<=" };
            let bound = format!("{sign} {}", claim.bound);
            table.row([claim.what.clone(), bound, two(claim.measured), claim.verdict().to_owned()]);
        }
        println!("## Claims\n");
        table.print();
    }

    /// The same for a file.
    pub fn json(&self) -> Value {
        let claim = |claim: &Claim| {
            json!({
                "claim": claim.what, "measured": claim.measured, "bound": claim.bound, "at_least": claim.at_least,
                "holds": claim.holds(),
            })
        };
        self.all.iter().map(claim).collect()
    }
}

#[derive(Clone, Debug)]
struct Claim {
    what: String,
    measured: f64,
    bound: f64,
    at_least: bool,
}

impl Claim {
    fn holds(&self) -> bool {
        if self.at_least { self.measured >= self.bound } else { self.measured <= self.bound }
    }

    fn verdict(&self) -> &'static str {
        match self.holds() {
            true => "yes",
            false if self.measured.is_nan() => "NOT MEASURED",
            false => "NO",
        }
    }
}

/// Writes `<target>/bench/<name>.json`, next to what Cargo built.
pub fn save(name: &str, mut figures: Value) {
    figures["machine"] = machine();
    let directory = target().join("bench");
    let path = directory.join(format!("{name}.json"));
    let written = fs::create_dir_all(&directory).and_then(|()| fs::write(&path, format!("{figures:#}\n")));
    match written {
        Ok(()) => println!("Figures are in {}.", path.display()),
        Err(error) => eprintln!("{} was not written: {error}", path.display()),
    }
}

/// The target folder: the running program lies in `<target>/<profile>/deps`.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::{Args, Claims};

    fn chosen() -> Args {
        Args { filters: vec!["hot".to_owned()], ..Args::default() }
    }

    #[test]
    fn claims_hold_if_each_does() {
        let mut claims = Claims::default();
        claims.at_most("ns", 1.0, 2.0);
        claims.at_least("rate", 2.0, 2.0);
        assert!(claims.hold());
        claims.at_least("rate", 1.0, 2.0);
        assert!(!claims.hold());
        assert_eq!(claims.all.iter().map(super::Claim::verdict).collect::<Vec<_>>(), ["yes", "yes", "NO"]);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let mut claims = Claims::default();
        assert!(!claims.hold(), "nothing is claimed");
        claims.at_most("ns", f64::NAN, 2.0);
        assert!(!claims.hold());
        assert_eq!(claims.all[0].verdict(), "NOT MEASURED");
        assert_eq!(claims.json()[0]["holds"], false);
    }

    #[test]
    fn of_chosen_rows_only_theirs_are_claimed() {
        let mut claims = Claims::of_chosen(&chosen());
        claims.at_most("another row", f64::NAN, 2.0);
        assert!(claims.hold());
        claims.at_most("a chosen one", 3.0, 2.0);
        assert!(!claims.hold() && claims.all.len() == 1);
        // Nothing was chosen: the same as without.
        assert!(!Claims::of_chosen(&Args::default()).hold());
    }
}
