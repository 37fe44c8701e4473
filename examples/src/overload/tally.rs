//! What came of a run.

use super::load::{Answer, Outcome, Phase};
use super::server::Look;

pub(crate) const HEAD: &str = "\
| limit | load | requests/s | answered/s | refused/s | gave up/s | p95 of the answers | in flight, most | limit at the end |
|---|---|---|---|---|---|---|---|---|";

pub(crate) struct Tally {
    pub(crate) answers: Vec<Answer>,
    pub(crate) looks: Vec<Look>,
}

impl Tally {
    /// A line for each phase.
    pub(crate) fn lines(&self, name: &str, phases: &[Phase]) -> Vec<String> {
        let mut begin = 0.0;
        let line = |phase: &Phase| {
            let length = phase.length.as_secs_f64();
            let (from, to) = (begin, begin + length);
            begin = to;
            let within = |at: f64| (from..to).contains(&at);
            let per_second = |outcome| {
                let count = self.answers.iter().filter(|answer| within(answer.at) && answer.outcome == outcome).count();
                rate(count, length)
            };
            let looks = || self.looks.iter().filter(|look| within(look.at));
            let most = looks().map(|look| look.in_flight).max().unwrap_or_default();
            let limit =
                looks().next_back().and_then(|look| look.limit).map_or("none".to_owned(), |limit| limit.to_string());
            let p95 = match self.p95_ms(from, to) {
                Some(ms) => format!("{ms:.0} ms"),
                None => "none".to_owned(),
            };
            let [good, shed, gave_up] = [Outcome::Good, Outcome::Shed, Outcome::GaveUp].map(per_second);
            format!(
                "| {name} | {} | {:.0} | {good:.0} | {shed:.0} | {gave_up:.0} | {p95} | {most} | {limit} |",
                phase.name, phase.per_second
            )
        };
        phases.iter().map(line).collect()
    }

    /// The 95th percentile of the latency of what was sent then and answered in time, in milliseconds.
    fn p95_ms(&self, from: f64, to: f64) -> Option<f64> {
        let answered = |answer: &&Answer| (from..to).contains(&answer.at) && answer.outcome == Outcome::Good;
        let mut latencies: Vec<_> = self.answers.iter().filter(answered).map(|answer| answer.latency).collect();
        latencies.sort_unstable();
        let index = latencies.len() * 95 / 100;
        latencies.get(index).map(|latency| latency.as_secs_f64() * 1_000.0)
    }
}

/// So many in so many seconds.
fn rate(count: usize, seconds: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds
}

#[cfg(feature = "plots")]
pub(crate) use drawing::draw;

#[cfg(feature = "plots")]
mod drawing {
    use plotters::prelude::SeriesLabelPosition;

    use super::{Answer, Look, Outcome, Tally, rate};
    use crate::load::Phase;
    use crate::plot::{Error, Plot};
    use crate::{PATIENCE, capacity};

    /// The length of the spans that answers are counted in, in seconds.
    const SPAN: f64 = 0.25;

    /// Draws three pictures over one time: what was answered, how long it took, and what was in flight.
    pub(crate) fn draw(without: &Tally, with: &Tally, phases: &[Phase]) -> Result<(), Error> {
        let end: f64 = phases.iter().map(|phase| phase.length.as_secs_f64()).sum();

        let mut load = Vec::new();
        let mut begin = 0.0;
        for phase in phases {
            let to = begin + phase.length.as_secs_f64();
            load.extend([(begin, phase.per_second), (to, phase.per_second)]);
            begin = to;
        }
        Plot::new("Answers in time", "seconds", "per second")
            .curve("no limit", without.goodput(end))
            .curve("steady", with.goodput(end))
            .bound("requests", load)
            .bound("capacity", [(0.0, capacity()), (end, capacity())])
            .bounds_y(0.0, 1.6 * capacity())
            .legend(SeriesLabelPosition::UpperRight)
            .save("overload-goodput")?;

        let patience = PATIENCE.as_secs_f64() * 1_000.0;
        Plot::new("Latency of the answers in time, 95th percentile", "seconds", "ms")
            .curve("no limit", without.latency(end))
            .curve("steady", with.latency(end))
            .bound("clients wait", [(0.0, patience), (end, patience)])
            .bounds_y(0.0, 1.1 * patience)
            .legend(SeriesLabelPosition::MiddleRight)
            .save("overload-latency")?;

        let looks = |tally: &Tally| tally.looks.iter().copied().filter(|look| look.at <= end).collect::<Vec<_>>();
        let in_flight = |look: Look| (look.at, f64::from(look.in_flight.max(1)));
        let limit = |look: Look| Some((look.at, f64::from(look.limit?)));
        Plot::new("Requests in flight", "seconds", "requests")
            .log_y()
            .curve("no limit", looks(without).into_iter().map(in_flight))
            .curve("steady", looks(with).into_iter().map(in_flight))
            .bound("its limit", looks(with).into_iter().filter_map(limit))
            .legend(SeriesLabelPosition::LowerRight)
            .save("overload-in-flight")
    }

    impl Tally {
        /// Answers in time, by when they were there.
        fn goodput(&self, end: f64) -> Vec<(f64, f64)> {
            spans(end, |from, to| {
                let in_time = |answer: &&Answer| {
                    let there = answer.at + answer.latency.as_secs_f64();
                    answer.outcome == Outcome::Good && (from..to).contains(&there)
                };
                Some(rate(self.answers.iter().filter(in_time).count(), SPAN))
            })
        }

        fn latency(&self, end: f64) -> Vec<(f64, f64)> {
            spans(end, |from, to| self.p95_ms(from, to))
        }
    }

    fn spans(end: f64, of: impl Fn(f64, f64) -> Option<f64>) -> Vec<(f64, f64)> {
        let begins = (0_u32..).map(|index| SPAN * f64::from(index)).take_while(|from| from + SPAN <= end);
        begins.filter_map(|from| Some((from + SPAN / 2.0, of(from, from + SPAN)?))).collect()
    }
}
