//! Count-min sketches: what an update costs and how far estimates are off, beside `pingora-limits`, in one run.
//!
//! Every sketch has five rows and sees the same Zipf stream. The rival's counters take eight bytes, ours four; so it is met
//! twice: with as many columns, which is equal error, and with as many bytes.

use std::error::Error;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use bench::args::Args;
use bench::clock::TscClock;
use bench::gauge::{Gauge, Goals};
use bench::keys::KeyText;
use bench::measure::{Slice, median};
use bench::report::{self, Claims, Table, one, two};
use fastrand::Rng;
use pingora_limits::estimator::Estimator;
use serde_json::{Value, json};
use throttlekit::FixedWindow;
use throttlekit::sketch::{Accuracy, CountMin, Screened, SketchLimiter};

const ROWS: usize = 5;
/// The columns of the rival.
const WIDTHS: [usize; 2] = [2_719, 27_183];
/// Keys of one stretch, timed together.
const STRETCH: usize = 1_024;
/// Different keys of the stream.
const KEYS: u64 = 1_000_000;

/// A sketch that counts.
trait Sketch {
    fn add(&mut self, key: &str) -> u64;
    fn estimate(&self, key: &str) -> u64;
}

impl Sketch for CountMin {
    #[inline]
    fn add(&mut self, key: &str) -> u64 {
        u64::from(Self::add(self, key, 1))
    }

    fn estimate(&self, key: &str) -> u64 {
        u64::from(Self::estimate(self, key))
    }
}

/// As threads share it.
struct Shared(Mutex<CountMin>);

impl Sketch for Shared {
    #[inline]
    fn add(&mut self, key: &str) -> u64 {
        self.0.lock().map_or(0, |mut sketch| u64::from(sketch.add(key, 1)))
    }

    fn estimate(&self, key: &str) -> u64 {
        self.0.lock().map_or(0, |sketch| u64::from(sketch.estimate(key)))
    }
}

impl Sketch for Estimator {
    #[inline]
    fn add(&mut self, key: &str) -> u64 {
        self.incr(key, 1).unsigned_abs() as u64
    }

    fn estimate(&self, key: &str) -> u64 {
        self.get(key).unsigned_abs() as u64
    }
}

/// A limiter is timed only: its estimates are not public.
struct Limiting<F>(F);

impl<F: FnMut(&str) -> bool> Sketch for Limiting<F> {
    #[inline]
    fn add(&mut self, key: &str) -> u64 {
        u64::from((self.0)(key))
    }

    fn estimate(&self, _key: &str) -> u64 {
        0
    }
}

struct Contestant {
    name: &'static str,
    bytes: usize,
    counts: bool,
    sketch: Box<dyn Contest>,
    ns: Vec<f64>,
}

/// A sketch behind one call for a whole stretch, so that the loop is compiled for it.
trait Contest {
    fn stretch(&mut self, keys: &[KeyText]) -> usize;
    fn estimate(&self, key: &str) -> u64;
}

impl<S: Sketch> Contest for S {
    fn stretch(&mut self, keys: &[KeyText]) -> usize {
        keys.iter().filter(|key| black_box(self.add(key.as_str())) > 0).count()
    }

    fn estimate(&self, key: &str) -> u64 {
        Sketch::estimate(self, key)
    }
}

fn ours(width: usize, conservative: bool) -> Result<CountMin, Box<dyn Error>> {
    // Half a column below the width asked for is rounded up to it; a delta of 0.01 takes five rows.
    #[allow(clippy::cast_precision_loss)] // a width
    let accuracy = Accuracy::new(std::f64::consts::E / (width as f64 - 0.5), 0.01)?;
    assert_eq!((accuracy.width(), accuracy.depth()), (width, ROWS));
    Ok(CountMin::builder().accuracy(accuracy).conservative(conservative).build())
}

fn contestants(width: usize) -> Result<Vec<Contestant>, Box<dyn Error>> {
    let contestant = |name, bytes, counts, sketch| Contestant { name, bytes, counts, sketch, ns: Vec::new() };
    let bytes = |width: usize| ROWS * width * size_of::<u32>();
    let accuracy = ours(width, true)?.accuracy();
    let limiter =
        SketchLimiter::builder().limit(4e9).window_ms(1e9).accuracy(accuracy).clock(TscClock::new()).build()?;
    let window = FixedWindow::builder().limit(4e9).window_ms(1e9).build()?;
    let screened = |threshold: f64| {
        Screened::builder(window).accuracy(accuracy).threshold(threshold).clock(TscClock::new()).build()
    };
    let (by_sketch, exact) = (screened(4e9)?, screened(1e-9)?);
    Ok(vec![
        contestant("pingora-limits", 2 * bytes(width), true, Box::new(Estimator::new(ROWS, width))),
        contestant("plain", bytes(width), true, Box::new(ours(width, false)?)),
        contestant("plain, as many bytes", bytes(2 * width), true, Box::new(ours(2 * width, false)?)),
        contestant("plain, in a mutex", bytes(width), true, Box::new(Shared(Mutex::new(ours(width, false)?)))),
        contestant("conservative", bytes(width), true, Box::new(ours(width, true)?)),
        contestant(
            "SketchLimiter::check",
            bytes(width),
            false,
            Box::new(Limiting(move |key: &str| limiter.check(key).is_ok_and(|decision| decision.allowed))),
        ),
        contestant(
            "Screened::check, by the sketch",
            by_sketch.sketch_bytes(),
            false,
            Box::new(Limiting(move |key: &str| by_sketch.check(key).is_ok_and(|decision| decision.allowed))),
        ),
        contestant(
            "Screened::check, by a state",
            exact.sketch_bytes(),
            false,
            Box::new(Limiting(move |key: &str| exact.check(key).is_ok_and(|decision| decision.allowed))),
        ),
    ])
}

