//! What the metrics said, over time.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

const EVERY: Duration = Duration::from_millis(500);

/// What was read, and when.
pub(crate) struct Course {
    /// The seconds since the start, and the values by series.
    pub(crate) readings: Vec<(f64, HashMap<String, f64>)>,
    /// The last text.
    pub(crate) last: String,
}

impl Course {
    /// Reads the metrics until `length` is over.
    pub(crate) async fn watch(address: SocketAddr, start: Instant, length: Duration) -> Result<Self, Box<dyn Error>> {
        let mut course = Self { readings: Vec::new(), last: String::new() };
        let mut at = start;
        while at <= start + length {
            sleep_until(at).await;
            course.last = read(address).await?;
            let values = course.last.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                Some((series.to_owned(), value.parse().ok()?))
            });
            course.readings.push(((at - start).as_secs_f64(), values.collect()));
            at += EVERY;
        }
        Ok(course)
    }
}

/// The text of the metrics, as a Prometheus gets it.
async fn read(address: SocketAddr) -> Result<String, Box<dyn Error>> {
    let (mut sender, connection) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    // It ends when the sender is dropped.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::builder().uri("/metrics").header("host", "localhost").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("the metrics are answered with {}", response.status()).into());
    }
    let body = Body::new(response.into_body()).collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}

#[cfg(feature = "plots")]
mod drawing {
    use plotters::prelude::SeriesLabelPosition;

    use super::Course;
    use crate::load::Phase;
    use crate::plot::{Error, Plot};

    impl Course {
        /// Draws what a dashboard would show of it.
        pub(crate) fn draw(&self, phases: &[Phase]) -> Result<(), Error> {
            let mut asked = Vec::new();
            let mut begin = 0.0;
            for phase in phases {
                let end = begin + phase.length.as_secs_f64();
                asked.extend([(begin, phase.per_second), (end, phase.per_second)]);
                begin = end;
            }
            Plot::new(
                "Decisions: rate(throttlekit_allowed_total), rate(throttlekit_denied_total)",
                "seconds",
                "per second",
            )
            .curve("allowed", self.rate("throttlekit_allowed_total{policy=\"work\"}"))
            .curve("denied", self.rate("throttlekit_denied_total{policy=\"work\"}"))
            .bound("requests", asked)
            .bounds_y(0.0, 240.0)
            .legend(SeriesLabelPosition::UpperRight)
            .save("metrics-decisions")?;

            let by_axis =
                |axis| self.rate(&format!("throttlekit_denied_by_axis_total{{policy=\"work\",axis=\"{axis}\"}}"));
            Plot::new("Denials by axis: rate(throttlekit_denied_by_axis_total)", "seconds", "per second")
                .curve("rate", by_axis("rate"))
                .curve("concurrency", by_axis("concurrency"))
                .legend(SeriesLabelPosition::UpperRight)
                .save("metrics-axes")?;

            Plot::new("Work in flight: throttlekit_guard_inflight, throttlekit_guard_limit", "seconds", "slots")
                .curve("in flight", self.value("throttlekit_guard_inflight{guard=\"work\"}"))
                .bound("limit", self.value("throttlekit_guard_limit{guard=\"work\"}"))
                .bounds_y(0.0, 10.0)
                .legend(SeriesLabelPosition::LowerRight)
                .save("metrics-in-flight")?;

            Plot::new("Decision latency: throttlekit_latency_p50_ms, throttlekit_latency_p99_ms", "seconds", "ms")
                .curve("p50", self.value("throttlekit_latency_p50_ms{policy=\"work\"}"))
                .curve("p99", self.value("throttlekit_latency_p99_ms{policy=\"work\"}"))
                .legend(SeriesLabelPosition::UpperRight)
                .save("metrics-latency")
        }

        /// What a series said.
        fn value(&self, series: &str) -> Vec<(f64, f64)> {
            self.readings.iter().filter_map(|(at, values)| Some((*at, *values.get(series)?))).collect()
        }

        /// By how much a counter grew in each second.
        fn rate(&self, series: &str) -> Vec<(f64, f64)> {
            let values = self.value(series);
            let pairs = values.iter().zip(values.iter().skip(1));
            pairs.map(|((from, before), (to, after))| (*to, (after - before) / (to - from))).collect()
        }
    }
}
