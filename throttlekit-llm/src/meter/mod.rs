//! One answer, chunk by chunk: nothing goes out before it is counted.

mod chunks;
mod close;
mod pieces;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use throttlekit::{Decision, Error, ErrorKind, MAX_SAFE, Run};

use crate::account::Account;
use crate::answer::{Dialect, Event, Shape, Told};
use crate::count::{CountTokens, UsageOnly};
use crate::policy::{Exhausted, Opaque, StreamPolicy};
use crate::report::End;
use crate::scan::{Framing, Scanner};

use pieces::{Queue, Tail};

/// What the upstream's body gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<E> {
    /// A chunk.
    Chunk(Bytes),
    /// A chunk after which nothing comes.
    Last(Bytes),
    /// Nothing more comes.
    End,
    /// It failed.
    Failed(E),
}

/// Counts the tokens of one answer as it passes, for the body type of any framework; from
/// [`StreamPolicy::start`]. [`MeteredBody`](crate::MeteredBody) is one over `http_body`.
///
/// Ask it for a chunk where the framework asks the body for one, and give it what the upstream has:
///
/// ```
/// use std::sync::Arc;
/// use std::task::{Context, Poll, Waker};
///
/// use bytes::Bytes;
/// use throttlekit::budget::{Budget, TokenBudget};
/// use throttlekit_llm::{Framing, MeterAccount, Source, StreamPolicy};
///
/// let budget = Budget::builder().budget(2.0).window_ms(60_000.0).build()?;
/// let budget = Arc::new(TokenBudget::new(budget));
/// let policy = StreamPolicy::builder().build()?;
/// let mut meter = policy.start(Framing::Sse, MeterAccount::new(budget, "key-1"));
///
/// let event = |text| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
/// let mut upstream = ["four", "more", "lost"].into_iter().map(|text| Bytes::from(event(text)));
/// let mut context = Context::from_waker(Waker::noop());
/// let mut sent = Vec::new();
/// while let Poll::Ready(Some(Ok(chunk))) = meter.poll_chunk::<()>(&mut context, |_| {
///     Poll::Ready(upstream.next().map_or(Source::End, Source::Chunk))
/// }) {
///     sent.push(chunk);
/// }
/// assert_eq!(sent.len(), 3);
/// assert_eq!(sent[1], event("more"));
/// assert!(meter.is_cut());
/// assert!(sent[2].ends_with(b"data: [DONE]\n\n")); // after an event with the finish reason `length`
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// # What it promises
///
/// - **Before**: a chunk goes out when its tokens are counted, and not earlier. While a store has yet to answer, the chunk
///   is held and the upstream is not asked for more.
/// - **Untouched**: what goes out is what came in. Where the policy can cut, a chunk that ends within a line goes out up to
///   the last end of a line, and the rest with what follows it; no byte is copied.
/// - **Once**: what went out is counted exactly once, however the answer ends. What the provider says of its tokens comes
///   before what was estimated: the difference is charged or given back when the answer is over.
/// - **Memory**: an incomplete line up to [the bound](crate::StreamPolicyBuilder::max_line), and where in the answer it is.
///   A chunk of complete lines allocates nothing.
///
/// # Cancel safety
///
/// Dropped at any point, it settles with what went out. Where the store answers at once, that is done when the drop
/// returns. Otherwise [the runtime](crate::StreamPolicyBuilder::runtime) of the policy does it, also for a debit that was
/// under way; without one, what was taken and not used stays counted.
pub struct StreamMeter {
    policy: StreamPolicy,
    scanner: Scanner,
    dialect: Option<Dialect>,
    /// None once it is settled.
    account: Option<Box<dyn Account>>,
    /// Tokens of the request, if they are counted.
    input: Option<u64>,
    counts: Counts,
    /// Tokens that the account has counted.
    paid: u64,
    /// Tokens that went out and will not be counted.
    forgiven: u64,
    /// What the scanner has counted.
    produced: u64,
    /// What the scanner had counted after what went out last.
    passed: u64,
    /// How the answer stood after what may go out.
    shape: Shape,
    /// What the provider has said in that.
    told: Told,
    /// An incomplete line that has not gone out.
    tail: Tail,
    /// What of a chunk is to be looked at when the rest of it has gone out.
    rest: Bytes,
    /// The upstream has nothing more than that.
    last: bool,
    /// What may go out, then what waits for the answer of the account.
    queue: Queue,
    asked: Option<Asked>,
    /// The answer is to be cut, once what went out in part is complete.
    cutting: bool,
    phase: Phase,
    end: End,
    error: Option<Error>,
}

