//! A chunk that is counted in process allocates nothing.

mod support;

use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use support::streams::{chat, messages, ollama, responses};
use support::{account, meter_of, policy};
use throttlekit_llm::{Exhausted, Framing, Source};

/// How often each chunk after the first ones allocates, and the end.
fn allocations(framing: Framing, bytes: &[u8], size: usize, exhausted: Exhausted, granularity: u64) -> (u64, u64) {
    let (meter, _) = meter_of(1_000_000);
    let policy = policy().exhausted(exhausted).granularity(granularity).build().expect("good options");
    let mut answer = policy.start(framing, account(&meter));
    let stream = Bytes::copy_from_slice(bytes);
    // As a server has them: parts of one buffer. The first part makes the buffer one that is shared.
    let mut chunks: Vec<Bytes> =
        (0..stream.len()).step_by(size).map(|at| stream.slice(at..stream.len().min(at + size))).collect();
    chunks.reverse();
    let mut poll = || {
        let mut context = Context::from_waker(Waker::noop());
        let source = |_: &mut Context<'_>| Poll::Ready(chunks.pop().map_or(Source::End, Source::Chunk));
        match answer.poll_chunk::<()>(&mut context, source) {
            Poll::Ready(chunk) => chunk.is_some(),
            Poll::Pending => panic!("memory does not wait"),
        }
    };
    // The key's entry in the meter, and room for the pieces of a line.
    for _ in 0..20 {
        assert!(poll());
    }
    let mut after = 0;
    loop {
        let mut more = false;
        let info = measure(|| more = poll());
        if !more {
            return (after, info.count_total);
        }
        after += info.count_total;
    }
}

#[test]
fn no_chunk_allocates() {
    let texts = ["Hello", " \"quoted\" \\ and\nmore", " w\u{f6}rld \u{1F600}"];
    let texts: Vec<&str> = texts.iter().copied().cycle().take(300).collect();
    let streams = [
        (Framing::Sse, chat(&texts, Some((1, 2)))),
        (Framing::Sse, responses(&texts[..30])),
        (Framing::Sse, messages(&texts)),
        (Framing::Ndjson, ollama(&texts)),
        (Framing::Whole, chat(&texts, None)),
        (Framing::Opaque, chat(&texts, None)),
    ];
    for (framing, bytes) in streams {
        for size in [100, 219, 1_024] {
            for exhausted in [Exhausted::Cut, Exhausted::Finish] {
                for granularity in [1, 32] {
                    if bytes.len() < size * 25 {
                        continue;
                    }
                    let (chunks, _) = allocations(framing, &bytes, size, exhausted, granularity);
                    assert_eq!(chunks, 0, "{framing:?} {exhausted:?} in chunks of {size}, {granularity} ahead");
                }
            }
        }
    }
}
