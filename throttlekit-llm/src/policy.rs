//! What is done with the answers of an upstream: one policy, shared by all of them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use throttlekit::{BuildError, Decision, Error, FailMode, MAX_SAFE, Runtime};

use crate::account::Account;
use crate::background::Background;
use crate::count::{BytesPerToken, CountTokens};
use crate::meter::StreamMeter;
use crate::report::Report;
use crate::scan::Framing;

/// What becomes of an answer when nothing is left of its key's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exhausted {
    /// The answer ends, with the last event that its API has for an answer that reached its most tokens. The chunk that was
    /// denied does not go out, and the upstream's body is dropped, which tells the upstream to stop.
    ///
    /// Only answers in lines can end early. One that does not stream was produced before its first byte came, and one that
    /// is compressed cannot be written on: both pass as with [`Finish`](Self::Finish).
    #[default]
    Cut,
    /// The answer goes on, and is charged: the debt is the key's, up to what the meter lets it owe. Where the meter
    /// cannot charge, this is [`NextOnly`](Self::NextOnly).
    Finish,
    /// The answer goes on, and what goes beyond the tokens left is not counted: only the next request is denied. What the
    /// provider says in the end then adds nothing to what was counted, and gives back what the answer has not used.
    NextOnly,
}

/// How an answer is counted that cannot be read, such as a compressed one.
///
/// It passes untouched. A gateway that wants to count tokens asks its upstream for plain answers, with
/// `Accept-Encoding: identity`, and compresses afterwards, if at all.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Opaque {
    /// By its bytes. Compressed text with its framing has about as many bytes for each token as plain text has without.
    Bytes(BytesPerToken),
    /// As what was reserved: nothing is counted while it passes, and nothing is given back.
    Reservation,
}

impl Default for Opaque {
    /// Four bytes are a token.
    fn default() -> Self {
        Self::Bytes(BytesPerToken::default())
    }
}

type Counter = dyn Fn() -> Box<dyn CountTokens> + Send + Sync;
type OnEnd = dyn Fn(&Report<'_>) + Send + Sync;
type OnUnsettled = dyn Fn(&Error) + Send + Sync;

/// Hears of answers that could not be settled.
#[derive(Clone, Default)]
pub(crate) struct Unsettled(Option<Arc<OnUnsettled>>);

impl Unsettled {
    pub(crate) fn tell(&self, settled: Result<Option<Decision>, Error>) {
        if let (Some(told), Err(error)) = (&self.0, settled) {
            // As `on_end`.
            let _ = catch_unwind(AssertUnwindSafe(|| told(&error)));
        }
    }
}

/// What is done with the answers of an upstream; a clone is a handle to the same.
///
/// ```
/// use std::sync::Arc;
/// use throttlekit::budget::{Budget, TokenBudget};
/// use throttlekit_llm::{Exhausted, Framing, MeterAccount, StreamPolicy};
///
/// let policy = StreamPolicy::builder().exhausted(Exhausted::Finish).granularity(32).build()?;
/// let budget = TokenBudget::new(Budget::builder().budget(100_000.0).window_ms(60_000.0).build()?);
/// let meter = policy.start(Framing::Sse, MeterAccount::new(Arc::new(budget), "key-1"));
/// # let _ = meter;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamPolicy {
    settings: Arc<Settings>,
}

/// What a policy says.
struct Settings {
    exhausted: Exhausted,
    granularity: u64,
    /// Open or closed, once it is built.
    fail_mode: FailMode,
    max_line: usize,
    counter: Box<Counter>,
    opaque: Opaque,
    background: Option<Background>,
    on_end: Option<Box<OnEnd>>,
    unsettled: Unsettled,
}

/// Builds a [`StreamPolicy`]; from [`StreamPolicy::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct StreamPolicyBuilder {
    settings: Settings,
}

impl StreamPolicy {
    /// Starts with the defaults.
    pub fn builder() -> StreamPolicyBuilder {
        let settings = Settings {
            exhausted: Exhausted::default(),
            granularity: 1,
            fail_mode: FailMode::default(),
            max_line: 65_536,
            counter: Box::new(|| Box::new(BytesPerToken::default())),
            opaque: Opaque::default(),
            background: None,
            on_end: None,
            unsettled: Unsettled::default(),
        };
        StreamPolicyBuilder { settings }
    }

    /// Starts to count an answer.
    pub fn start(&self, framing: Framing, account: impl Account) -> StreamMeter {
        StreamMeter::new(self.clone(), framing, Box::new(account))
    }

    /// What becomes of an answer when nothing is left.
    pub fn exhausted(&self) -> Exhausted {
        self.settings.exhausted
    }

    /// Whether answers with this framing may be cut, and so may be shorter than they say.
    pub fn may_cut(&self, framing: Framing) -> bool {
        framing.has_lines() && (self.settings.exhausted == Exhausted::Cut || !self.fails_open())
    }

    pub(crate) fn granularity(&self) -> u64 {
        self.settings.granularity
    }

    pub(crate) fn fails_open(&self) -> bool {
        self.settings.fail_mode == FailMode::Open
    }

    pub(crate) fn max_line(&self) -> usize {
        self.settings.max_line
    }

    pub(crate) fn opaque(&self) -> Opaque {
        self.settings.opaque
    }

