//! The settings and arrivals behind the published figures, and those beyond them.

use throttlekit::testkit::Mulberry;

use super::{Arrivals, Cut, Debit, Expiry, Latency, Setting};

/// Arrivals at `over` times what the limit allows, four fifths of them on the even nodes.
#[allow(clippy::cast_precision_loss)] // far fewer than 2^53 units and nodes
pub fn uneven(setting: &Setting, over: f64, seed: u32) -> Arrivals {
    let mut random = Mulberry::new(seed);
    let mut arrivals = Arrivals::new();
    for node in 0..setting.nodes {
        let rate = (over * setting.limit as f64) / (setting.window_ms * setting.nodes as f64);
        let rate = rate * if node % 2 == 0 { 1.6 } else { 0.4 };
        let mut at_ms = 0.0;
        loop {
            at_ms += -random.draw().max(1e-12).ln() / rate;
            if at_ms >= setting.horizon_ms() {
                break;
            }
            arrivals.push((at_ms, node));
        }
    }
    sort(&mut arrivals);
    arrivals
}

/// This many arrivals on each node at 1 ms into each window.
pub fn burst(setting: &Setting, each: usize) -> Arrivals {
    let at_ms = |window| f64::from(window) * setting.window_ms + 1.0;
    let of_window = |window| (0..setting.nodes * each).map(move |arrival| (at_ms(window), arrival / each));
    (0..setting.windows).flat_map(of_window).collect()
}

fn sort(arrivals: &mut Arrivals) {
    arrivals.sort_by(|(a_ms, a), (b_ms, b)| a_ms.total_cmp(b_ms).then(a.cmp(b)));
}

/// Larger and larger fleets at three times the limit.
pub fn growing(nodes: u32) -> (Setting, Arrivals) {
    let setting = Setting::new(nodes as usize);
    let arrivals = uneven(&setting, 3.0, 42 + nodes);
    (setting, arrivals)
}

/// All nodes ask at the start of each window, and answers take no time.
pub fn at_once(nodes: usize, expiry: Expiry) -> (Setting, Arrivals) {
    let latency = Latency { mean_ms: 0.0, jitter_ms: 0.0, seed: 1 };
    let setting = Setting { batch: 50, latency, expiry, ..Setting::new(nodes) };
    let arrivals = burst(&setting, 30);
    (setting, arrivals)
}

/// 64 nodes and answers that take longer and longer.
pub fn slower(mean_ms: f64) -> (Setting, Arrivals) {
    let latency = Latency { mean_ms, jitter_ms: mean_ms / 4.0, seed: 2 };
    let setting = Setting { latency, ..Setting::new(64) };
    let arrivals = uneven(&setting, 3.0, 777);
    (setting, arrivals)
}

/// 64 nodes, and 16 of them cut off in the middle if `cut`: the even ones below [`CUT_BELOW`].
pub fn parted(cut: bool) -> (Setting, Arrivals) {
    let latency = Latency { mean_ms: 5.0, jitter_ms: 2.0, seed: 3 };
    let cut = cut.then_some(Cut { below: CUT_BELOW, from_ms: 500.0, until_ms: 1_200.0 });
    let setting = Setting { latency, cut, ..Setting::new(64) };
    let arrivals = uneven(&setting, 3.0, 555);
    (setting, arrivals)
}

/// Nodes from here on are never cut off.
pub const CUT_BELOW: usize = 31;

/// 64 nodes whose answers take nearly as long as a window, at six times the limit. The store takes the units on the way.
pub fn late(expiry: Expiry) -> (Setting, Arrivals) {
    let latency = Latency { mean_ms: 90.0, jitter_ms: 0.0, seed: 1 };
    let setting = Setting { latency, debit: Debit::Halfway, expiry, ..Setting::new(64) };
    let arrivals = uneven(&setting, 6.0, 106);
    (setting, arrivals)
}

/// Everything at once. The limit is 100,000 units a second, a lease an equal part of it. 30,000 units are asked for evenly,
/// and half as much again as the limit in a rush at the start of every second window, when nodes hold what the quiet window
/// before left them. Answers take 10 to 30 ms, one message in twenty is lost, clocks are off by up to 50 ms, and every second
/// node is cut off for a second and a half. Nodes remember that a window is exhausted.
pub fn rough(nodes: usize, expiry: Expiry) -> (Setting, Arrivals) {
    let limit = 100_000;
    let setting = Setting {
        limit,
        batch: limit / nodes as u64,
        window_ms: 1_000.0,
        windows: 6,
        latency: Latency { mean_ms: 20.0, jitter_ms: 10.0, seed: 4 },
        debit: Debit::Halfway,
        expiry,
        loss: 0.05,
        skew_ms: 50.0,
        remember: true,
        cut: Some(Cut { below: nodes, from_ms: 3_500.0, until_ms: 5_000.0 }),
        ..Setting::new(nodes)
    };
    let rushes = burst(&setting, 150_000_usize.div_ceil(nodes));
    let in_odd_window = |at_ms: f64| at_ms % (2.0 * setting.window_ms) >= setting.window_ms;
    let mut arrivals = uneven(&setting, 0.3, 99);
    arrivals.extend(rushes.into_iter().filter(|(at_ms, _)| in_odd_window(*at_ms)));
    sort(&mut arrivals);
    (setting, arrivals)
}