/// A debit or charge that is under way.
struct Asked {
    run: Run<Result<Decision, Error>>,
    tokens: u64,
    charge: bool,
}

/// How tokens that go out are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// If there are any left.
    Debits,
    /// Whatever is left: nothing was, and the answer goes on.
    Charges,
    /// Not at all.
    Nothing,
}

enum Phase {
    Open,
    /// Nothing more comes from the upstream.
    Ended,
    Settling(Run<Result<Option<Decision>, Error>>),
    Over,
}

impl StreamMeter {
    pub(crate) fn new(policy: StreamPolicy, framing: Framing, account: Box<dyn Account>) -> Self {
        let counter: Box<dyn CountTokens> = match (framing, policy.opaque()) {
            (Framing::Opaque, Opaque::Bytes(counter)) => Box::new(counter),
            (Framing::Opaque, Opaque::Reservation) => Box::new(UsageOnly),
            _ => policy.counter(),
        };
        let scanner = Scanner::boxed(framing, counter);
        // Room for the pieces of a line, so that they need none later; only a line of more pieces does.
        let pieces = if policy.may_cut(framing) { 16 } else { 1 };
        Self {
            shape: scanner.shape(),
            told: Told::default(),
            policy,
            scanner,
            dialect: None,
            paid: account.prepaid(),
            account: Some(account),
            input: None,
            counts: Counts::Debits,
            forgiven: 0,
            produced: 0,
            passed: 0,
            tail: Tail::new(pieces),
            rest: Bytes::new(),
            last: false,
            queue: Queue::new(pieces),
            asked: None,
            cutting: false,
            phase: Phase::Open,
            end: End::Dropped,
            error: None,
        }
    }

    /// Counts the tokens of the request too: an estimate, which what the provider says replaces. Default: they are not
    /// counted.
    #[must_use]
    pub fn with_input(mut self, tokens: u64) -> Self {
        self.input = Some(tokens.min(MAX_SAFE));
        self
    }

    /// Counts nothing, and gives back what was taken: for an answer that costs nothing, such as an error of the upstream.
    #[must_use]
    pub fn free(mut self) -> Self {
        self.counts = Counts::Nothing;
        self
    }