/// The key of the next request: Zipf's law with exponent 1, by its inverse.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below the number of keys
fn draw(rng: &mut Rng) -> u64 {
    (((KEYS + 1) as f64).powf(rng.f64()) as u64 - 1).min(KEYS - 1)
}

/// The mean overestimate of all keys after `requests` of the stream.
#[allow(clippy::cast_precision_loss)] // counts of one run
fn errors(contestants: &mut [Contestant], requests: usize) -> Vec<f64> {
    let mut rng = Rng::with_seed(0x5_ce7c4);
    let mut truth = vec![0_u64; usize::try_from(KEYS).unwrap_or(0)];
    for _ in 0..requests.div_ceil(STRETCH) {
        let ids: Vec<u64> = (0..STRETCH).map(|_| draw(&mut rng)).collect();
        let keys: Vec<KeyText> = ids.iter().copied().map(KeyText::new).collect();
        for id in ids {
            truth[usize::try_from(id).unwrap_or(0)] += 1;
        }
        for contestant in contestants.iter_mut().filter(|contestant| contestant.counts) {
            contestant.sketch.stretch(&keys);
        }
    }
    let error = |contestant: &Contestant| {
        if !contestant.counts {
            return f64::NAN;
        }
        let above = (0..KEYS).zip(&truth).map(|(id, count)| {
            let estimate = contestant.sketch.estimate(KeyText::new(id).as_str());
            assert!(estimate >= *count, "{} counts less than the truth", contestant.name);
            estimate - count
        });
        above.sum::<u64>() as f64 / KEYS as f64
    };
    contestants.iter().map(error).collect()
}

/// Lets all take turns; the nanoseconds of the floor beside them.
fn time(contestants: &mut [Contestant], rounds: usize, budget: Duration) -> f64 {
    let mut rng = Rng::new();
    let (gauge, mut floors) = (Gauge::new(), Vec::new());
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for _ in 0..rounds {
        rng.shuffle(&mut order);
        floors.push(gauge.ns(budget));
        for contestant in &order {
            let contestant = &mut contestants[*contestant];
            let mut slice = Slice::new(budget);
            while !slice.is_full() {
                let keys: Vec<KeyText> = (0..STRETCH).map(|_| KeyText::new(draw(&mut rng))).collect();
                slice.time(STRETCH, || contestant.sketch.stretch(&keys));
            }
            contestant.ns.push(slice.sample().ns);
        }
    }
    median(floors)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    let (rounds, budget, requests) =
        if args.quick { (5, Duration::from_millis(10), 200_000) } else { (41, Duration::from_millis(50), 5_000_000) };
    report::header("Sketches");
    println!("{}", report::clock_costs());
    let mut claims = Claims::default();
    let mut results: Vec<Value> = Vec::new();
    for width in WIDTHS {
        let mut contestants = contestants(width)?;
        let errors = errors(&mut contestants, requests);
        let goals = Goals::at(time(&mut contestants, rounds, budget));
        let mut table = Table::new(["5 rows", "bytes", "mean error", "ns per request"]);
        let ns: Vec<f64> = contestants.iter().map(|contestant| median(contestant.ns.clone())).collect();
        for ((contestant, error), ns) in contestants.iter().zip(&errors).zip(&ns) {
            table.row([contestant.name.to_owned(), contestant.bytes.to_string(), two(*error), one(*ns)]);
            results.push(json!({
                "width": width, "name": contestant.name, "bytes": contestant.bytes, "mean_error": error, "ns": ns,
            }));
        }
        println!("## {width} columns\n");
        table.print();
        println!("{goals}\n");
        let [rival, plain, as_many_bytes, close] = [0, 1, 2, 4];
        if width == WIDTHS[0] {
            // The larger sketches are for what the caches make of them.
            claims.at_most(format!("{width}: ns per plain update"), ns[plain], goals.ns(40.0));
            claims.at_most(format!("{width}: ns per conservative update"), ns[close], goals.ns(40.0));
        }
        claims.at_most(format!("{width}: plain / pingora-limits, equal error, time"), ns[plain] / ns[rival], 1.0);
        claims.at_most(
            format!("{width}: plain / pingora-limits, as many columns, error"),
            errors[plain] / errors[rival],
            1.05,
        );
        let ratio = errors[as_many_bytes] / errors[rival];
        claims.at_most(format!("{width}: plain / pingora-limits, as many bytes, error"), ratio, 0.75);
        let ratio = errors[close] / errors[rival];
        claims.at_most(format!("{width}: conservative / pingora-limits, as many columns, error"), ratio, 0.75);
    }
    claims.print();
    report::save("sketch", json!({ "rows": results, "claims": claims.json() }));
    Ok(())
}
