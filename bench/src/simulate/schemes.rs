//! The schemes of sharing a limit, side by side on the same demand.

use std::error::Error;

use throttlekit::lease::{EoqOptions, EoqSizer};

use super::trace::stationary;
use super::windows::{Fixed, Outcome, Remember, Rules, serve};

/// One hot node and four cold ones share 100 units, for 500 windows.
pub fn hot_and_cold() -> Vec<Vec<f64>> {
    let means = [(500, 80.0), (501, 5.0), (502, 5.0), (503, 5.0), (504, 5.0)];
    means.map(|(seed, mean)| stationary(500, mean, 0.3, seed)).to_vec()
}

/// The limit of [`hot_and_cold`] and of [`alike`].
pub const LIMIT: u64 = 100;

/// `nodes` nodes alike, which ask for half as much again as there is, for 200 windows.
pub fn alike(nodes: u32) -> Vec<Vec<f64>> {
    let mean = (150.0 / f64::from(nodes)).ceil();
    (0..nodes).map(|node| stationary(200, mean, 0.4, 700 + node)).collect()
}

/// Leases of one size.
pub fn batches(rules: Rules, size: f64, demand: &[Vec<f64>]) -> Outcome {
    serve(rules, demand, &mut vec![Fixed(size); demand.len()])
}

/// A sizer that learns, of at most 1,000 units. A trip costs 20.
///
/// # Errors
///
/// If an option is refused.
pub fn sizer(strand_penalty: f64, step_scale: Option<f64>) -> Result<EoqSizer, Box<dyn Error>> {
    let options = EoqOptions::new(20.0, strand_penalty).max_size(1_000.0);
    Ok(step_scale.map_or(options, |scale| options.step_scale(scale)).build()?)
}

/// Leases whose size each node learns, coupled to their windows.
///
/// # Errors
///
/// If an option is refused.
pub fn learnt(
    remember: Remember,
    strand_penalty: f64,
    step_scale: Option<f64>,
    demand: &[Vec<f64>],
) -> Result<Outcome, Box<dyn Error>> {
    let mut sizers = vec![sizer(strand_penalty, step_scale)?; demand.len()];
    Ok(serve(Rules { remember, ..Rules::coupled(LIMIT) }, demand, &mut sizers))
}

/// The step scale that the figures of the learner were first published with. The default is at most 1.
pub fn long_step() -> f64 {
    1_000_f64.ln()
}

/// The rows of the comparison on [`hot_and_cold`].
///
/// # Errors
///
/// If an option is refused.
pub fn compared() -> Result<Vec<(String, Outcome)>, Box<dyn Error>> {
    let demand = hot_and_cold();
    let no_leases = Rules { leases: false, ..Rules::coupled(LIMIT) };
    let mut rows = vec![
        ("a trip for each request".to_owned(), batches(Rules::coupled(LIMIT), 1.0, &demand)),
        ("equal parts, no trips".to_owned(), batches(no_leases, 1.0, &demand)),
    ];
    for (name, rules) in [("carried over", Rules::carried(LIMIT)), ("coupled", Rules::coupled(LIMIT))] {
        for size in [5.0, 10.0, 20.0] {
            rows.push((format!("batch {size}, {name}"), batches(rules, size, &demand)));
        }
    }
    let long = Some(long_step());
    for (name, strand, step) in [
        ("learnt, h 10, step ln 1000", 10.0, long),
        ("learnt, h 10", 10.0, None),
        ("learnt, h 1", 1.0, None),
        ("learnt, h 5", 5.0, None),
        ("learnt, h 20", 20.0, None),
    ] {
        rows.push((name.to_owned(), learnt(Remember::Never, strand, step, &demand)?));
    }
    for (name, remember, step) in [
        ("learnt, h 10, empty grants remembered", Remember::Empty, None),
        ("learnt, h 10, short grants remembered", Remember::Short, None),
        ("the same, step ln 1000, empty", Remember::Empty, long),
        ("the same, step ln 1000, short", Remember::Short, long),
    ] {
        rows.push((name.to_owned(), learnt(remember, 10.0, step, &demand)?));
    }
    Ok(rows)
}
