//! Long random streams, whose every answer must equal, bit for bit, that of the other members of the family.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod support;

use throttlekit::strategy::quota::Cadence;
use throttlekit::{Decision, FixedWindow, Gcra, Project, Quota, SlidingWindow, SlidingWindowLog, State, TokenBucket};

use support::key::Key;
use support::{Lines, Mulberry, N};

#[test]
fn generator_starts_as_published() {
    let mut random = Mulberry::new(1);
    assert_eq!(
        [random.draw(), random.draw(), random.draw()],
        [0.627_073_940_588_161_3, 0.002_735_721_180_215_478, 0.527_447_039_959_952_2]
    );
}

fn line(mark: &str, decision: Decision) -> String {
    let Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms } = decision;
    format!("{mark}{},{limit},{remaining},{reset_at_ms},{retry_after_ms}", u8::from(allowed))
}

/// The three lines of each step: a check, a peek and a forecast. With `through_text` the state is written and read back
/// between any two steps, as a shared store does.
fn steps<S: Project>(strategy: &S, stream: &Stream, through_text: bool, mut each: impl FnMut(bool, [String; 3])) {
    let mut key = Key::new(strategy.clone());
    let mut random = Mulberry::new(stream.seed);
    let mut now = N;
    for _ in 0..2_000 {
        now += random.below(stream.max_delta);
        let cost = 1.0 + random.below(stream.max_cost);
        if through_text {
            key.state = key.state.map(|state| S::State::decode(&state.encode()).expect("own text parses"));
        }
        let decision = key.check(now, cost);
        let forecast = key.forecast(now, cost);
        let (next, full) = (forecast.next_replenish_at_ms, forecast.full_at_ms);
        let forecast = format!("f,{},{next},{full}", forecast.spendable_now);
        each(decision.allowed, [line("", decision), line("p,", key.peek(now)), forecast]);
    }
}

struct Stream {
    seed: u32,
    max_delta: f64,
    max_cost: f64,
    /// How many checks are admitted.
    allows: u32,
    digest: &'static str,
}

#[track_caller]
fn assert_stream<S: Project>(strategy: &S, stream: &Stream) {
    for through_text in [false, true] {
        let (mut allows, mut lines) = (0, Lines::default());
        steps(strategy, stream, through_text, |allowed, step| {
            allows += u32::from(allowed);
            for line in &step {
                lines.push(line);
            }
        });
        assert_eq!((allows, lines.digest().as_str()), (stream.allows, stream.digest), "through text: {through_text}");
    }
}

#[test]
fn first_step_is_as_published() {
    let (mut first, stream) = (None, Stream { seed: 4002, max_delta: 400.0, max_cost: 2.0, allows: 1674, digest: "" });
    steps(&gcra(6.0, 1_000.0, 6.0), &stream, false, |_, step| {
        first.get_or_insert(step);
    });
    let lines = ["1,6,4,1700000000257,0", "p,1,6,4,1700000000257,0", "f,4,1700000000090,1700000000257"];
    assert_eq!(first.unwrap(), lines);
}

fn gcra(limit: f64, period_ms: f64, burst: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap()
}

#[test]
fn gcra_streams() {
    let digest = "f593fa864525f08eff087358ca2bd554f77580aa0a1cb6df440fb03bffc541ec";
    let stream = Stream { seed: 4001, max_delta: 900.0, max_cost: 4.0, allows: 877, digest };
    assert_stream(&gcra(100.0, 60_000.0, 20.0), &stream);
    let digest = "e506050d093397a2f84f7dfbf89ac893e405821315ed3cf63e2e7629962bd91d";
    let stream = Stream { seed: 4002, max_delta: 400.0, max_cost: 2.0, allows: 1674, digest };
    assert_stream(&gcra(6.0, 1_000.0, 6.0), &stream);
    let digest = "00076e3b49512c26300bba06b8740798872b1846eea13b56ae3e57a455eb8290";
    let stream = Stream { seed: 4003, max_delta: 300.0, max_cost: 9.0, allows: 1289, digest };
    assert_stream(&gcra(1_000.0, 60_000.0, 100.0), &stream);
}

