//! From nodes to the blocks that make a limiter of another kind than a plain one.

use super::blocks::{AdaptiveSpec, BudgetSpec, FairEscrowSpec, FleetBudgetSpec, LeaseSpec, LimiterKind, TwoTierSpec};
use super::decode::{USED_BY, fail_mode, foreign_or_unknown, prefix, section};
use super::decode_sketches::sketch;
use super::fields::{Context, Fields, Leftover, boolean, number, one_of, positive, text, whole};
use super::node::{Entry, shown_name};
use super::spec::LimiterSpec;
use crate::lease::{GrantForm, Mode};
use crate::store::memory::TableBuilder;

/// The blocks of which a limiter has one at most.
pub(super) const BLOCKS: [&str; 7] =
    ["tokenBudget", "fleetBudget", "fairEscrow", "sketch", "concurrency", "twoTier", "screen"];

/// Those beside which a strategy may be missing.
pub(super) const INSTEAD_OF_STRATEGY: [&str; 5] = ["tokenBudget", "fleetBudget", "fairEscrow", "sketch", "concurrency"];

const MODES: [(&str, Mode); 3] =
    [("strict", Mode::Strict), ("cached-deny", Mode::CachedDeny), ("leased", Mode::Leased)];

const GRANTS: [(&str, GrantForm); 2] = [("partial", GrantForm::Partial), ("whole", GrantForm::Whole)];

/// What leases use, and other modes leave unread: a file may change its mode and keep them.
const UNREAD: [&str; 4] = ["batch", "lowWater", "windowCoupled", "returnIdleAfterMs"];

/// Reports blocks that exclude each other, whatever is in them.
pub(super) fn is_of_one_kind(fields: &Fields<'_>, cx: &mut Context) -> bool {
    let present: Vec<&str> = BLOCKS.into_iter().filter(|block| fields.peek(block).is_some()).collect();
    let [first, second, ..] = present.as_slice() else { return true };
    let all = BLOCKS.join(", ");
    fields.problem(cx, second, format!("not possible beside {first}: a limiter has at most one of {all}"));
    false
}

