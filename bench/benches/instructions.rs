//! Instructions per check of a hot key, counted by valgrind: the same on a busy machine as on an idle one.
//!
//! Each rival runs in a process of its own, of which the loop of checks is counted. An empty rival takes the loop away.
//! The clock stands still: it costs one load.
//!
//! Nobody observes. What a limiter takes then is compared with the same steps written by hand, which have no place for an
//! observer; of guards and what is built on them the count alone is shown.

use std::error::Error;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use bench::args::Args;
use bench::clock::GovernorClock;
use bench::keys::KeyText;
use bench::measure::Verdict;
use bench::report::{self, Claims, Table, one, two};
use bench::rival::{
    Floor, Limit, Rival, Sharded, SipBuilder, ThroughAdmit, ThroughLimiter, ThroughTable, gcra, governor_with,
    state_table,
};
use foldhash::fast::RandomState;
use serde_json::{Value, json};
use throttlekit::lease::TwoTier;
use throttlekit::{Admit, Ask, Decision, FixedWindow, Guard, LeakyBucket, Limiter, ManualClock, Run, Shaper, Unified};

const CHECKS: u32 = 20_000;
/// What the limiter took when this was written, 322 and 312, and a tenth more for other compilers.
const ALLOWED: f64 = 354.0;
const DENIED: f64 = 343.0;
const LOOP: &str = "loop";
const OURS: &str = "ThrottleKit limiter";
const BY_HAND: &str = "ThrottleKit table";
const DYN: &str = "ThrottleKit dyn Admit";
const DYN_BY_HAND: &str = "dyn Admit by hand over the table";
/// What an observer may cost that is not there: a compiler does not always order the same steps in the same way.
const UNSEEN: f64 = 2.0;
const RIVALS: [&str; 12] = [
    "floor",
    BY_HAND,
    OURS,
    DYN_BY_HAND,
    DYN,
    "Guard, taken and given back",
    "Unified, guard and limiter",
    "Shaper",
    "TwoTier, from what it holds",
    "256 x Mutex<HashMap>",
    "governor",
    "governor, foldhash",
];

/// Answers by a function.
struct By<F>(F);

impl<F: Fn(&str) -> bool + Send + Sync> Rival for By<F> {
    type Session = ();
    type Answer = bool;

    #[inline]
    fn check(&self, (): &mut (), key: &str) -> bool {
        (self.0)(key)
    }

    fn allowed(answer: &bool) -> bool {
        *answer
    }
}

/// Answers without looking.
struct Nothing(Decision);

impl Rival for Nothing {
    type Session = ();
    type Answer = Decision;

    #[inline]
    fn check(&self, (): &mut (), _key: &str) -> Decision {
        black_box(self.0)
    }

    fn allowed(answer: &Decision) -> bool {
        answer.allowed
    }
}

fn part<R: Rival>(rival: &R, checks: usize, verdict: Verdict) {
    let text = KeyText::new(7);
    let keys = [text.as_str(); 8];
    let mut session = R::Session::default();
    rival.check(&mut session, text.as_str());
    let allowed = counted_checks(rival, &mut session, &keys, checks);
    assert_eq!(allowed, if verdict == Verdict::Allowed { checks } else { 0 }, "answers otherwise");
}

/// What is counted: valgrind knows it by this name.
#[inline(never)]
fn counted_checks<R: Rival>(rival: &R, session: &mut R::Session, keys: &[&str; 8], checks: usize) -> usize {
    (0..checks / keys.len()).map(|_| rival.run(session, keys)).sum()
}

fn play(part_name: &str, checks: usize) -> Result<(), Box<dyn Error>> {
    let (name, verdict) = match part_name.split_once(" / ") {
        Some((name, "denied")) => (name, Verdict::Denied),
        Some((name, _)) => (name, Verdict::Allowed),
        None => return Err("a part is `rival / verdict`".into()),
    };
    let limit = if verdict == Verdict::Allowed { Limit::GENEROUS } else { Limit::SPENT };
    let clock = ManualClock::new(1_760_000_000_000.0);
    let theirs = GovernorClock(clock.clone());
    match name {
        LOOP => {
            let allowed = verdict == Verdict::Allowed;
            part(&Nothing(Decision { allowed, ..Decision::ALLOW_FULL }), checks, verdict);
        }
        "floor" => part(&Floor::new(1, limit, clock), checks, verdict),
        BY_HAND => part(&ThroughTable::new(state_table(1)?, limit, clock)?, checks, verdict),
        "Guard, taken and given back" | "Unified, guard and limiter" | "Shaper" | "TwoTier, from what it holds" => {
            play_other(name, checks, verdict, limit, clock)?;
        }
        DYN_BY_HAND => part(&ThroughAdmit::by_hand(state_table(1)?, limit, clock)?, checks, verdict),
        OURS => part(&ThroughLimiter::new(state_table(1)?, limit, clock)?, checks, verdict),
        DYN => part(&ThroughAdmit::new(state_table(1)?, limit, clock)?, checks, verdict),
        "256 x Mutex<HashMap>" => part(&Sharded::new(limit, clock), checks, verdict),
        "governor" => part(&governor_with::<SipBuilder, _>(limit, theirs), checks, verdict),
        "governor, foldhash" => part(&governor_with::<RandomState, _>(limit, theirs), checks, verdict),
        other => return Err(format!("no rival {other:?}").into()),
    }
    Ok(())
}

