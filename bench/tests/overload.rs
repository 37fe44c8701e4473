//! The default guard protects a simulated server, and the specified laws do not.

use bench::overload::{Fixed, Guarded, Model, Phase, Scenario, Settled, run, scenarios};
use throttlekit::{Algorithm, Ask, Guard, KeyedGuard, ManualClock, Priority};

/// The promise, phase by phase: within [K, 1.3 K] from the thirtieth second on, at nearly the throughput of the limit that
/// has most of it and nearly the latency of the one that has least.
fn keeps_its_promise(title: &str, scenario: &Scenario) {
    let (steady, _) = run(scenario, &mut Guarded::new(Guard::builder()));
    let (at_capacity, _) = run(scenario, &mut Fixed::new(1.0));
    let (above, _) = run(scenario, &mut Fixed::new(1.3));
    for ((steady, at_capacity), above) in steady.iter().zip(&at_capacity).zip(&above) {
        let Settled { phase, least, most, settled_ms, goodput, p99_ms, .. } = steady;
        let what = format!("{title}, capacity {}", phase.capacity);
        assert!(*least >= 1.0 && *most <= 1.3, "{what}: the limit goes from {least:.2} to {most:.2} of the capacity");
        assert!(*settled_ms <= 30_000.0, "{what}: settles after {settled_ms} ms");
        let best = at_capacity.goodput.max(above.goodput);
        assert!(*goodput >= 0.95 * best, "{what}: goodput {goodput:.0} of {best:.0}");
        assert!(*p99_ms <= 1.5 * at_capacity.p99_ms, "{what}: p99 {p99_ms:.0} ms, {:.0} at best", at_capacity.p99_ms);
    }
}

#[test]
fn steady_follows_a_shared_server() {
    for (title, scenario) in scenarios(1).into_iter().filter(|(title, _)| title.starts_with("shared")) {
        keeps_its_promise(title, &scenario);
    }
}

#[test]
fn steady_follows_a_server_with_a_queue() {
    for seed in [1, 2] {
        let (title, scenario) = scenarios(seed).into_iter().find(|(title, _)| title.starts_with("M/M/K")).unwrap();
        keeps_its_promise(title, &scenario);
    }
}

/// The weakness that the default is there for.
#[test]
fn a_windowed_minimum_drifts_to_the_greatest_limit() {
    let (_, scenario) = scenarios(1).swap_remove(0);
    for algorithm in [Algorithm::Gradient2, Algorithm::Aimd] {
        let (settled, _) = run(&scenario, &mut Guarded::new(Guard::builder().algorithm(algorithm)));
        let last = settled.last().unwrap();
        assert!(last.least > 10.0 && last.p99_ms > 200.0, "{algorithm:?} is at {:.1} of the capacity", last.least);
    }
}

fn one_phase_after_the_other(phases: &[(u32, f64, f64)]) -> Scenario {
    let phase = |&(capacity, base_ms, load): &(u32, f64, f64)| Phase { length_ms: 60_000.0, capacity, base_ms, load };
    Scenario { model: Model::Shared { noise: 0.3 }, phases: phases.iter().map(phase).collect(), seed: 5 }
}

/// The latency without load is no constant either.
#[test]
fn steady_follows_the_latency_without_load() {
    keeps_its_promise("other work", &one_phase_after_the_other(&[(50, 20.0, 1.5), (50, 60.0, 1.5), (50, 10.0, 1.5)]));
}

/// Ten minutes of standing overload move nothing.
#[test]
fn steady_does_not_drift() {
    let phases = [(40, 20.0, 1.5); 10];
    keeps_its_promise("ten minutes", &one_phase_after_the_other(&phases));
}

/// A server that is half used is not limited, and does not make the limit grow without end.
#[test]
fn steady_leaves_an_under_used_server_alone() {
    let scenario = one_phase_after_the_other(&[(50, 20.0, 1.5), (50, 20.0, 0.5), (50, 20.0, 0.5), (50, 20.0, 1.5)]);
    let (settled, looks) = run(&scenario, &mut Guarded::new(Guard::builder()));
    let (unlimited, _) = run(&scenario, &mut Fixed::new(10.0));
    for (half, unlimited) in settled.iter().zip(&unlimited).skip(1).take(2) {
        assert!(half.goodput > 0.99 * unlimited.goodput, "{:.0} of {:.0}", half.goodput, unlimited.goodput);
        assert!(half.least >= 0.7 && half.most < 2.0, "the limit goes from {:.2} to {:.2}", half.least, half.most);
    }
    assert!(looks.iter().filter(|look| look.at_ms > 30_000.0).all(|look| look.limit < 150));
}

/// Requests that may use a share of the limit only are refused below it. That is no reason to stay where the limit started.
fn grows_by_a_share(what: &str, least: f64, mut limit: Guarded) {
    let scenario = one_phase_after_the_other(&[(50, 20.0, 1.5), (50, 20.0, 1.5)]);
    let (shared, _) = run(&scenario, &mut limit);
    let (best, _) = run(&scenario, &mut Fixed::new(1.0));
    for (shared, best) in shared.iter().zip(&best) {
        let Settled { goodput, most, p99_ms, .. } = shared;
        assert!(*goodput >= least * best.goodput, "{what}: goodput {goodput:.0} of {:.0}", best.goodput);
        assert!(*most <= 2.5 && *p99_ms <= 1.5 * best.p99_ms, "{what}: limit {most:.2} K, p99 {p99_ms:.0} ms");
    }
}

#[test]
fn steady_grows_where_a_priority_may_use_a_share() {
    for (share, least) in [(0.8, 0.95), (0.5, 0.9)] {
        let build = |clock: ManualClock| {
            Guard::builder().priority_share(Priority::Low, share).clock(clock).build().expect("a good share")
        };
        let low = Guarded::asked(build, || Ask::new("").priority(Priority::Low));
        grows_by_a_share(&format!("a share of {share}"), least, low);
    }
}

#[test]
fn steady_grows_where_a_tenant_leaves_slots_to_another() {
    let build = |clock: ManualClock| {
        KeyedGuard::builder(Guard::builder().clock(clock)).build().expect("the default settings are in range")
    };
    let mut requests = 0_u32;
    // One request in fifty is of a tenant that would use far less than its half.
    let asks = move || {
        requests += 1;
        Ask::new(if requests % 50 == 0 { "light" } else { "greedy" })
    };
    grows_by_a_share("two tenants", 0.85, Guarded::asked(build, asks));
}
