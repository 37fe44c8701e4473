//! What must hold for any text.

use throttlekit::config::{Config, Format};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Admit, Ask};

/// Reads `text`, and builds what it describes. Problems are in the text and one line each.
pub fn read(text: &str, format: Format) {
    match Config::parse(text, format) {
        Ok(config) => {
            // A table reserves address space by its bound.
            if config.limiters.len() > 16 || config.limiters.iter().any(|limiter| limiter.max_keys > 1 << 20) {
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
