//! What it costs to count the tokens of an answer while it passes: nanoseconds per chunk in process, and the throughput of
//! a proxy over loopback. That a chunk allocates nothing is a test of the crate. There is no rival to measure beside: no
//! other crate is known to do this.

mod answers;
mod proxy;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use answers::{Answer, CHUNK};
use bench::args::Args;
use bench::keys::{Spread, Traffic};
use bench::measure::{Candidate, Plan, Rounds, Row, Sample, Slice, Verdict};
use bench::report::{self, Claims, Table, one, two};
use http_body::Body;
use serde_json::{Value, json};

const BARE: &str = "bare";

/// An answer without end, chunk by chunk.
struct Contender {
    name: &'static str,
    body: RefCell<Pin<Box<dyn Body<Data = bytes::Bytes, Error = std::convert::Infallible>>>>,
    /// Bytes that came beyond whole chunks.
    beyond: Cell<usize>,
}

impl Contender {
    fn all() -> Result<Vec<Self>, Box<dyn Error>> {
        let mut all = Vec::new();
        for (name, lines, meter) in answers::in_process()? {
            let answer = Answer::endless(lines);
            let body: Pin<Box<dyn Body<Data = bytes::Bytes, Error = std::convert::Infallible>>> = match meter {
                None => Box::pin(answer),
                Some(meter) => Box::pin(throttlekit_llm::MeteredBody::new(answer, meter)),
            };
            all.push(Self { name, body: RefCell::new(body), beyond: Cell::new(0) });
        }
        Ok(all)
    }

    /// As many bytes as a chunk has, in one frame or two; whether they came.
    fn next(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut body = self.body.borrow_mut();
        let mut bytes = self.beyond.get();
        while bytes < CHUNK {
            let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) else { return false };
            bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
        }
        self.beyond.set(bytes - CHUNK);
        true
    }
}

impl Candidate for Contender {
    fn name(&self) -> &str {
        self.name
    }

    fn slice(&self, _traffic: Traffic, _threads: usize, budget: Duration, _seed: u64) -> Sample {
        /// Chunks in one timed stretch.
        const STRETCH: usize = 64;
        let mut slice = Slice::new(budget);
        while !slice.is_full() {
            slice.time(STRETCH, || (0..STRETCH).filter(|_| self.next()).count());
        }
        slice.sample()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    let contenders: Vec<Box<dyn Candidate>> =
        Contender::all()?.into_iter().map(|one| -> Box<dyn Candidate> { Box::new(one) }).collect();
    let traffic = Traffic::new(1, Spread::Uniform);
    let row = Row { name: "one answer, never exhausted", traffic, verdict: Verdict::Allowed };
    let rounds = Rounds::run(&contenders, row, &[1], Plan::new(args.quick));

    report::header("counting answers");
    println!("Chunks of {CHUNK} bytes of a chat completion, in a memory budget.\n");
    let mut table = Table::new(["in process", "ns a chunk", "over bare"]);
    let mut figures: Vec<Value> = Vec::new();
    for name in rounds.names() {
        let (ns, over) = (rounds.ns(name, 1), rounds.over((name, 1), (BARE, 1)));
        table.row([name.clone(), one(ns), one(over)]);
        figures.push(json!({ "body": name, "ns": ns, "over": over }));
    }
    table.print();
    println!("\nWhere chunks end within lines and answers may be cut, a chunk goes out as two frames.\n");

    let plan = proxy::Plan::new(args.quick);
    println!(
        "Over loopback: {} answers at once through a proxy on a core of its own; {} rounds of {} MB each and of as many by the \
         bare proxy next to it; those of them count in which the host took no more of the cores' time than in half.\n",
        plan.answers,
        plan.rounds,
        plan.megabytes()
    );
    let throughput = proxy::run(plan)?;
    let mut table = Table::new(["proxy", "MB/s", "of bare", "ns on a core a chunk", "of bare"]);
    let mut claims = Claims::default();
    for found in &throughput {
        let (rate, busy) = (found.load.megabytes_a_second, found.load.busy_ns);
        let (share, more) = (found.of_bare.megabytes_a_second, found.of_bare.busy_ns);
        table.row([found.name.to_owned(), one(rate), two(share), format!("{busy:.0}"), two(more)]);
        figures.push(json!({ "proxy": found.name, "mbps": rate, "share": share, "busyNs": busy, "busy": more }));
        if found.name.starts_with("counted") {
            claims.at_least(format!("{}: throughput of the bare proxy's", found.name), share, 0.95);
        }
    }
    table.print();
    claims.print();
    report::save("stream", json!({ "figures": figures, "claims": claims.json() }));
    Ok(())
}
