//! From nodes to a [`Config`]: names, types and what belongs together.

use super::blocks::LimiterKind;
use super::decode_blocks;
use super::decode_concurrency::concurrency;
use super::decode_http::http;
use super::decode_sketches::{deny_list, screen};
use super::decode_store::{Env, store};
use super::error::Position;
use super::fields::{
    Context, Converted, Fields, Leftover, REQUIRED, Range, boolean, number, one_of, positive, text, whole,
};
use super::limiter_path;
use super::node::{Entry, Node, Value, number_text};
use super::spec::{AdvertiseSpec, Config, LimiterSpec, QuotaPeriod, StrategySpec};
use super::strategy::{AT_LEAST_ONE, EXACT, LOG, POSITIVE, WINDOW};
use crate::duration::parse_duration_ms;
use crate::fallback::{FailMode, Share};
use crate::headers::MAX_STRUCTURED;
use crate::store::memory::TableBuilder;
use crate::strategy::sliding_window::MOST_BUCKETS;

/// Blocks of a configuration that only servers of the family run.
const FOREIGN_BLOCKS: [&str; 4] = ["federatedFairEscrow", "distributedConcurrency", "federated", "stores"];

/// The fields that only some strategies use.
pub(super) const USED_BY: [(&str, &str); 13] = [
    ("limit", "gcra, fixedWindow, slidingWindow, slidingWindowLog, quota"),
    ("period", "gcra, fixedWindow, slidingWindow, slidingWindowLog, quota (fixed, rolling)"),
    ("periodMs", "gcra, quota (fixed, rolling)"),
    ("windowMs", "gcra, fixedWindow, slidingWindow, slidingWindowLog"),
    ("burst", "gcra"),
    ("exact", "gcra"),
    ("capacity", "tokenBucket"),
    ("refillPerSec", "tokenBucket"),
    ("buckets", "slidingWindow, quota (rolling)"),
    ("resetCadence", "quota"),
    ("offsetMinutes", "quota (calendar-month, calendar-week, calendar-day)"),
    ("weekStartsOn", "quota (calendar-week)"),
    ("anchor", "quota (fixed)"),
];

/// The farthest anchor of a quota, in milliseconds: 2^53 - 1, the largest whole number that every format can say.
const MAX_INSTANT: i64 = (1 << 53) - 1;

/// A configuration as far as it could be read, and what is needed to judge it.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) config: Config,
    pub(super) cx: Context,
    /// The names of limiters that could not be read: no rule is wrong for naming one.
    pub(super) broken: Vec<String>,
}

/// Reads the whole document; `env` looks up variables of the environment.
pub(super) fn decode(root: &Node, env: Env<'_>) -> Decoded {
    let mut decoded = Decoded::default();
    let Decoded { config, cx, broken } = &mut decoded;
    let empty = Node { at: Position::START, value: Value::Map(Vec::new()) };
    let root = if matches!(root.value, Value::Null) { &empty } else { root };
    if !matches!(root.value, Value::Map(_)) {
        cx.problem("config", root.at, format!("expected a map at the top level, found {}", root.value));
        return decoded;
    }
    let Some(mut fields) = Fields::new(cx, "config", root.at, root) else { return decoded };
    fields.optional(cx, "version", version);
    if let Some(mut defaults) = section(&mut fields, cx, "defaults") {
        config.default_prefix = defaults.optional(cx, "prefix", prefix);
        defaults.finish(cx, |_| Leftover::Unknown);
    }
    if let Some(mut compat) = section(&mut fields, cx, "compat") {
        config.shared_default_prefix = compat.optional(cx, "sharedDefaultsPrefix", boolean).unwrap_or_default();
        compat.finish(cx, |_| Leftover::Unknown);
    }
    config.store = store(&mut fields, cx, env);
    limiters(&mut fields, cx, config, broken);
    if let Some(fields) = section(&mut fields, cx, "http") {
        config.http = http(fields, cx, env);
    }
    fields.finish(cx, foreign_or_unknown);
    decoded
}

