//! Calls that go to the server together.

use throttlekit::store::{Call, prefixed};

use crate::exchange::Answer;

/// Calls with their keys. Each is decided on its own, in order, and sees what those before it changed.
pub(crate) struct Batch {
    calls: Vec<Call>,
    /// The distinct keys as the server knows them, in the order of their bytes: the one order in which rows are locked.
    keys: Vec<String>,
    /// For each call, where its keys are in `keys`.
    places: Vec<Vec<usize>>,
}

/// A row as it is, or as it shall be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) state: Option<String>,
    pub(crate) expires_at: i64,
}

impl Row {
    #[allow(clippy::cast_precision_loss)] // an instant of the next 285,000 years is exact
    fn live(&self, now_ms: f64) -> Option<String> {
        self.state.as_ref().filter(|_| self.expires_at as f64 > now_ms).cloned()
    }
}

impl Batch {
    pub(crate) fn new(calls: Vec<Call>, prefix: &str) -> Self {
        let full = |key: &String| prefixed(prefix, key);
        let of_calls: Vec<Vec<String>> = calls.iter().map(|call| call.keys().iter().map(full).collect()).collect();
        let mut keys: Vec<String> = of_calls.iter().flatten().cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        let place = |key: &String| keys.binary_search(key).unwrap_or_else(|place| place);
        let places = of_calls.iter().map(|of_call| of_call.iter().map(place).collect()).collect();
        Self { calls, keys, places }
    }

    pub(crate) fn calls(&mut self) -> &mut [Call] {
        &mut self.calls
    }

    pub(crate) fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Where the only key of a call is.
    pub(crate) fn place(&self, call: usize) -> usize {
        self.places.get(call).and_then(|places| places.first()).copied().unwrap_or_default()
    }

    /// Whether some calls are about the same key.
    pub(crate) fn meets(&self) -> bool {
        self.keys.len() < self.places.iter().map(Vec::len).sum()
    }

    /// The first call whose only key is `key`.
    pub(crate) fn call_on(&self, key: &str) -> Option<usize> {
        let place = self.keys.binary_search_by(|own| own.as_str().cmp(key)).ok()?;
        self.places.iter().position(|places| places.first() == Some(&place))
    }

    /// Steps every call over `rows`, one for each of [`keys`](Self::keys), and changes them.
    pub(crate) fn step(&mut self, rows: &mut [Row], server_ms: Option<f64>) -> Vec<Answer> {
        let calls = self.calls.iter_mut().zip(&self.places);
        let mut step = |(call, places): (&mut Call, &Vec<usize>)| {
            let now_ms = server_ms.unwrap_or_else(|| call.now_ms().floor());
            let states: Vec<_> = places.iter().map(|place| rows.get(*place)?.live(now_ms)).collect();
            let writes = match call.step(&states, now_ms) {
                Ok(writes) => writes,
                Err(error) => return Answer::Is(Err(error)),
            };
            let denied = writes.is_empty() && !call.read_only();
            for write in writes {
                if let Some(row) = places.get(write.key).and_then(|place| rows.get_mut(*place)) {
                    *row = match write.state {
                        Some((text, ttl_ms)) => Row { state: Some(text), expires_at: deadline(now_ms, ttl_ms) },
                        None => Row::default(),
                    };
                }
            }
            if denied { Answer::Denied } else { Answer::Is(Ok(())) }
        };
        calls.map(&mut step).collect()
    }

    /// Steps every call over `rows`; those that would change them are lost.
    pub(crate) fn judge(&mut self, rows: &[Row], server_ms: Option<f64>) -> Vec<Answer> {
        let calls = self.calls.iter_mut().zip(&self.places);
        let judge = |(call, places): (&mut Call, &Vec<usize>)| {
            let now_ms = server_ms.unwrap_or_else(|| call.now_ms().floor());
            let states: Vec<_> = places.iter().map(|place| rows.get(*place)?.live(now_ms)).collect();
            match call.step(&states, now_ms) {
                Ok(writes) if writes.is_empty() => Answer::Denied,
                Ok(_) => Answer::Lost,
                Err(error) => Answer::Is(Err(error)),
            }
        };
        calls.map(judge).collect()
    }
}

/// When a state that is written at `now_ms` expires.
#[allow(clippy::cast_possible_truncation)] // a state that outlives 64 bits lives for ever
fn deadline(now_ms: f64, ttl_ms: f64) -> i64 {
    (now_ms + ttl_ms.ceil().max(1.0)) as i64
}