    pub(crate) fn background(&self) -> Option<&Background> {
        self.settings.background.as_ref()
    }

    pub(crate) fn counter(&self) -> Box<dyn CountTokens> {
        (self.settings.counter)()
    }

    pub(crate) fn ended(&self, report: &Report<'_>) {
        if let Some(on_end) = &self.settings.on_end {
            // It may run while a body is dropped, also while a panic unwinds.
            let _ = catch_unwind(AssertUnwindSafe(|| on_end(report)));
        }
    }

    pub(crate) fn unsettled(&self) -> &Unsettled {
        &self.settings.unsettled
    }
}

impl StreamPolicyBuilder {
    /// What becomes of an answer when nothing is left. Default: [`Exhausted::Cut`].
    pub fn exhausted(mut self, exhausted: Exhausted) -> Self {
        self.settings.exhausted = exhausted;
        self
    }

    /// The fewest tokens of a debit, from 1 to 2^53 - 1. Default: 1.
    ///
    /// Each chunk is debited before it goes out. With more than 1, a debit is ahead of the chunks, and those that follow
    /// ask nobody until it is used up: fewer trips to a store, and a larger last debit that may cross a budget. What is
    /// left over in the end is given back, if the meter takes units back. Where so many are not left, a debit is of what the
    /// chunk needs.
    pub fn granularity(mut self, tokens: u64) -> Self {
        self.settings.granularity = tokens;
        self
    }

    /// What to do while the store is unavailable. Default: [`FailMode::Open`].
    ///
    /// Open, chunks pass, and the next debit that works counts them. Closed, an answer in lines is cut, whatever
    /// [`exhausted`](Self::exhausted) says. A limit that decides in place of the store is a
    /// [`Fallback`](throttlekit::Fallback) as the meter, so [`FailMode::Local`] is refused. Other errors of a meter cut too.
    pub fn fail_mode(mut self, fail_mode: FailMode) -> Self {
        self.settings.fail_mode = fail_mode;
        self
    }

    /// The most bytes of an incomplete line that are held back, from 1. Default: 65,536.
    ///
    /// Where answers can be cut, a chunk goes out up to the end of its last line, so that what a client got always ends
    /// with a line. Of a longer line each chunk is counted and passes as it comes; at exhaustion it goes on to its end, and
    /// is charged. So does a document in several lines of an event, once one of them went out.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.settings.max_line = bytes;
        self
    }

    /// What counts the tokens of an answer, made anew for each. Default: [`BytesPerToken`], four bytes a token.
    pub fn counter<C: CountTokens>(mut self, counter: impl Fn() -> C + Send + Sync + 'static) -> Self {
        self.settings.counter = Box::new(move || Box::new(counter()));
        self
    }

    /// How an answer is counted that cannot be read. Default: by its bytes.
    pub fn opaque(mut self, opaque: Opaque) -> Self {
        self.settings.opaque = opaque;
        self
    }

    /// Who settles answers that were dropped while their store has yet to answer. Default: nobody, and then what was
    /// taken for such an answer and not used stays counted.
    ///
    /// At most 1,024 are settled at once; their tasks end with the policy. Beyond that, and dropped where there is no such
    /// runtime, an answer is not settled, as [`on_unsettled`](Self::on_unsettled) is told.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.settings.background = Some(Background::new(runtime));
        self
    }

    /// Is told how each answer ended, once, before the difference is settled. It may run while the answer is dropped: it
    /// must not wait. A panic in it is dropped.
    pub fn on_end(mut self, on_end: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.settings.on_end = Some(Box::new(on_end));
        self
    }

    /// Is told of each answer that could not be settled, after [`on_end`](Self::on_end): what was counted for it stays
    /// counted, or what it cost beyond that is not. The error is the meter's, or `throttlekit_error` where nobody settles an
    /// answer that was dropped. It is not told of those whose tasks end with the policy. As `on_end` it must not wait, and a
    /// panic in it is dropped.
    pub fn on_unsettled(mut self, on_unsettled: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.settings.unsettled = Unsettled(Some(Arc::new(on_unsettled)));
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `stream.granularity`, `stream.maxLine` or `stream.failMode` if it is not one of those allowed.
    pub fn build(self) -> Result<StreamPolicy, BuildError> {
        let settings = self.settings;
        if !(1..=MAX_SAFE).contains(&settings.granularity) {
            return Err(BuildError::new("stream.granularity", settings.granularity, "must be from 1 to 2^53 - 1"));
        }
        if settings.max_line == 0 {
            return Err(BuildError::new("stream.maxLine", settings.max_line, "must be at least 1"));
        }
        if !matches!(settings.fail_mode, FailMode::Open | FailMode::Closed) {
            let allowed = "must be open or closed; a Fallback is the meter that decides in place of a store";
            return Err(BuildError::new("stream.failMode", settings.fail_mode.as_str(), allowed));
        }
        Ok(StreamPolicy { settings: Arc::new(settings) })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("exhausted", &self.exhausted)
            .field("granularity", &self.granularity)
            .field("fail_mode", &self.fail_mode)
            .field("max_line", &self.max_line)
            .field("opaque", &self.opaque)
            .finish_non_exhaustive()
    }
}