/// A map below the top level.
pub(super) fn section<'n>(fields: &mut Fields<'n>, cx: &mut Context, name: &'static str) -> Option<Fields<'n>> {
    let Entry { key_at, node, .. } = fields.take(name)?;
    Fields::new(cx, &fields.path_of(name), *key_at, node)
}

pub(super) fn foreign_or_unknown(name: &str) -> Leftover {
    if FOREIGN_BLOCKS.contains(&name) {
        Leftover::Because(format!("the policy needs the server: this build does not run {name:?}"))
    } else {
        Leftover::Unknown
    }
}

fn version(value: &Value) -> Converted<()> {
    match value {
        Value::Number(number) if *number == 1.0 => Ok(()),
        _ => Err(format!("must be 1 (found {value})")),
    }
}

pub(super) fn prefix(value: &Value) -> Converted<String> {
    text(value).map(str::to_owned)
}

fn limiters(fields: &mut Fields<'_>, cx: &mut Context, config: &mut Config, broken: &mut Vec<String>) {
    const WHAT: &str = "a map from names to limiters";
    let Some(Entry { node, .. }) = fields.take("limiters") else {
        fields.missing(cx, "limiters", format!("{REQUIRED}: {WHAT}"));
        return;
    };
    if !matches!(node.value, Value::Map(_)) {
        cx.problem("config.limiters", node.at, format!("expected {WHAT}, found {}", node.value));
        return;
    }
    for (path, Entry { key, key_at, node, .. }) in cx.members(node, "config.limiters", limiter_path).unwrap_or_default()
    {
        match Fields::new(cx, &path, *key_at, node).and_then(|fields| limiter(key, fields, cx)) {
            Some(limiter) => config.limiters.push(limiter),
            None => broken.push(key.clone()),
        }
    }
}

