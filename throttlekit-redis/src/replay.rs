//! From the answers of script runs to those of calls.

use redis::Value;
use throttlekit::Error;
use throttlekit::store::Call;
use throttlekit::store::script::Cell;
use throttlekit::twin::Raw;

/// A call that takes part in a run: its position in the batch, and which key of the run is which of its own.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) call: usize,
    pub(crate) places: Places,
}

/// For each key of a call the place of the same key in a run, if it is there.
#[derive(Debug)]
pub(crate) enum Places {
    /// Of a call on one key: most are, and need no room of their own for this.
    One([Option<usize>; 1]),
    Many(Vec<Option<usize>>),
}

impl Places {
    /// None yet, of so many.
    pub(crate) fn of(keys: usize) -> Self {
        if keys == 1 { Self::One([None]) } else { Self::Many(vec![None; keys]) }
    }

    pub(crate) fn as_slice(&self) -> &[Option<usize>] {
        match self {
            Self::One(place) => place,
            Self::Many(places) => places,
        }
    }

    pub(crate) fn as_mut(&mut self) -> &mut [Option<usize>] {
        match self {
            Self::One(place) => place,
            Self::Many(places) => places,
        }
    }
}

/// A run that was sent: the calls that it answers, and how many keys it has.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) members: Vec<Member>,
    pub(crate) keys: usize,
}

/// What a run found and did.
#[derive(Debug)]
pub(crate) struct Found {
    /// When it ran, in milliseconds since the Unix epoch.
    pub(crate) now_ms: f64,
    /// How many changes counted; `None` if a guard was hurt and nothing was written.
    changes: Option<u64>,
    pub(crate) cells: Vec<Raw>,
}

impl Found {
    /// Reads the answer of a run on so many keys.
    ///
    /// # Errors
    ///
    /// `state_invalid` if it is none.
    pub(crate) fn read(value: Value, keys: usize) -> Result<Self, Error> {
        let strange = || Error::state_invalid("the script answered something else");
        let Value::Array(mut values) = value else { return Err(strange()) };
        let [.., Value::Int(now_ms), Value::Int(changes)] = values[..] else { return Err(strange()) };
        if values.len() != keys + 2 {
            return Err(strange());
        }
        values.truncate(keys);
        #[allow(clippy::cast_precision_loss)] // whole milliseconds
        let now_ms = now_ms as f64;
        Ok(Self { now_ms, changes: u64::try_from(changes).ok(), cells: values.into_iter().map(raw).collect() })
    }

    /// Whether a guarded text was another one, so that nothing was written.
    pub(crate) fn lost(&self) -> bool {
        self.changes.is_none()
    }
}

impl Sent {
    /// Lets the calls step from what the run found. What goes wrong for a call is left at its place in `errors`.
    pub(crate) fn replay(&self, found: Result<Found, Error>, calls: &mut [Call], errors: &mut [Option<Error>]) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                for Member { call, .. } in &self.members {
                    errors[*call].get_or_insert_with(|| error.clone());
                }
                return;
            }
        };
        let mut cells: Vec<_> = found.cells.into_iter().map(Cell::new).collect();
        let (mut changes, mut failed) = (0, false);
        for Member { call, places } in &self.members {
            match calls[*call].replay(found.now_ms, places.as_slice(), &mut cells) {
                Ok(changed) => changes += changed,
                Err(error) => {
                    failed = true;
                    errors[*call].get_or_insert(error);
                }
            }
        }
        // The step and its script are the same function, so this never happens; if it did, what is stored would not be
        // what was answered.
        if !failed && found.changes != Some(changes) {
            for Member { call, .. } in &self.members {
                errors[*call].get_or_insert_with(|| Error::state_invalid("a step and its script disagree"));
            }
        }
    }
}

fn raw(value: Value) -> Raw {
    match value {
        Value::Int(number) => Raw::Whole(number),
        Value::BulkString(text) => Raw::Text(text),
        Value::SimpleString(text) => Raw::Text(text.into_bytes()),
        Value::Array(values) => Raw::List(values.into_iter().map(raw).collect()),
        Value::ServerError(error) => Raw::Failed(error.code().to_owned()),
        _ => Raw::Nothing,
    }
}
