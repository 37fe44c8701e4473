//! What must hold for any text.

use throttlekit::config::{Config, Format, LimiterKind, LimiterSpec, SketchSize};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::sketch::Accuracy;
use throttlekit::{Admit, Ask};

/// Whether a limiter takes much memory: a table reserves address space by its bound, and sketches and lists are made whole.
fn is_large(limiter: &LimiterSpec) -> bool {
    let of_sketch = |size: SketchSize, shards: u32| {
        let counters = size.accuracy().map_or(usize::MAX, |accuracy: Accuracy| accuracy.counters());
        counters.saturating_mul(shards.try_into().unwrap_or(usize::MAX))
    };
    let counters = match limiter.kind {
        LimiterKind::Screen(screen) => of_sketch(screen.size, screen.shards),
        LimiterKind::Sketch(sketch) => of_sketch(sketch.size, sketch.shards),
        _ => 0,
    };
    let places = limiter.deny_list.map_or(0, |list| list.places);
    limiter.max_keys > 1 << 20 || counters > 1 << 20 || places > 1 << 20
}

/// Reads `text`, and builds what it describes. Problems are in the text and one line each.
pub fn read(text: &str, format: Format) {
    match Config::parse(text, format) {
        Ok(config) => {
            if config.limiters.len() > 16 || config.limiters.iter().any(is_large) {
                return;
            }
            let policies = Policies::from_config(config, LoadOptions::new()).expect("what was read is right");
            for policy in policies.current().iter() {
                let _ = policy.admit().admit(&Ask::new("key")).now();
            }
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            let lines = text.split('\n').count();
            for problem in errors.problems() {
                assert!(problem.position.is_none_or(|position| (1..=lines).contains(&position.line)), "{problem}");
                assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }
}