    /// Says by which API the answer is written, for an answer that is cut before that is clear: the one of the request, such
    /// as [`Dialect::of_path`] tells.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// The next chunk that may go out. `source` is asked for more when there is need; it is not asked again after it has
    /// ended or failed, nor once the answer [is cut](Self::is_cut).
    ///
    /// # Errors
    ///
    /// Those of the source, after which nothing comes.
    pub fn poll_chunk<E>(
        &mut self,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Source<E>>,
    ) -> Poll<Option<Result<Bytes, E>>> {
        loop {
            if let Some(asked) = &mut self.asked {
                let result = ready!(Pin::new(&mut asked.run).poll(cx));
                let (tokens, charge) = (asked.tokens, asked.charge);
                self.asked = None;
                self.answered(result, tokens, charge);
                continue;
            }
            match &mut self.phase {
                // Before the last chunk goes out: a server may not ask again after it.
                Phase::Open if self.last && self.rest.is_empty() => self.complete(),
                Phase::Open => {
                    if let Some(chunk) = self.next() {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    if !self.rest.is_empty() {
                        let rest = std::mem::take(&mut self.rest);
                        self.take(rest);
                        continue;
                    }
                    match ready!(source(cx)) {
                        Source::Chunk(chunk) => self.take(chunk),
                        Source::Last(chunk) => {
                            self.last = true;
                            self.take(chunk);
                        }
                        Source::End => self.last = true,
                        Source::Failed(error) => {
                            self.end = End::Failed;
                            self.abandon();
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
                Phase::Ended => {
                    let settled = self.close(0).map(|(account, tokens)| account.settle(tokens).now());
                    self.phase = match settled {
                        Some(Err(run)) => Phase::Settling(run),
                        Some(Ok(settled)) => {
                            self.policy.unsettled().tell(settled);
                            Phase::Over
                        }
                        None => Phase::Over,
                    };
                }
                Phase::Settling(run) => {
                    self.policy.unsettled().tell(ready!(Pin::new(run).poll(cx)));
                    self.phase = Phase::Over;
                }
                Phase::Over => return Poll::Ready(self.next().map(Ok)),
            }
        }
    }

    /// Whether the last chunk was given out, and all is settled.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.queue.is_empty()
    }

    /// Whether the answer is cut: the upstream's body should be dropped.
    pub fn is_cut(&self) -> bool {
        self.end == End::Cut
    }

    /// What was read so far.
    pub fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Tokens that the account has counted so far.
    pub fn counted(&self) -> u64 {
        self.paid
    }

    /// Bytes that came and have not gone out.
    pub fn held(&self) -> u64 {
        (self.queue.bytes() + self.tail.len() + self.rest.len()) as u64
    }

    /// Whether chunks may be held back.
    pub fn may_cut(&self) -> bool {
        self.counts != Counts::Nothing && self.policy.may_cut(self.scanner.framing())
    }

    /// What may go out next. Nothing is under way.
    fn next(&mut self) -> Option<Bytes> {
        let (chunk, counted) = self.queue.pop()?;
        self.passed = counted;
        Some(chunk)
    }

    /// The upstream has nothing more.
    fn complete(&mut self) {
        // What a client gets of a line that has no end is a line to it.
        self.release_tail();
        self.scanner.finish();
        self.produced = self.scanner.tokens();
        (self.end, self.phase) = (End::Completed, Phase::Ended);
        self.ask();
    }

    /// Tokens that are to go out, and are not counted.
    fn due(&self) -> u64 {
        if self.counts == Counts::Nothing {
            return 0;
        }
        let produced = self.produced.saturating_add(self.input.unwrap_or(0));
        produced.saturating_sub(self.forgiven).saturating_sub(self.paid).min(MAX_SAFE)
    }

    /// Counts what is to go out.
    fn ask(&mut self) {
        let due = self.due();
        if due == 0 {
            return self.pass();
        }
        let charge = self.counts == Counts::Charges || self.cutting;
        self.count(if charge { due } else { due.max(self.policy.granularity()) }, charge);
    }

    fn count(&mut self, tokens: u64, charge: bool) {
        let Some(account) = &self.account else { return };
        let run = if charge { account.charge(tokens) } else { account.debit(tokens) };
        // Where it is: of fields that were written just now, processors are slow to read several at once.
        if let Run::Ready(Some(Ok(decision))) = &run {
            if decision.allowed || charge {
                return self.accepted(tokens, decision);
            }
        }
        match run.now() {
            Ok(result) => self.answered(result, tokens, charge),
            Err(run) => self.asked = Some(Asked { run, tokens, charge }),
        }
    }

    fn accepted(&mut self, tokens: u64, decision: &Decision) {
        self.paid = self.paid.saturating_add(tokens);
        if let Some(account) = &mut self.account {
            account.counted(tokens, decision);
        }
        self.pass();
    }

    fn answered(&mut self, result: Result<Decision, Error>, tokens: u64, charge: bool) {
        match result {
            Ok(decision) if decision.allowed || charge => self.accepted(tokens, &decision),
            Ok(_) => {
                let due = self.due();
                if tokens > due {
                    // So many are not left; these few may be.
                    return self.count(due, false);
                }
                self.denied();
            }
            Err(error) => self.failed(error),
        }
    }

    /// What waited may go out.
    fn pass(&mut self) {
        self.queue.pass();
        self.scanner.keep(&mut self.shape, &mut self.told);
        // What the upstream leaves incomplete stays so.
        if self.cutting && (self.can_end() || matches!(self.phase, Phase::Ended)) {
            self.cut_off();
        }
    }

    fn forgive(&mut self) {
        self.forgiven = self.forgiven.saturating_add(self.due());
        self.pass();
    }

    fn denied(&mut self) {
        match self.policy.exhausted() {
            Exhausted::NextOnly => self.forgive(),
            Exhausted::Cut if self.may_cut() => self.cut(),
            Exhausted::Cut | Exhausted::Finish => {
                self.counts = Counts::Charges;
                self.ask();
            }
        }
    }

    fn failed(&mut self, error: Error) {
        let unsupported = error.kind() == ErrorKind::Unsupported;
        let open = error.is_store_unavailable() && self.policy.fails_open();
        self.error = Some(error);
        if unsupported {
            self.forgive();
        } else if open || !self.may_cut() || self.cutting {
            self.pass();
        } else {
            self.cut();
        }
    }

    /// What waits does not go out, unless it is of a line or a document of which a part did.
    fn cut(&mut self) {
        if self.can_end() {
            self.cut_off();
        } else {
            self.cutting = true;
            self.ask();
        }
    }

    /// Whether what went out is complete, so that a last event may follow.
    fn can_end(&self) -> bool {
        self.shape.is_at_line_start() && self.shape.event != Event::Open
    }
}

impl fmt::Debug for StreamMeter {
    /// Shows no text of the answer, and no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamMeter")
            .field("scanner", &self.scanner)
            .field("counted", &self.paid)
            .field("held", &self.held())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