#[test]
fn token_bucket_streams() {
    let bucket = |capacity, refill| TokenBucket::builder().capacity(capacity).refill_per_sec(refill).build().unwrap();
    let digest = "02fe6c8047e16b2a484a3112d6cd98b0624235bfa6de02403aa21145775aca4e";
    let stream = Stream { seed: 4004, max_delta: 900.0, max_cost: 12.0, allows: 1588, digest };
    assert_stream(&bucket(50.0, 10.0), &stream);
    let digest = "951dfd85367d18e3c25b4b64be46004d58928ffc7ba18356320295b8b5ad10a1";
    let stream = Stream { seed: 4005, max_delta: 900.0, max_cost: 6.0, allows: 1188, digest };
    assert_stream(&bucket(20.0, 3.5), &stream);
}

#[test]
fn fixed_window_stream() {
    let window = FixedWindow::builder().limit(10.0).window_ms(250.0).build().unwrap();
    let digest = "5b2ff1fc71771fe64c6c6d502ce9cea936912d191500a6a1799c752e2a7b0253";
    let stream = Stream { seed: 4006, max_delta: 90.0, max_cost: 4.0, allows: 1414, digest };
    assert_stream(&window, &stream);
}

#[test]
fn sliding_window_streams() {
    let window = |limit, window_ms, buckets| {
        SlidingWindow::builder().limit(limit).window_ms(window_ms).buckets(buckets).build().unwrap()
    };
    let digest = "759e7701c530c27ea8cf473c5aaf3d1345e86f43e64996e0e64cacca08022101";
    let stream = Stream { seed: 4007, max_delta: 60.0, max_cost: 4.0, allows: 1306, digest };
    assert_stream(&window(50.0, 1_000.0, 10), &stream);
    let digest = "f5685d6556a5fdd66328baf9ffba7904c18006885945e51a91e199ac4f02bcac";
    let stream = Stream { seed: 4008, max_delta: 120.0, max_cost: 4.0, allows: 1069, digest };
    assert_stream(&window(20.0, 1_000.0, 3), &stream);
    let digest = "89461a897742dd5a365bfa3502350041640d0d766ab9c751b157f7030edcfa89";
    let stream = Stream { seed: 4009, max_delta: 1_500.0, max_cost: 4.0, allows: 1222, digest };
    assert_stream(&window(100.0, 60_000.0, 1), &stream);
}

#[test]
fn sliding_window_log_stream() {
    let log = SlidingWindowLog::builder().limit(10.0).window_ms(500.0).build().unwrap();
    let digest = "e594da043b350fd76875d057c0eba7b1c5e896de241646b9c5c1bf1ac2b28513";
    let stream = Stream { seed: 4010, max_delta: 90.0, max_cost: 4.0, allows: 789, digest };
    assert_stream(&log, &stream);
}

#[test]
fn quota_streams() {
    let quota = |cadence| Quota::builder().limit(50.0).cadence(cadence);
    let month = quota(Cadence::CalendarMonth).offset_minutes(330).build().unwrap();
    let digest = "17a228f193c7559c3a221e42ae50aea6417bc681b340c7d3c55d0f94d81bc2bc";
    let stream = Stream { seed: 4011, max_delta: 86_400_000.0, max_cost: 4.0, allows: 705, digest };
    assert_stream(&month, &stream);
    let week = quota(Cadence::CalendarWeek).build().unwrap();
    let digest = "8f978db6d033c855d93f0da3bbef5d610280af6d3a4b6533d313934b9788b2b1";
    let stream = Stream { seed: 4012, max_delta: 20_000_000.0, max_cost: 4.0, allows: 667, digest };
    assert_stream(&week, &stream);
    let day = quota(Cadence::CalendarDay).offset_minutes(-300).build().unwrap();
    let digest = "b0bff8c45d0ee63e746d921c420abd6de929cc16725a9cafc3e831633e8eeb3a";
    let stream = Stream { seed: 4013, max_delta: 4_000_000.0, max_cost: 4.0, allows: 963, digest };
    assert_stream(&day, &stream);
    let fixed = quota(Cadence::Fixed).period_ms(1_000.0).anchor_ms(250).build().unwrap();
    let digest = "184ad8d57e31f7adc7ea0b3bc357320915ca2de2078ce5c5282ac7caf24b7a99";
    let stream = Stream { seed: 4014, max_delta: 60.0, max_cost: 4.0, allows: 1250, digest };
    assert_stream(&fixed, &stream);
}
