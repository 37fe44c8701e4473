//! The same decisions as in memory.

use throttlekit::store::Remote;
use throttlekit::{
    FixedWindow, Gcra, Limiter, ManualClock, Multi, Project, SlidingWindow, SlidingWindowLog, TokenBucket,
};

use crate::support::Table;

const N: f64 = 1_700_000_000_000.0;

/// Drives `strategy` in memory and over two stores in turn, on the same timelines.
async fn agrees<S: Project>(table: &Table, name: &str, strategy: S) {
    let (mut allowed, mut denied) = (0, 0);
    for timeline in 0..6_u32 {
        let mut random = fastrand::Rng::with_seed(u64::from(timeline) + 1);
        let clock = ManualClock::new(N + 37.0 * f64::from(timeline));
        let prefix = format!("{name}{timeline}");
        let memory = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
        let remote = |store| {
            let keys = Limiter::builder(strategy.clone()).keyspace(Remote::new(store));
            keys.clock(clock.clone()).prefix(prefix.as_str()).build()
        };
        let remotes = [remote(table.store()), remote(table.store())];
        for step in 0..8 {
            clock.advance(f64::from(random.u32(0..900)));
            let cost = f64::from(random.u32(1..5));
            let remote = &remotes[random.usize(0..2)];
            let decision = memory.check_cost("k", cost).unwrap();
            *(if decision.allowed { &mut allowed } else { &mut denied }) += 1;
            assert_eq!(remote.check_cost("k", cost).await.unwrap(), decision, "{name} {timeline} {step}");
            assert_eq!(remote.peek("k").await.unwrap(), memory.peek("k").unwrap(), "{name} {timeline} {step}");
        }
        remotes[0].reset("k").await.unwrap();
        memory.reset("k").unwrap();
        assert_eq!(remotes[1].check("k").await.unwrap(), memory.check("k").unwrap());
    }
    assert!(allowed > 0, "{name}: {allowed} allowed, {denied} denied");
}

#[tokio::test]
async fn two_processes_decide_as_one_in_memory() {
    let table = Table::new("timelines").await;
    let gcra = Gcra::builder().limit(100.0).period_ms(60_000.0).burst(20.0).build().unwrap();
    agrees(&table, "gcra", gcra).await;
    agrees(&table, "bucket", TokenBucket::builder().capacity(50.0).refill_per_sec(10.0).build().unwrap()).await;
    let sliding = SlidingWindow::builder().limit(50.0).window_ms(1_000.0).buckets(10).build().unwrap();
    agrees(&table, "sliding", sliding).await;
    agrees(&table, "log", SlidingWindowLog::builder().limit(5.0).window_ms(1_000.0).build().unwrap()).await;
}

#[tokio::test]
async fn joint_limits_decide_as_in_memory() {
    let table = Table::new("joint-timelines").await;
    for is_all in [true, false] {
        let clock = ManualClock::new(N);
        let new = || {
            let multi = if is_all { Multi::all() } else { Multi::any() };
            let window = FixedWindow::builder().limit(10.0).window_ms(1_000.0).build().unwrap();
            let bucket = TokenBucket::builder().capacity(20.0).refill_per_sec(3.5).build().unwrap();
            multi.dimension("ip", window, 1.0).dimension("user", bucket, 2.0).clock(clock.clone())
        };
        let memory = new().build().unwrap();
        let prefix = if is_all { "all" } else { "any" };
        let remote = |store| new().store(Remote::new(store)).prefix(prefix).build().unwrap();
        let remotes = [remote(table.store()), remote(table.store())];
        let mut random = fastrand::Rng::with_seed(7);
        let (mut allowed, mut denied) = (0, 0);
        for step in 0..80 {
            clock.advance(f64::from(random.u32(0..300)));
            let keys = [["i1", "i2"][random.usize(0..2)], ["u1", "u2", "u3"][random.usize(0..3)]];
            let cost = f64::from(random.u32(1..4));
            let decision = memory.check_cost(&keys, cost).unwrap();
            *(if decision.allowed { &mut allowed } else { &mut denied }) += 1;
            let answer = remotes[random.usize(0..2)].check_cost(&keys, cost).await.unwrap();
            assert_eq!(answer, decision, "{prefix} {step}");
        }
        assert!(allowed > 10, "{prefix}: {allowed} allowed, {denied} denied");
    }
}
