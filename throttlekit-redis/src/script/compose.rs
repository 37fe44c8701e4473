//! Scripts made of the twins that they need.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use super::Script;

/// What every script begins with.
const HEAD: &str = include_str!("head.lua");
/// What a script ends with that runs any number of steps.
const DRIVER: &str = include_str!("driver.lua");
/// What a script ends with that runs one step on one key: the same in half the time.
const SINGLE: &str = include_str!("single.lua");

/// The twin of a text that was judged here and is written only if it is still there.
pub(crate) const GUARD: Lua = Lua(include_str!("guard.lua"));
/// The twin of keys that are only forgotten.
pub(crate) const FORGET: Lua = Lua(include_str!("forget.lua"));

/// How many scripts are remembered. There is one for each set of twins that met in a run, and there are few twins.
const MOST: usize = 1_024;

/// The text of a twin. Texts are constants, so that nearly always their addresses tell whether they are the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lua(pub(crate) &'static str);

impl PartialEq for Lua {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0) || self.0 == other.0
    }
}

impl Eq for Lua {}

impl Hash for Lua {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
    }
}

/// Which script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Single(Lua),
    Any(Vec<Lua>),
}

/// The scripts that were composed before.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    known: Mutex<HashMap<Kind, Arc<Script>>>,
}

impl Scripts {
    /// The script that runs any steps of these twins, which it knows in this order.
    pub(crate) fn any(&self, twins: Vec<Lua>) -> Arc<Script> {
        self.of(Kind::Any(twins))
    }

    /// The script that runs one step of this twin on one key.
    pub(crate) fn single(&self, twin: Lua) -> Arc<Script> {
        self.of(Kind::Single(twin))
    }

    fn of(&self, kind: Kind) -> Arc<Script> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(script) = known.get(&kind) {
            return Arc::clone(script);
        }
        if known.len() >= MOST {
            known.clear();
        }
        let text = match &kind {
            Kind::Single(twin) => compose(&[twin.0], SINGLE),
            Kind::Any(twins) => compose(&twins.iter().map(|twin| twin.0).collect::<Vec<_>>(), DRIVER),
        };
        let script = Arc::new(Script::new(text));
        known.insert(kind, Arc::clone(&script));
        script
    }
}

/// The texts of the scripts that run these twins: one step of the first on one key, and any steps of all of them.
///
/// They are what the server executes, byte for byte, for those who audit it, allow it in advance or load it beforehand.
/// They belong to this version and are called by it alone; what is shared with other programs is the keys and states.
///
/// ```
/// use throttlekit::{Gcra, Program};
///
/// let twin = Gcra::per_second(10)?.twin().ok_or("GCRA has a twin")?;
/// let [one, any] = throttlekit_redis::scripts(&[twin.lua()]);
/// assert!(one.contains(twin.lua()) && any.contains(twin.lua()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn scripts(twins: &[&'static str]) -> [String; 2] {
    [compose(&twins[..twins.len().min(1)], SINGLE), compose(twins, DRIVER)]
}

/// The text of a script: the helpers, a table of the twins, and what drives them.
fn compose(twins: &[&str], driver: &str) -> String {
    let mut text = String::from(HEAD);
    text.push_str("local twins = {}\n");
    for (index, twin) in (1..).zip(twins) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "twins[{index}] = (function()\n{twin}end)()\n");
    }
    text.push('\n');
    text.push_str(driver);
    text
}
