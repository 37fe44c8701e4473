//! From nodes to the blocks of limits over sketches and of deny lists.
//!
//! Ranges are those of the builders, which the caller asks.

use super::decode::section;
use super::fields::{Context, Fields, Leftover, boolean, number, whole};
use super::sketches::{DenyListSpec, ScreenSpec, SketchSize, SketchSpec};
use crate::analytics::SpaceSaving;
use crate::sketch::DenyList;

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn set_number(target: &mut usize, most: usize, name: &'static str, block: &mut Fields<'_>, cx: &mut Context) {
    let number = block.optional(cx, name, whole(1, i64::try_from(most).unwrap_or(i64::MAX)));
    set(target, number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)));
}

/// The block, if it is there. What is wrong with it is reported.
pub(super) fn deny_list(fields: &mut Fields<'_>, cx: &mut Context) -> Option<DenyListSpec> {
    if !fields.has("denyList") {
        fields.blank(cx, "denyList", "expected a map; {} takes the defaults");
        return None;
    }
    let mut block = section(fields, cx, "denyList")?;
    let mut spec = DenyListSpec::default();
    set(&mut spec.denials, block.optional(cx, "denials", whole(1, u32::MAX)));
    set(&mut spec.window_ms, block.optional(cx, "windowMs", number));
    set(&mut spec.ttl_ms, block.optional(cx, "ttlMs", number));
    set_number(&mut spec.tracked, SpaceSaving::MAX_CAPACITY, "tracked", &mut block, cx);
    set_number(&mut spec.places, DenyList::MAX_PLACES, "places", &mut block, cx);
    block.finish(cx, |_| Leftover::Unknown);
    Some(spec)
}

/// The block, if it is there. What is wrong with it is reported.
pub(super) fn screen(fields: &mut Fields<'_>, cx: &mut Context) -> Option<ScreenSpec> {
    if !fields.has("screen") {
        fields.blank(cx, "screen", "expected a map; {} takes the defaults");
        return None;
    }
    let mut block = section(fields, cx, "screen")?;
    let mut spec = ScreenSpec { threshold: block.optional(cx, "threshold", number), ..ScreenSpec::default() };
    sketch_size(&mut spec.size, &mut block, cx);
    set(&mut spec.shards, block.optional(cx, "shards", whole(1, u32::MAX)));
    block.finish(cx, |name| match name {
        "maxKeys" => Leftover::Because("belongs beside the strategy".to_owned()),
        _ => Leftover::Unknown,
    });
    Some(spec)
}

/// The fields of a block that stands alone.
pub(super) fn sketch(mut fields: Fields<'_>, cx: &mut Context) -> Option<SketchSpec> {
    let limit = fields.required(cx, "limit", number);
    let window_ms = fields.required(cx, "windowMs", number);
    let mut spec = SketchSpec::new(limit.unwrap_or(1.0), window_ms.unwrap_or(1.0));
    set(&mut spec.sliding, fields.optional(cx, "sliding", boolean));
    sketch_size(&mut spec.size, &mut fields, cx);
    set(&mut spec.shards, fields.optional(cx, "shards", whole(1, u32::MAX)));
    fields.finish(cx, |name| match name {
        "maxKeys" => Leftover::Because("not used by a sketch, which keeps no keys".to_owned()),
        _ => Leftover::Unknown,
    });
    (limit.is_some() && window_ms.is_some()).then_some(spec)
}

/// `epsilon` and `delta`, of which each has a default, or `width` and `depth`.
fn sketch_size(size: &mut SketchSize, block: &mut Fields<'_>, cx: &mut Context) {
    let table = ["width", "depth"].into_iter().find(|name| block.has(name));
    let error = ["epsilon", "delta"].into_iter().find(|name| block.has(name));
    let given = [block.optional(cx, "epsilon", number), block.optional(cx, "delta", number)];
    let Some(table) = table else {
        if let (SketchSize::Error { epsilon, delta }, [first, second]) = (size, given) {
            set(epsilon, first);
            set(delta, second);
        }
        // They are known, also where they are not given.
        block.know("width");
        block.know("depth");
        return;
    };
    if let Some(error) = error {
        block.problem(
            cx,
            table,
            format!("not possible beside {error}: give either epsilon and delta, or width and depth"),
        );
    }
    let width = block.required(cx, "width", whole(1, u32::MAX));
    let depth = block.required(cx, "depth", whole(1, u32::MAX));
    if let (Some(width), Some(depth)) = (width, depth) {
        *size = SketchSize::Table { width, depth };
    }
}
