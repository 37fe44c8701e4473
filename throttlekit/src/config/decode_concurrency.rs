//! From nodes to a [`ConcurrencySpec`].

use super::concurrency::{ConcurrencySpec, KeyedSpec, LearntLimit, QueueSpec, RecalibrationSpec, SlotLimit};
use super::decode::section;
use super::fields::{Context, Fields, Leftover, boolean, number, one_of, whole};
use super::node::{Entry, shown_name};
use crate::concurrency::Algorithm;
use crate::priority::Priority;

/// The most slots that a guard gives.
const MOST_SLOTS: u32 = (1 << 24) - 1;

const PROFILES: [(&str, Algorithm); 3] =
    [("steady", Algorithm::Steady), ("gradient2", Algorithm::Gradient2), ("aimd", Algorithm::Aimd)];

/// What other members of the family call by another name.
const ALGORITHMS: [(&str, Algorithm); 2] = [("gradient2", Algorithm::Gradient2), ("aimd", Algorithm::Aimd)];

/// The fields that only some profiles use.
const USED_BY: [(&str, &[Algorithm]); 5] = [
    ("rttWindow", &[Algorithm::Gradient2, Algorithm::Aimd]),
    ("smoothing", &[Algorithm::Gradient2]),
    ("tolerance", &[Algorithm::Gradient2, Algorithm::Aimd]),
    ("backoffRatio", &[Algorithm::Aimd]),
    ("recalibration", &[Algorithm::Gradient2, Algorithm::Aimd]),
];

/// The fields of every limit that is learnt.
const LEARNT: [&str; 5] = ["profile", "algorithm", "minLimit", "maxLimit", "initialLimit"];

/// The block, if it is there. What is wrong with it is reported.
pub(super) fn concurrency(fields: &mut Fields<'_>, cx: &mut Context) -> Option<ConcurrencySpec> {
    if !fields.has("concurrency") {
        fields.blank(cx, "concurrency", "expected a map; {} takes the defaults");
        return None;
    }
    let mut block = section(fields, cx, "concurrency")?;
    let shadow = block.optional(cx, "shadow", boolean).unwrap_or_default();
    let keyed = section(&mut block, cx, "keyed").map(|fields| keyed(fields, cx));
    let queued = block.has("queue");
    let queue = section(&mut block, cx, "queue").and_then(|fields| queue(fields, cx));
    let mut priorities = [None; Priority::ALL.len()];
    if let Some(mut shares) = section(&mut block, cx, "priorities") {
        for (share, priority) in priorities.iter_mut().zip(Priority::ALL) {
            *share = shares.optional(cx, priority.as_str(), number);
        }
        shares.finish(cx, |_| Leftover::Unknown);
    }
    let limit = if block.has("limit") { fixed(&mut block, cx) } else { learnt(&mut block, cx) };
    block.finish(cx, |name| {
        let users = USED_BY.iter().find(|(field, _)| *field == name).map(|(_, users)| *users);
        let learnt = users.is_some() || LEARNT.contains(&name);
        match (users, &limit) {
            _ if !learnt => Leftover::Unknown,
            (Some(users), Some(SlotLimit::Learnt(_))) => {
                let users: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
                Leftover::Because(format!("not used by this profile, only by: {}", users.join(", ")))
            }
            // Of a profile that could not be read nothing is known.
            (_, None) => Leftover::Fine,
            _ => Leftover::Because("not used beside limit, which is fixed".to_owned()),
        }
    });
    let mut spec = ConcurrencySpec::new(limit?);
    (spec.shadow, spec.keyed, spec.queue, spec.priorities) = (shadow, keyed, queue, priorities);
    (queued == spec.queue.is_some()).then_some(spec)
}

/// What is wrong with it has some value.
fn keyed(mut fields: Fields<'_>, cx: &mut Context) -> KeyedSpec {
    let mut spec = KeyedSpec::default();
    if let Some(max_keys) = fields.optional(cx, "maxKeys", whole(1, MOST_SLOTS)) {
        spec.max_keys = max_keys;
    }
    spec.max_per_key = fields.optional(cx, "maxPerKey", whole(1, MOST_SLOTS));
    if let Some(active_ms) = fields.optional(cx, "activeMs", number) {
        spec.active_ms = active_ms;
    }
    if let Some(Entry { node, .. }) = fields.take("weights") {
        let path = fields.path_of("weights");
        let members = cx.members(node, &path, |name| format!("{path}.{}", shown_name(name)));
        for (path, Entry { key, node, .. }) in members.unwrap_or_default() {
            match number(&node.value) {
                Ok(weight) => spec.weights.push((key.clone(), weight)),
                Err(message) => cx.problem(path, node.at, message),
            }
        }
    }
    fields.finish(cx, |_| Leftover::Unknown);
    spec
}

fn queue(mut fields: Fields<'_>, cx: &mut Context) -> Option<QueueSpec> {
    let max = fields.required(cx, "max", whole(1, MOST_SLOTS));
    let timeout_ms = fields.required(cx, "timeoutMs", number);
    fields.finish(cx, |_| Leftover::Unknown);
    Some(QueueSpec::new(max?, timeout_ms?))
}

fn fixed(block: &mut Fields<'_>, cx: &mut Context) -> Option<SlotLimit> {
    block.optional(cx, "limit", whole(1, MOST_SLOTS)).map(SlotLimit::Fixed)
}

/// Ranges are those of the builder, which the caller asks.
fn learnt(block: &mut Fields<'_>, cx: &mut Context) -> Option<SlotLimit> {
    fn set<T>(target: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *target = value;
        }
    }
    block.know("limit");
    let algorithm = algorithm(block, cx)?;
    let mut learnt = LearntLimit { algorithm, ..LearntLimit::default() };
    set(&mut learnt.min_limit, block.optional(cx, "minLimit", number));
    set(&mut learnt.max_limit, block.optional(cx, "maxLimit", number));
    learnt.initial_limit = block.optional(cx, "initialLimit", number);
    let used = |name| USED_BY.iter().any(|(field, users)| *field == name && users.contains(&algorithm));
    for (name, target) in [
        ("rttWindow", &mut learnt.rtt_window),
        ("smoothing", &mut learnt.smoothing),
        ("tolerance", &mut learnt.tolerance),
        ("backoffRatio", &mut learnt.backoff_ratio),
    ] {
        if used(name) {
            set(target, block.optional(cx, name, number));
        }
    }
    if used("recalibration") {
        learnt.recalibration = section(block, cx, "recalibration").map(|mut fields| {
            let mut spec = RecalibrationSpec::default();
            set(&mut spec.interval_ms, fields.optional(cx, "intervalMs", number));
            spec.probe_limit = fields.optional(cx, "probeLimit", number);
            set(&mut spec.probe_samples, fields.optional(cx, "probeSamples", number));
            fields.finish(cx, |_| Leftover::Unknown);
            spec
        });
    }
    Some(SlotLimit::Learnt(learnt))
}

/// `None` if it is wrong.
fn algorithm(block: &mut Fields<'_>, cx: &mut Context) -> Option<Algorithm> {
    let both = block.has("profile") && block.has("algorithm");
    if both {
        block.problem(cx, "algorithm", "give either profile or algorithm, not both");
    }
    let given = block.has("profile") || block.has("algorithm");
    let profile = block.optional(cx, "profile", one_of("profile", &PROFILES));
    let algorithm = block.optional(cx, "algorithm", one_of("algorithm", &ALGORITHMS));
    if given { profile.or(algorithm) } else { Some(Algorithm::default()) }
}
