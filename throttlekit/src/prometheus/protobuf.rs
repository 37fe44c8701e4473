//! The protobuf format, which alone has native histograms: messages `io.prometheus.client.MetricFamily`, each after its length.
//!
//! Three kinds of fields of four messages do not make up for a generator and its run time in every build.

use super::family::{Families, Kind};
use super::histogram::{FIRST_INDEX, Latencies, SCHEMA};

/// What the format is called.
pub(super) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Writes one family of series after the other.
#[derive(Default)]
pub(super) struct Protobuf {
    out: Vec<u8>,
    family: Message,
    kind: Option<Kind>,
    has_samples: bool,
}

impl Protobuf {
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_family();
        self.out
    }

    /// Writes the family down, unless it is empty.
    fn end_family(&mut self) {
        let family = std::mem::take(&mut self.family);
        if std::mem::take(&mut self.has_samples) {
            varint(&mut self.out, family.0.len() as u64);
            self.out.extend(family.0);
        }
    }

    fn metric(&mut self, labels: &[(&str, &str)], field: u64, value: &Message) {
        let mut metric = Message::default();
        for (name, value) in labels {
            let mut label = Message::default();
            label.bytes(1, name.as_bytes());
            label.bytes(2, value.as_bytes());
            metric.bytes(1, &label.0);
        }
        metric.bytes(field, &value.0);
        self.family.bytes(4, &metric.0);
        self.has_samples = true;
    }
}

impl Families for Protobuf {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.end_family();
        self.kind = Some(kind);
        self.family.bytes(1, name.as_bytes());
        self.family.bytes(2, help.as_bytes());
        let number = match kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Histogram => 4,
        };
        self.family.number(3, number);
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut message = Message::default();
        message.double(1, value);
        let field = if self.kind == Some(Kind::Counter) { 3 } else { 2 };
        self.metric(labels, field, &message);
    }

    fn histogram(&mut self, labels: &[(&str, &str)], latencies: &Latencies) {
        let mut message = Message::default();
        message.number(1, latencies.count());
        message.double(2, latencies.sum_seconds());
        // As in the text, for those who do not keep native histograms.
        for (bound, below) in latencies.cumulative() {
            let mut bucket = Message::default();
            bucket.number(1, below);
            bucket.double(2, bound);
            message.bytes(3, &bucket.0);
        }
        message.signed(5, i64::from(SCHEMA));
        message.double(6, f64::from(FIRST_INDEX - 1).exp2().powf(1.0 / f64::from(1_u32 << SCHEMA)));
        let (zero, positive) = latencies.buckets.split_first().map_or((0, &[][..]), |(zero, rest)| (*zero, rest));
        message.number(7, zero);
        for (offset, length) in spans(positive) {
            let mut span = Message::default();
            span.signed(1, offset);
            span.number(2, length);
            message.bytes(12, &span.0);
        }
        let mut before = 0;
        for count in positive.iter().copied().filter(|count| *count > 0) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            message.signed(13, count - before);
            before = count;
        }
        self.metric(labels, 7, &message);
    }
}

/// Stretches of buckets that are not empty: how far each is from the end of the one before, and its length. The first is told
/// from bucket 0, which ends with 1 s.
fn spans(buckets: &[u64]) -> Vec<(i64, u64)> {
    let mut spans = Vec::<(i64, u64)>::new();
    let mut gap = i64::from(FIRST_INDEX);
    let mut within = false;
    for count in buckets {
        if *count == 0 {
            gap += 1;
        } else if let (true, Some(span)) = (within, spans.last_mut()) {
            span.1 += 1;
        } else {
            spans.push((gap, 1));
            gap = 0;
        }
        within = *count > 0;
    }
    spans
}

/// The fields of a message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u64, value: u64) {
        varint(&mut self.0, field << 3);
        varint(&mut self.0, value);
    }

    /// Small numbers of either sign in few bytes.
    #[allow(clippy::cast_sign_loss)] // the sign is moved to the lowest bit
    fn signed(&mut self, field: u64, value: i64) {
        self.number(field, ((value << 1) ^ (value >> 63)) as u64);
    }

    fn double(&mut self, field: u64, value: f64) {
        varint(&mut self.0, field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, value.len() as u64);
        self.0.extend(value);
    }
}

/// Seven bits in each byte, the lowest first; the eighth says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        #[allow(clippy::cast_possible_truncation)] // masked
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)] // as the loop has left it
    out.push(value as u8);
}