/// What is no plain limiter.
fn play_other(
    name: &str,
    checks: usize,
    verdict: Verdict,
    limit: Limit,
    clock: ManualClock,
) -> Result<(), Box<dyn Error>> {
    let allowed = verdict == Verdict::Allowed;
    let guard = Guard::builder().fixed(2).clock(clock.clone()).build()?;
    match name {
        "Guard, taken and given back" => {
            let held: Vec<_> = (0..2).map(|_| guard.acquire()).filter(|_| !allowed).collect();
            part(&By(|_: &str| black_box(guard.acquire()).is_held()), checks, verdict);
            drop(held);
        }
        "Unified, guard and limiter" => {
            let limiter = Limiter::builder(gcra(limit)?).clock(clock.clone()).build();
            let unified = Unified::builder().concurrency(guard).rate(limiter).clock(clock).build()?;
            let ask = |key: &str| match black_box(&unified).admit(&Ask::new(key)) {
                Run::Ready(Some(Ok(admission))) => admission.decision.allowed,
                _ => false,
            };
            part(&By(ask), checks, verdict);
        }
        "Shaper" => {
            // One unit an hour, and a queue for all of them or for none.
            let longest = if allowed { 1e15 } else { 1.0 };
            let bucket = LeakyBucket::builder().rate_per_sec(1.0 / 3_600.0).max_queue_ms(longest).build()?;
            let shaper = Shaper::builder(bucket).clock(clock).build();
            part(&By(|key: &str| shaper.reserve(key, 1.0).is_ok_and(|it| it.accepted)), checks, verdict);
        }
        _ => {
            let window = FixedWindow::builder().limit(if allowed { 1e9 } else { 1.0 }).window_ms(1e12).build()?;
            let leased = TwoTier::builder(window).batch(1e8).clock(clock).build()?;
            let check = |key: &str| match black_box(&leased).run_check(key, 1.0) {
                Run::Ready(Some(Ok(decision))) => decision.allowed,
                _ => false,
            };
            part(&By(check), checks, verdict);
        }
    }
    Ok(())
}

/// Instructions of one check, with its turn of the loop.
fn per_check(part: &str) -> Result<f64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_checks*"])
        .arg(std::env::current_exe()?)
        .args(["--part", part])
        .output()
        .map_err(|error| format!("valgrind does not start ({error}); it is Debian's package `valgrind`"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{part} failed: {text}").into());
    }
    let total = text.lines().find_map(|line| line.split_once("Collected :")).ok_or("valgrind printed no count")?;
    let total: f64 = total.1.trim().parse()?;
    Ok(total / f64::from(CHECKS))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::from_env();
    if let Some(part) = &args.part {
        play(part, CHECKS as usize)?;
        return Ok(ExitCode::SUCCESS);
    }
    args.choose_among(RIVALS)?;
    report::header("Instructions");
    println!("Instructions per check of a hot key, loop and clock taken away.\n");
    let mut claims = Claims::of_chosen(&args);
    let mut figures: Vec<Value> = Vec::new();
    let mut table = Table::new(["rival", "allowed", "x floor", "denied", "x floor"]);
    let mut floors = [f64::NAN; 2];
    let mut by_hand = [f64::NAN; 2];
    for name in RIVALS.into_iter().filter(|name| *name == "floor" || args.wants(name)) {
        let mut cells = vec![name.to_owned()];
        let verdicts = [("allowed", ALLOWED), ("denied", DENIED)].into_iter().zip(&mut floors).zip(&mut by_hand);
        for (((verdict, bound), floor), by_hand) in verdicts {
            let spent = per_check(&format!("{name} / {verdict}"))? - per_check(&format!("{LOOP} / {verdict}"))?;
            if name == "floor" {
                *floor = spent;
            }
            cells.extend([one(spent), two(spent / *floor)]);
            figures.push(json!({ "rival": name, "verdict": verdict, "instructions": spent }));
            match name {
                BY_HAND | DYN_BY_HAND => *by_hand = spent,
                OURS => {
                    claims.at_most(format!("{OURS}, {verdict}"), spent, bound);
                    claims.at_most(
                        format!("{OURS} unobserved, more than by hand, {verdict}"),
                        spent - *by_hand,
                        UNSEEN,
                    );
                }
                DYN => {
                    claims.at_most(format!("{DYN} unobserved, more than by hand, {verdict}"), spent - *by_hand, UNSEEN);
                }
                _ => {}
            }
        }
        table.row(cells);
    }
    table.print();
    claims.print();
    report::save("instructions", json!({ "figures": figures, "claims": claims.json() }));
    Ok(if claims.hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
