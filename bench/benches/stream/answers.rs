//! Answers in chunks of one size, and what counts them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::{BuildError, Refund};
use throttlekit_llm::{Exhausted, Framing, MeterAccount, StreamMeter, StreamPolicy};

/// The size of a chunk.
pub(crate) const CHUNK: usize = 1_024;
/// Events in a chunk.
const EVENTS: usize = 4;
/// Different chunks.
const CHUNKS: usize = 64;

/// How chunks and lines meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// A chunk ends where an event does, as a server that flushes its events has it.
    Whole,
    /// A chunk ends anywhere, as a network has it.
    Cut,
}

/// A chat completion whose chunks come as fast as they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    chunks: Arc<[Bytes]>,
    next: usize,
    left: Option<usize>,
}

impl Answer {
    pub(crate) fn endless(lines: Lines) -> Self {
        let mut text = String::new();
        for chunk in 0..CHUNKS {
            for event in 0..EVENTS {
                let start = format!(
                    "data: {{\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
                     \"model\":\"model-1\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp\",\"choices\":[\
                     {{\"index\":0,\"delta\":{{\"content\":\" word{chunk:02}{event}\"}},\"logprobs\":null,\
                     \"finish_reason\":null}}],\"usage\":null"
                );
                let size = CHUNK / EVENTS;
                let end = "}\n\n";
                assert!(start.len() + end.len() <= size, "a longer event would end in another chunk");
                // Spaces are nothing to JSON.
                text.push_str(&start);
                text.extend(std::iter::repeat_n(' ', size - start.len() - end.len()));
                text.push_str(end);
            }
        }
        let all = Bytes::from(text);
        // Twice the same: a chunk that ends anywhere reaches into the next one.
        let twice = Bytes::from([&all[..], &all[..]].concat());
        let shift = if lines == Lines::Cut { 100 } else { 0 };
        let chunks = (0..CHUNKS).map(|chunk| twice.slice(shift + chunk * CHUNK..shift + (chunk + 1) * CHUNK)).collect();
        Self { chunks, next: 0, left: None }
    }

    /// Of so many chunks.
    pub(crate) fn of(mut self, chunks: usize) -> Self {
        self.left = Some(chunks);
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    #[inline]
    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(left) = &mut self.left {
            let Some(less) = left.checked_sub(1) else { return Poll::Ready(None) };
            *left = less;
        }
        let chunk = self.chunks.get(self.next % CHUNKS).cloned();
        self.next = self.next.wrapping_add(1);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// When tokens are debited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debits {
    /// At least so many at a time, before they go out.
    Of(u64),
    /// More than the answer has, when its request is admitted.
    Before,
}

/// Counts answers from one budget, which is never used up.
#[derive(Clone)]
pub(crate) struct Counting {
    policy: StreamPolicy,
    budget: Arc<TokenBudget>,
    taken: f64,
}

impl Counting {
    pub(crate) fn new(exhausted: Exhausted, debits: Debits) -> Result<Self, BuildError> {
        let (granularity, taken) = match debits {
            Debits::Of(tokens) => (tokens, 0.0),
            Debits::Before => (1, 1e12),
        };
        let policy = StreamPolicy::builder().exhausted(exhausted).granularity(granularity).build()?;
        let budget = Budget::builder().budget(9e15).window_ms(1e12).build()?;
        Ok(Self { policy, budget: Arc::new(TokenBudget::new(budget)), taken })
    }

    pub(crate) fn start(&self) -> StreamMeter {
        let account = MeterAccount::with_taken(self.budget.clone(), "key-1", Refund::new(self.taken));
        self.policy.start(Framing::Sse, account)
    }
}

/// The name of what is compared, how its chunks come, and what counts them.
pub(crate) type Compared = (&'static str, Lines, Option<StreamMeter>);

/// All that is compared in process.
pub(crate) fn in_process() -> Result<Vec<Compared>, BuildError> {
    let counted = |exhausted, debits| Counting::new(exhausted, debits).map(|counting| Some(counting.start()));
    Ok(vec![
        ("bare", Lines::Whole, None),
        ("counted, whole lines", Lines::Whole, counted(Exhausted::Cut, Debits::Of(1))?),
        ("counted, whole lines, tokens taken at admission", Lines::Whole, counted(Exhausted::Cut, Debits::Before)?),
        ("counted, cut lines", Lines::Cut, counted(Exhausted::Cut, Debits::Of(1))?),
        ("counted, cut lines, tokens taken at admission", Lines::Cut, counted(Exhausted::Cut, Debits::Before)?),
        ("counted, cut lines, may not cut", Lines::Cut, counted(Exhausted::Finish, Debits::Of(1))?),
    ])
}