/// Reads the fields of one strategy. What is missing or wrong is reported, and gives `None`.
type Decode = fn(&mut Fields<'_>, &mut Context) -> Option<StrategySpec>;

const STRATEGIES: [(&str, Decode); 6] = [
    ("gcra", gcra),
    ("tokenBucket", token_bucket),
    ("fixedWindow", fixed_window),
    ("slidingWindow", sliding_window),
    ("slidingWindowLog", sliding_window_log),
    ("quota", quota),
];

fn limiter(name: &str, mut fields: Fields<'_>, cx: &mut Context) -> Option<LimiterSpec> {
    let unread = cx.unread.len();
    if !decode_blocks::is_of_one_kind(&fields, cx) {
        return None;
    }
    let deny_list = deny_list(&mut fields, cx);
    let advertise = advertise(&mut fields, cx).unwrap_or_default();
    let listed = |limiter: LimiterSpec| LimiterSpec { deny_list, advertise, ..limiter };
    fields = match decode_blocks::alone(name, fields, cx) {
        Ok(limiter) => return limiter.filter(|_| cx.unread.len() == unread).map(listed),
        Err(fields) => fields,
    };
    let prefix = fields.optional(cx, "prefix", prefix);
    let most = i64::try_from(TableBuilder::MAX_KEYS).unwrap_or(i64::MAX);
    let max_keys = fields.optional(cx, "maxKeys", whole(1, most));
    let fail_mode = fail_mode(&mut fields, cx);
    let guarded = fields.has("concurrency");
    let concurrency = concurrency(&mut fields, cx);
    let tiers = decode_blocks::two_tier(&mut fields, cx);
    let screen = screen(&mut fields, cx);
    if screen.is_some() {
        unused(&fields, &["prefix", "failMode"], "not used beside screen, which keeps its keys in process", cx);
    }
    let kind = tiers.map(LimiterKind::TwoTier).or(screen.map(LimiterKind::Screen)).unwrap_or_default();
    if guarded && !fields.has("strategy") {
        slots_alone(fields, cx);
        let limiter = LimiterSpec::of_slots(name, concurrency?);
        return (cx.unread.len() == unread).then_some(listed(limiter));
    }
    let Some(decode) = fields.required(cx, "strategy", one_of("strategy", &STRATEGIES)) else {
        if fields.misspells(&decode_blocks::INSTEAD_OF_STRATEGY) {
            fields.not_missing(cx, "strategy");
        }
        // Without a strategy nothing can be said about the fields that only some strategies use.
        let some_use = || USED_BY.iter().map(|(field, _)| *field);
        fields.finish(cx, |name| match foreign_or_unknown(name) {
            Leftover::Unknown if some_use().any(|field| field == name) => Leftover::Fine,
            Leftover::Unknown => {
                let known = some_use().chain(["strategy", "prefix", "maxKeys", "failMode"]);
                Leftover::UnknownAmong(known.chain(decode_blocks::BLOCKS).chain(["denyList", "advertise"]).collect())
            }
            other => other,
        });
        return None;
    };
    let strategy = decode(&mut fields, cx);
    fields.finish(cx, |name| match USED_BY.iter().find(|(field, _)| *field == name) {
        Some((_, users)) => Leftover::Because(format!("not used by this strategy, only by: {users}")),
        None => foreign_or_unknown(name),
    });
    let mut limiter = LimiterSpec::new(name, strategy?);
    limiter.kind = kind;
    limiter.concurrency = concurrency;
    limiter.prefix = prefix;
    if let Some(max_keys) = max_keys {
        limiter.max_keys = usize::try_from(max_keys).unwrap_or(usize::MAX);
    }
    limiter.fail_mode = fail_mode.unwrap_or_default();
    (cx.unread.len() == unread).then_some(listed(limiter))
}

/// The block, if it is there. What is wrong with it is reported.
fn advertise(fields: &mut Fields<'_>, cx: &mut Context) -> Option<AdvertiseSpec> {
    if !fields.has("advertise") {
        fields.blank(cx, "advertise", "expected a map with quota or windowSeconds");
        return None;
    }
    let mut block = section(fields, cx, "advertise")?;
    let most = i64::try_from(MAX_STRUCTURED).unwrap_or(i64::MAX);
    let mut number = |name| block.optional(cx, name, whole(1, most)).and_then(|number| u64::try_from(number).ok());
    let spec = AdvertiseSpec { quota: number("quota"), window_seconds: number("windowSeconds") };
    block.finish(cx, |_| Leftover::Unknown);
    Some(spec)
}

/// What is left of a limiter that limits the work in flight and nothing else.
fn slots_alone(mut fields: Fields<'_>, cx: &mut Context) {
    fields.know("strategy");
    unused(&fields, &["prefix", "maxKeys", "failMode"], "not used without a strategy", cx);
    fields.finish(cx, |name| {
        if USED_BY.iter().any(|(field, _)| *field == name) {
            Leftover::Because("not used without a strategy".to_owned())
        } else {
            foreign_or_unknown(name)
        }
    });
}

/// Reports those of the fields that are there. They were read before it was known that nobody uses them.
fn unused(fields: &Fields<'_>, names: &[&str], message: &str, cx: &mut Context) {
    for name in names {
        if cx.positions.contains_key(&fields.path_of(name)) {
            fields.problem(cx, name, message);
        }
    }
}

/// `open`, `closed`, `local` or `{ local: { share: ... } }`.
pub(super) fn fail_mode(fields: &mut Fields<'_>, cx: &mut Context) -> Option<FailMode> {
    const MODES: [(&str, FailMode); 3] =
        [("open", FailMode::Open), ("closed", FailMode::Closed), ("local", FailMode::Local(Share::WHOLE))];
    let map = fields.peek("failMode").filter(|entry| matches!(entry.node.value, Value::Map(_)));
    if map.is_none() {
        return fields.optional(cx, "failMode", one_of("fail mode", &MODES));
    }
    let mut mode = section(fields, cx, "failMode")?;
    if !mode.has("local") {
        mode.missing(cx, "local", REQUIRED);
    }
    let share = section(&mut mode, cx, "local").map(|mut local| {
        let share = local.optional(cx, "share", share);
        local.finish(cx, |_| Leftover::Unknown);
        share.unwrap_or_default()
    });
    mode.finish(cx, |_| Leftover::Unknown);
    share.map(FailMode::Local)
}

fn share(value: &Value) -> Converted<Share> {
    let number = number(value)?;
    Share::new(number).map_err(|error| format!("{} (found {})", error.allowed(), number_text(number)))
}

/// A number that is required.
fn amount(fields: &mut Fields<'_>, cx: &mut Context, name: &'static str, range: Range) -> Option<f64> {
    if !fields.has(name) {
        fields.missing(cx, name, REQUIRED);
    }
    fields.ranged(cx, name, number, range)
}

fn gcra(fields: &mut Fields<'_>, cx: &mut Context) -> Option<StrategySpec> {
    // It comes after what it is about.
    let exact = fields.peek("exact").is_some_and(|entry| matches!(entry.node.value, Value::Bool(true)));
    let (amounts, at_once) = if exact { (EXACT, EXACT) } else { (POSITIVE, AT_LEAST_ONE) };
    let limit = amount(fields, cx, "limit", amounts);
    let period_ms = required_span(fields, cx, &["period", "periodMs", "windowMs"], amounts);
    fields.optional(cx, "exact", boolean);
    let given = fields.has("burst");
    let burst = fields.ranged(cx, "burst", number, at_once);
    let burst = if given { burst } else { limit };
    Some(StrategySpec::Gcra { limit: limit?, period_ms: period_ms?, burst: burst?, exact })
}

fn token_bucket(fields: &mut Fields<'_>, cx: &mut Context) -> Option<StrategySpec> {
    let capacity = amount(fields, cx, "capacity", POSITIVE);
    let refill_per_sec = amount(fields, cx, "refillPerSec", POSITIVE);
    Some(StrategySpec::TokenBucket { capacity: capacity?, refill_per_sec: refill_per_sec? })
}

fn fixed_window(fields: &mut Fields<'_>, cx: &mut Context) -> Option<StrategySpec> {
    let limit = amount(fields, cx, "limit", POSITIVE);
    let window_ms = required_span(fields, cx, &["period", "windowMs"], WINDOW);
    Some(StrategySpec::FixedWindow { limit: limit?, window_ms: window_ms? })
}

fn sliding_window(fields: &mut Fields<'_>, cx: &mut Context) -> Option<StrategySpec> {
    let limit = amount(fields, cx, "limit", POSITIVE);
    let window_ms = required_span(fields, cx, &["period", "windowMs"], POSITIVE);
    let buckets = buckets(fields, cx);
    Some(StrategySpec::SlidingWindow { limit: limit?, window_ms: window_ms?, buckets: buckets? })
}

fn sliding_window_log(fields: &mut Fields<'_>, cx: &mut Context) -> Option<StrategySpec> {
    let limit = amount(fields, cx, "limit", LOG);
    let window_ms = required_span(fields, cx, &["period", "windowMs"], POSITIVE);
    Some(StrategySpec::SlidingWindowLog { limit: limit?, window_ms: window_ms? })
}

fn buckets(fields: &mut Fields<'_>, cx: &mut Context) -> Option<u32> {
    or_default(fields, cx, "buckets", whole(1, MOST_BUCKETS), StrategySpec::DEFAULT_BUCKETS)
}

type DecodePeriod = fn(&mut Fields<'_>, &mut Context) -> Option<QuotaPeriod>;

const CADENCES: [(&str, DecodePeriod); 5] = [
    ("calendar-month", |fields, cx| Some(QuotaPeriod::CalendarMonth { offset_minutes: offset(fields, cx)? })),
    ("calendar-week", |fields, cx| {
        let offset_minutes = offset(fields, cx);
        let week_starts_on = or_default(fields, cx, "weekStartsOn", whole(0, 6), 1);
        Some(QuotaPeriod::CalendarWeek { offset_minutes: offset_minutes?, week_starts_on: week_starts_on? })
    }),
    ("calendar-day", |fields, cx| Some(QuotaPeriod::CalendarDay { offset_minutes: offset(fields, cx)? })),
    ("fixed", |fields, cx| {
        let period_ms = required_span(fields, cx, &["period", "periodMs"], WINDOW);
        let anchor_ms = or_default(fields, cx, "anchor", whole(-MAX_INSTANT, MAX_INSTANT), 0);
        Some(QuotaPeriod::Fixed { period_ms: period_ms?, anchor_ms: anchor_ms? })
    }),
    ("rolling", |fields, cx| {
        let period_ms = required_span(fields, cx, &["period", "periodMs"], POSITIVE);
        let buckets = buckets(fields, cx);
        Some(QuotaPeriod::Rolling { period_ms: period_ms?, buckets: buckets? })
    }),
];

fn quota(fields: &mut Fields<'_>, cx: &mut Context) -> Option<StrategySpec> {
    let limit = amount(fields, cx, "limit", POSITIVE);
    let Some(decode) = fields.required(cx, "resetCadence", one_of("cadence", &CADENCES)) else {
        // Of a cadence that could not be read nothing is known.
        for name in ["period", "periodMs", "buckets", "offsetMinutes", "weekStartsOn", "anchor"] {
            fields.take(name);
        }
        return None;
    };
    let period = decode(fields, cx);
    Some(StrategySpec::Quota { limit: limit?, period: period? })
}

fn offset(fields: &mut Fields<'_>, cx: &mut Context) -> Option<i32> {
    or_default(fields, cx, "offsetMinutes", whole(-840, 840), 0)
}

/// A field with a default; `None` only if it is wrong.
fn or_default<'n, T>(
    fields: &mut Fields<'n>,
    cx: &mut Context,
    name: &'static str,
    convert: impl FnOnce(&'n Value) -> Converted<T>,
    default: T,
) -> Option<T> {
    let given = fields.has(name);
    let value = fields.optional(cx, name, convert);
    if given { value } else { Some(default) }
}

/// A span of time under one of several names. The first one that is there counts; the others must be right too.
fn required_span(fields: &mut Fields<'_>, cx: &mut Context, names: &[&'static str], range: Range) -> Option<f64> {
    let given = names.iter().find(|name| fields.has(name));
    let Some(given) = given else {
        for name in names {
            fields.take(name);
        }
        fields.missing(cx, "period", format!("{REQUIRED}: a duration such as 30s or 1m"));
        return None;
    };
    let mut counting = None;
    for name in names {
        let convert = if *name == "period" { span } else { millis };
        let value = fields.ranged(cx, name, convert, range);
        if name == given {
            counting = value;
        }
    }
    counting
}

/// A text with a unit, or a number of milliseconds above 0.
pub(super) fn duration(value: &Value) -> Converted<f64> {
    if matches!(value, Value::Number(_) | Value::HiddenNumber(_)) { positive(value) } else { span(value) }
}

/// A text with a unit, or any number of milliseconds.
fn span(value: &Value) -> Converted<f64> {
    match value {
        Value::Text(text) => parse_duration_ms(text).map_err(|error| error.to_string()),
        Value::Number(_) => number(value),
        _ => Err(format!("expected a duration such as 30s or 1m, or a number of milliseconds, found {value}")),
    }
}

fn millis(value: &Value) -> Converted<f64> {
    match value {
        Value::Text(_) => Err(format!(
            "expected a number of milliseconds, found {value}; a duration with a unit belongs into \"period\""
        )),
        _ => number(value),
    }
}