type DecodeKind = fn(Fields<'_>, &mut Context, &mut LimiterSpec) -> Option<LimiterKind>;

/// The blocks that need no strategy beside them.
const ALONE: [(&str, &str, DecodeKind); 4] = [
    ("tokenBudget", "expected a map with budget and windowMs", |mut fields, cx, _| {
        let budget = budget(&mut fields, cx);
        fields.finish(cx, |_| Leftover::Unknown);
        budget.map(LimiterKind::TokenBudget)
    }),
    ("fleetBudget", "expected a map with budget and windowMs", |mut fields, cx, limiter| {
        limiter.prefix = fields.optional(cx, "prefix", prefix);
        let leased = fields.has("leased");
        if leased && fields.has("wholeDebits") {
            fields.problem(cx, "wholeDebits", "not used beside leased, where debits are always whole");
        }
        let budget = budget(&mut fields, cx);
        if !leased {
            fields.blank(cx, "leased", "expected a map with batch or adaptive");
        }
        let leased = section(&mut fields, cx, "leased").map(|mut fields| {
            let lease = lease(&mut fields, cx);
            fields.finish(cx, |name| match name {
                "mode" | "windowCoupled" => Leftover::Because("not used by leases of a budget".to_owned()),
                _ => Leftover::Unknown,
            });
            lease
        });
        fields.finish(cx, |_| Leftover::Unknown);
        budget.map(|budget| LimiterKind::FleetBudget(FleetBudgetSpec { budget, leased }))
    }),
    ("fairEscrow", "expected a map with limit and windowMs", |fields, cx, _| {
        fair_escrow(fields, cx).map(LimiterKind::FairEscrow)
    }),
    ("sketch", "expected a map with limit and windowMs", |fields, cx, _| sketch(fields, cx).map(LimiterKind::Sketch)),
];

/// Reads a limiter that is made by a block alone; `Err` with its fields if it has none of these.
pub(super) fn alone<'n>(
    name: &str,
    mut fields: Fields<'n>,
    cx: &mut Context,
) -> Result<Option<LimiterSpec>, Fields<'n>> {
    let Some((block, expected, decode)) = ALONE.into_iter().find(|(block, ..)| fields.peek(block).is_some()) else {
        return Err(fields);
    };
    let mut limiter = LimiterSpec::of_kind(name, LimiterKind::Plain);
    if !fields.has(block) {
        fields.blank(cx, block, expected);
    }
    let kind = section(&mut fields, cx, block).and_then(|inner| decode(inner, cx, &mut limiter));
    if block == "fleetBudget" {
        limiter.fail_mode = fail_mode(&mut fields, cx).unwrap_or_default();
    }
    fields.finish(cx, |name| match name {
        "maxKeys" if block == "sketch" => Leftover::Because("not used by a sketch, which keeps no keys".to_owned()),
        "maxKeys" => Leftover::Because(format!("belongs into {block}")),
        "prefix" if block == "fleetBudget" => Leftover::Because(format!("belongs into {block}")),
        "prefix" | "failMode" => Leftover::Because(format!("not used beside {block}, which keeps its keys in process")),
        "strategy" => Leftover::Because(format!("not used beside {block}")),
        _ if USED_BY.iter().any(|(field, _)| *field == name) => Leftover::Because(format!("not used beside {block}")),
        _ => foreign_or_unknown(name),
    });
    Ok(kind.map(|kind| LimiterSpec { kind, ..limiter }))
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn set_keys(target: &mut usize, fields: &mut Fields<'_>, cx: &mut Context) {
    let most = i64::try_from(TableBuilder::MAX_KEYS).unwrap_or(i64::MAX);
    let keys = fields.optional(cx, "maxKeys", whole(1, most));
    set(target, keys.map(|keys| usize::try_from(keys).unwrap_or(usize::MAX)));
}

/// Ranges are those of the builders, which the caller asks: here and in all that follows.
fn budget(fields: &mut Fields<'_>, cx: &mut Context) -> Option<BudgetSpec> {
    let budget = fields.required(cx, "budget", number);
    let window_ms = fields.required(cx, "windowMs", number);
    let max_debt = fields.optional(cx, "maxDebt", number);
    let carry_debt = fields.optional(cx, "carryDebt", boolean).unwrap_or_default();
    let whole_debits = fields.optional(cx, "wholeDebits", boolean).unwrap_or_default();
    let mut max_keys = crate::budget::DEFAULT_MAX_KEYS;
    set_keys(&mut max_keys, fields, cx);
    Some(BudgetSpec { max_debt, carry_debt, whole_debits, max_keys, ..BudgetSpec::new(budget?, window_ms?) })
}

fn fair_escrow(mut fields: Fields<'_>, cx: &mut Context) -> Option<FairEscrowSpec> {
    let limit = fields.required(cx, "limit", number);
    let window_ms = fields.required(cx, "windowMs", number);
    let mut spec = FairEscrowSpec::new(limit.unwrap_or(1.0), window_ms.unwrap_or(1.0));
    set(&mut spec.weights, by_name(&mut fields, cx, "weights"));
    set_keys(&mut spec.max_keys, &mut fields, cx);
    set(&mut spec.cost_room, fields.optional(cx, "costRoom", boolean));
    set(&mut spec.cost_room_max_keys, fields.optional(cx, "costRoomMaxKeys", whole(1, u32::MAX)));
    set(&mut spec.cost_room_ring_size, fields.optional(cx, "costRoomRingSize", whole(1, u32::MAX)));
    set(&mut spec.unit, fields.optional(cx, "unit", text).map(str::to_owned));
    fields.finish(cx, |_| Leftover::Unknown);
    (limit.is_some() && window_ms.is_some()).then_some(spec)
}

