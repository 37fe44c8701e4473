//! Scripts made of the twins that they need.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use super::Script;

/// What every script begins with.
const HEAD: &str = include_str!("head.lua");
/// What every script ends with.
const DRIVER: &str = include_str!("driver.lua");

/// The twin of a text that was judged here and is written only if it is still there.
pub(crate) const GUARD: &str = include_str!("guard.lua");
/// The twin of keys that are only forgotten.
pub(crate) const FORGET: &str = include_str!("forget.lua");

/// How many scripts are remembered. There is one for each set of twins that met in a run, and there are few twins.
const MOST: usize = 1_024;

/// The scripts that were composed before, by the texts of their twins.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    known: Mutex<HashMap<Vec<&'static str>, Arc<Script>>>,
}

impl Scripts {
    /// The script with these twins, in this order.
    pub(crate) fn of(&self, twins: &[&'static str]) -> Arc<Script> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(script) = known.get(twins) {
            return Arc::clone(script);
        }
        if known.len() >= MOST {
            known.clear();
        }
        let script = Arc::new(Script::new(compose(twins)));
        known.insert(twins.to_vec(), Arc::clone(&script));
        script
    }
}

/// The text of a script: the helpers, a table of the twins, and what drives them.
pub(crate) fn compose(twins: &[&str]) -> String {
    let mut text = String::from(HEAD);
    text.push_str("local twins = {}\n");
    for (index, twin) in (1..).zip(twins) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "twins[{index}] = (function()\n{twin}end)()\n");
    }
    text.push('\n');
    text.push_str(DRIVER);
    text
}
