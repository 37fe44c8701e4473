//! The pictures of the documentation, from the simulations.

use plotters::prelude::SeriesLabelPosition;

use super::fleet::settings::rough;
use super::fleet::{Expiry, run};
use super::learners::{best_fixed, learnt, steady};
use super::lengths::heavy_tail;
use super::meter::{self, Policy};
use super::reservations;
use super::schemes::{LIMIT, batches, hot_and_cold, long_step, sizer};
use super::windows::{Outcome, Remember, Rules, serve};
use crate::plot::{Error, Plot};

/// All of them, by the names of their files.
///
/// # Errors
///
/// If an option is refused.
pub fn plots() -> Result<Vec<(&'static str, Plot)>, Error> {
    Ok(vec![
        ("overshoot", overshoot()),
        ("utilisation", utilisation()?),
        ("trips", trips()?),
        ("lease-regret", lease_regret()?),
        ("reservation-regret", reservation_regret()?),
        ("cap", cap()),
    ])
}

/// Fleets with lost messages, wrong clocks and nodes that are cut off.
#[allow(clippy::cast_precision_loss)] // at most a few times the limit
fn overshoot() -> Plot {
    let fleets = [8, 64, 512, 2_048, 10_000_u32];
    let line = |expiry| {
        let overshoot = move |nodes: u32| {
            let (setting, arrivals) = rough(nodes as usize, expiry);
            run(&setting, &arrivals).overshoot() as f64 / setting.limit as f64
        };
        fleets.map(|nodes| (f64::from(nodes), overshoot(nodes)))
    };
    Plot::new("Overshoot of the worst window", "nodes", "part of the limit")
        .log_x()
        .bounds_y(0.0, 1.0)
        .legend(SeriesLabelPosition::UpperRight)
        .line("credits outlive their window", line(Expiry::Never))
        .line("credits end by the node's clock, 50 ms off", line(Expiry::OwnClock))
        .line("credits end by the time since asking", line(Expiry::SinceAsked))
}

/// Batches up to this size.
const LARGEST: u32 = 40;

/// A figure of each batch size on the demand of one hot node and four cold ones.
fn by_batch(rules: Rules, figure: fn(&Outcome) -> f64) -> Vec<(f64, f64)> {
    let demand = hot_and_cold();
    let sizes = (1..=LARGEST).map(f64::from);
    sizes.map(|size| (size, figure(&batches(rules, size, &demand)))).collect()
}

/// The same with sizes that are learnt, as a line across.
fn by_learner(remember: Remember, figure: fn(&Outcome) -> f64) -> Result<[(f64, f64); 2], Error> {
    let demand = hot_and_cold();
    let rules = Rules { remember, ..Rules::coupled(LIMIT) };
    let outcome = serve(rules, &demand, &mut vec![sizer(10.0, None)?; demand.len()]);
    Ok([(1.0, figure(&outcome)), (f64::from(LARGEST), figure(&outcome))])
}

fn utilisation() -> Result<Plot, Error> {
    let used: fn(&Outcome) -> f64 = |outcome| outcome.utilisation;
    let parts = Rules { leases: false, ..Rules::coupled(LIMIT) };
    let equal = batches(parts, 1.0, &hot_and_cold()).utilisation;
    Ok(Plot::new("Utilisation without overshoot: one hot node, four cold ones", "batch", "utilisation")
        .bounds_y(0.0, 1.1)
        .legend(SeriesLabelPosition::LowerLeft)
        .line("batches of one size", by_batch(Rules::coupled(LIMIT), used))
        .bound("sizes learnt by each node", by_learner(Remember::Short, used)?)
        .bound("equal parts, no leases", [(1.0, equal), (f64::from(LARGEST), equal)]))
}

fn trips() -> Result<Plot, Error> {
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let trips: fn(&Outcome) -> f64 = |outcome| outcome.trips as f64;
    let remember = Rules { remember: Remember::Short, ..Rules::coupled(LIMIT) };
    Ok(Plot::new("Trips to the store for 51,186 requests", "batch", "trips")
        .log_y()
        .bounds_y(1_000.0, 200_000.0)
        .legend(SeriesLabelPosition::UpperRight)
        .line("batches of one size", by_batch(Rules::coupled(LIMIT), trips))
        .line("the same, exhaustion remembered", by_batch(remember, trips))
        .bound("sizes learnt", by_learner(Remember::Never, trips)?)
        .bound("sizes learnt, exhaustion remembered", by_learner(Remember::Short, trips)?))
}

const HORIZONS: [u32; 7] = [100, 200, 400, 800, 1_600, 3_200, 6_400];

fn lease_regret() -> Result<Plot, Error> {
    let line = |step| -> Result<Vec<(f64, f64)>, Error> {
        let regret = |windows| {
            let trace = steady(windows);
            let paid = learnt(&trace, step)?.0;
            Ok((f64::from(windows), (paid - best_fixed(&trace)) / f64::from(windows)))
        };
        HORIZONS.into_iter().map(regret).collect()
    };
    Ok(Plot::new("Learning the size of leases: cost above the best size", "windows", "mean regret in a window")
        .log_x()
        .log_y()
        .legend(SeriesLabelPosition::UpperRight)
        .line("default step", line(None)?)
        .line("step ln 1000", line(Some(long_step()))?))
}

fn reservation_regret() -> Result<Plot, Error> {
    let regret = |requests: u32| {
        let lengths = reservations::steady(requests as usize);
        let paid = reservations::learn(&mut reservations::learner()?, &lengths).whole;
        Ok((f64::from(requests), (paid - reservations::best_fixed(&lengths).0) / f64::from(requests)))
    };
    let regrets: Vec<(f64, f64)> = HORIZONS.into_iter().map(regret).collect::<Result<_, Error>>()?;
    let bound = |requests: u32| 1.5 * reservations::CAP * 4.0 / f64::from(requests).sqrt();
    Ok(Plot::new("Learning reservations: cost above the best one", "requests", "mean regret of a request")
        .log_x()
        .log_y()
        .legend(SeriesLabelPosition::UpperRight)
        .line("learner", regrets)
        .bound("what is promised", HORIZONS.map(|requests| (f64::from(requests), bound(requests)))))
}

fn cap() -> Plot {
    let line = |policy| {
        let caps = [64.0, 128.0, 256.0, 384.0, 512.0, 768.0, 1_024.0, 1_536.0, 2_048.0];
        caps.map(|cap| {
            let setting = meter::Setting { budget: 1_000.0, slots: 4, cap, chunk: 1.0, rounds: 500 };
            (cap, meter::run(policy, setting, &heavy_tail(400, 120.0, cap, 7)).utilisation)
        })
    };
    Plot::new("A budget of 1,000 tokens, requests of about 120", "longest possible request", "utilisation")
        .bounds_y(0.0, 1.1)
        .legend(SeriesLabelPosition::MiddleRight)
        .line("the longest is reserved", line(Policy::ReserveMost))
        .line("what is produced is metered", line(Policy::Stream))
}