/// A map from names to numbers above 0, if it is there. What is wrong with it is reported, and left out.
pub(super) fn by_name(fields: &mut Fields<'_>, cx: &mut Context, name: &'static str) -> Option<Vec<(String, f64)>> {
    let Entry { node, .. } = fields.take(name)?;
    let path = fields.path_of(name);
    let members = cx.members(node, &path, |name| format!("{path}.{}", shown_name(name)))?;
    let mut numbers = Vec::with_capacity(members.len());
    for (path, Entry { key, node, .. }) in members {
        match positive(&node.value) {
            Ok(number) => numbers.push((key.clone(), number)),
            Err(message) => cx.problem(path, node.at, message),
        }
    }
    Some(numbers)
}

/// The block, if it is there. What is wrong with it is reported.
pub(super) fn two_tier(fields: &mut Fields<'_>, cx: &mut Context) -> Option<TwoTierSpec> {
    if !fields.has("twoTier") {
        fields.blank(cx, "twoTier", "expected a map with batch, adaptive or another mode than leased");
        return None;
    }
    let mut block = section(fields, cx, "twoTier")?;
    let given = block.has("mode");
    let mode = block.optional(cx, "mode", one_of("mode", &MODES));
    let mut spec = TwoTierSpec::new(mode.unwrap_or_default());
    if given && mode.is_none() {
        // Of a mode that could not be read nothing is known.
        for name in UNREAD.into_iter().chain(["grant", "adaptive", "maxKeys"]) {
            block.take(name);
        }
    } else if spec.mode == Mode::Leased {
        set(&mut spec.window_coupled, block.optional(cx, "windowCoupled", boolean));
        spec.lease = lease(&mut block, cx);
    } else {
        for name in UNREAD {
            block.take(name);
        }
        if spec.mode == Mode::CachedDeny {
            set_keys(&mut spec.lease.max_keys, &mut block, cx);
        }
    }
    let mode = spec.mode.as_str();
    block.finish(cx, |name| match name {
        "grant" | "adaptive" => Leftover::Because(format!("not used in mode {mode}, only in: leased")),
        "maxKeys" => Leftover::Because(format!("not used in mode {mode}, only in: cached-deny, leased")),
        _ => Leftover::Unknown,
    });
    Some(spec)
}

fn lease(block: &mut Fields<'_>, cx: &mut Context) -> LeaseSpec {
    let mut spec = LeaseSpec { batch: block.optional(cx, "batch", number), ..LeaseSpec::default() };
    set(&mut spec.low_water, block.optional(cx, "lowWater", number));
    spec.return_idle_after_ms = block.optional(cx, "returnIdleAfterMs", number);
    set(&mut spec.grant, block.optional(cx, "grant", one_of("form of grants", &GRANTS)));
    set_keys(&mut spec.max_keys, block, cx);
    if !block.has("adaptive") {
        block.blank(cx, "adaptive", "expected a map with orderCost and strandPenalty");
    }
    spec.adaptive = section(block, cx, "adaptive").and_then(|fields| adaptive(fields, cx));
    spec
}

fn adaptive(mut fields: Fields<'_>, cx: &mut Context) -> Option<AdaptiveSpec> {
    let order_cost = fields.required(cx, "orderCost", number);
    let strand_penalty = fields.required(cx, "strandPenalty", number);
    let mut spec = AdaptiveSpec::new(order_cost.unwrap_or(1.0), strand_penalty.unwrap_or(1.0));
    set(&mut spec.min_size, fields.optional(cx, "minSize", number));
    set(&mut spec.max_size, fields.optional(cx, "maxSize", number));
    spec.initial_size = fields.optional(cx, "initialSize", number);
    spec.step_scale = fields.optional(cx, "stepScale", number);
    set(&mut spec.epsilon, fields.optional(cx, "epsilon", number));
    set(&mut spec.predictive, fields.optional(cx, "predictive", boolean));
    fields.finish(cx, |_| Leftover::Unknown);
    (order_cost.is_some() && strand_penalty.is_some()).then_some(spec)
}
