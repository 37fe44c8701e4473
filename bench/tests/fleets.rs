//! The published figures of fleets that lease over a network, and what holds beyond them.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use bench::simulate::fleet::settings::{CUT_BELOW, at_once, growing, late, parted, rough, slower};
use bench::simulate::fleet::{Arrivals, Expiry, Latency, Outcome, Setting, run};
use bench::simulate::schemes::batches;
use bench::simulate::windows::Rules;

fn simulated((setting, arrivals): (Setting, Arrivals)) -> Outcome {
    run(&setting, &arrivals)
}

fn digits(x: f64, digits: i32) -> f64 {
    (x * 10_f64.powi(digits)).round() / 10_f64.powi(digits)
}

#[test]
fn larger_fleets_have_the_published_figures() {
    let published = [
        (2, 0.808, 810),
        (8, 1.0, 2_542),
        (32, 1.0, 6_750),
        (128, 0.843_8, 18_392),
        (256, 0.700_1, 27_223),
        (512, 0.387_05, 38_164),
    ];
    for (nodes, utilisation, trips) in published {
        let outcome = simulated(growing(nodes));
        assert_eq!((outcome.overshoot(), outcome.trips), (0, trips), "{nodes} nodes");
        assert_eq!(digits(outcome.utilisation(), 5), utilisation, "{nodes} nodes");
    }
}

#[test]
fn carried_credits_overshoot_and_coupled_ones_do_not() {
    for (nodes, overshoot) in [(8, 0), (32, 0), (128, 200), (256, 200)] {
        assert_eq!(simulated(at_once(nodes, Expiry::Never)).overshoot(), overshoot, "{nodes} nodes");
        assert_eq!(simulated(at_once(nodes, Expiry::Roll)).overshoot(), 0, "{nodes} nodes");
    }
}

#[test]
fn slower_answers_have_the_published_figures() {
    let published = [(0.0, 0.9624, 41_819), (5.0, 0.959_75, 10_775), (20.0, 0.955_4, 3_853), (50.0, 0.949_15, 1_875)];
    for (mean_ms, utilisation, trips) in published {
        let outcome = simulated(slower(mean_ms));
        assert_eq!((digits(outcome.utilisation(), 5), outcome.trips), (utilisation, trips), "{mean_ms} ms");
        assert_eq!(outcome.overshoot(), 0);
    }
}

#[test]
fn nodes_that_are_cut_off_do_not_overshoot() {
    let (whole, cut) = (simulated(parted(false)), simulated(parted(true)));
    let there = |outcome: &Outcome| outcome.by_node.iter().take(CUT_BELOW).step_by(2).sum::<u64>();
    assert_eq!((whole.overshoot(), cut.overshoot()), (0, 0));
    assert_eq!((digits(whole.utilisation(), 4), digits(cut.utilisation(), 4)), (0.9523, 0.9378));
    assert_eq!((there(&whole), there(&cut)), (6_160, 4_020));
}

/// The units were taken in one window and spent in the next, together with those of the next.
#[test]
fn late_grants_overshoot_unless_they_are_dropped() {
    let served = simulated(late(Expiry::Roll));
    assert_eq!((served.overshoot(), served.overspent()), (960, 0));
    for expiry in [Expiry::OwnClock, Expiry::SinceAsked] {
        let dropped = simulated(late(expiry));
        assert_eq!((dropped.overshoot(), dropped.overspent()), (0, 0));
        assert!(dropped.late > 0);
    }
}

#[test]
fn time_since_asking_holds_where_clocks_do_not() {
    for nodes in [64, 512, 10_000] {
        let since_asked = simulated(rough(nodes, Expiry::SinceAsked));
        assert_eq!((since_asked.overshoot(), since_asked.overspent()), (0, 0), "{nodes} nodes");
        let admitted = since_asked.by_instant.last().copied().unwrap();
        assert!(admitted > 90_000, "{admitted} of 100,000 admitted in the rush of the last window on {nodes} nodes");
        let own_clock = simulated(rough(nodes, Expiry::OwnClock));
        assert!(own_clock.overshoot() > 15_000, "clocks behind the store's keep credits alive");
        assert!(simulated(rough(nodes, Expiry::Never)).overshoot() > 40_000);
    }
}

#[test]
fn a_fleet_that_remembers_asks_less() {
    let (setting, arrivals) = growing(256);
    let forgets = run(&setting, &arrivals);
    let remembers = run(&Setting { remember: true, ..setting }, &arrivals);
    assert!(remembers.trips * 2 < forgets.trips, "{} trips, {} without", remembers.trips, forgets.trips);
    // Fewer grants are under way to nobody when the window rolls.
    assert!(remembers.utilisation() > forgets.utilisation());
}

/// With leases of one unit and answers that take no time the network is gone: it serves what the window-by-window simulation
/// serves, all that can be.
#[test]
fn without_a_network_both_simulations_agree() {
    let (setting, arrivals) = growing(8);
    let latency = Latency { mean_ms: 0.0, jitter_ms: 0.0, seed: 1 };
    let setting = Setting { batch: 1, latency, ..setting };
    let mut demand = vec![vec![0.0; 20]; setting.nodes];
    for (at_ms, node) in &arrivals {
        let window = (0..20).rfind(|window| *at_ms >= f64::from(*window) * setting.window_ms).unwrap();
        demand[*node][usize::try_from(window).unwrap()] += 1.0;
    }
    let outcome = run(&setting, &arrivals);
    assert_eq!(outcome.by_instant, batches(Rules::coupled(setting.limit), 1.0, &demand).admitted);
    for (window, admitted) in outcome.by_instant.iter().enumerate() {
        let wanted: f64 = demand.iter().map(|demand| demand[window]).sum();
        assert_eq!(wanted.min(1_000.0), f64::from(u32::try_from(*admitted).unwrap()), "window {window}");
    }
}
