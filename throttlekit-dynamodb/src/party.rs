//! Running calls that go together: read what is not known, step, write on condition, and again after a lost race.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use throttlekit::Error;
use throttlekit::store::{Call, Rule};
use tokio::time::Instant;

use crate::backoff::{Backoff, give_way};
use crate::desk::MAX_KEYS_TOGETHER;
use crate::groups::Groups;
use crate::inner::Inner;
use crate::item::{Item, deadline_ms, first_version, next_version};
use crate::table::{Action, Change, Condition, Fate, Held, MAX_AT_ONCE, Outcome};
use crate::trouble::Trouble;

/// For how long others are expected to write to a key at the same time after they were last seen to.
const CROWD: Duration = Duration::from_secs(1);

/// Calls and the keys that they have between them.
///
/// All calls are stepped in order over the states, each seeing what those before it change, and what that comes to is
/// written once for each key. Keys that no joint call connects are written on their own; connected ones in one
/// transaction. Where the condition of a write fails, the keys of that write are stepped again, over what they hold now;
/// keys that were written stay as they are, and calls on both see them as they saw them then. A step is pure, so what was
/// decided for a written key is decided again.
pub(crate) struct Party {
    slots: Vec<Slot>,
    members: Vec<Member>,
}

/// One key.
struct Slot {
    key: Arc<str>,
    base: Base,
    /// Written, or known to need no write, or given up.
    is_closed: bool,
    trouble: Option<Trouble>,
}

/// What is known of a key before the step.
#[derive(Clone)]
enum Base {
    /// Nothing yet.
    Unknown,
    /// Nothing, and nothing needs to be.
    Unneeded,
    /// What this process last saw. Only a condition proves it.
    Remembered(Item),
    /// What the table told since the calls came.
    Read(Held),
}

/// One call.
pub(crate) struct Member {
    call: Call,
    now_ms: f64,
    /// The slot of each key of the call.
    slots: Vec<usize>,
    /// The states that it was last stepped over.
    states: Vec<Option<String>>,
    error: Option<Error>,
    /// The error stands: others were written without this call.
    is_out: bool,
}

impl Member {
    /// A call whose keys have the given places among the keys of the party.
    pub(crate) fn new(call: Call, now_ms: f64, slots: Vec<usize>) -> Self {
        Self { call, now_ms, slots, states: Vec::new(), error: None, is_out: false }
    }

    /// Whether its keys have to be written at once. Those of a large batch need not be: it is as many calls.
    fn is_joint(&self) -> bool {
        let is_small = self.slots.len() <= MAX_KEYS_TOGETHER;
        self.slots.len() > 1 && (is_small || self.call.rule() == Rule::All)
    }
}

/// What the step leaves under a key: a state and its deadline, or nothing.
type Left = Option<(String, f64)>;

impl Party {
    pub(crate) fn new(keys: Vec<Arc<str>>, members: Vec<Member>) -> Self {
        let slot = |key| Slot { key, base: Base::Unknown, is_closed: false, trouble: None };
        Self { slots: keys.into_iter().map(slot).collect(), members }
    }

    /// Runs all calls, and gives them back with what came of each, in order.
    pub(crate) async fn run(mut self, inner: &Inner) -> Vec<(Call, Result<(), Error>)> {
        if let Err(trouble) = self.settle(inner).await {
            self.close_open(inner, &trouble);
        }
        let trouble = |member: &Member| member.slots.iter().find_map(|slot| self.slots[*slot].trouble.clone());
        let answers: Vec<_> = self.members.iter().map(trouble).collect();
        let answer = |(member, trouble): (Member, Option<Trouble>)| match (member.error, trouble) {
            (Some(error), _) => (member.call, Err(error)),
            (None, Some(trouble)) => (member.call, Err(trouble.into_error())),
            (None, None) => (member.call, Ok(())),
        };
        self.members.into_iter().zip(answers).map(answer).collect()
    }

    async fn settle(&mut self, inner: &Inner) -> Result<(), Trouble> {
        let mut is_crowd = self.recall(inner);
        if is_crowd {
            give_way().await;
            self.doubt();
        }
        let mut backoff = Backoff::new(inner.max_retries);
        loop {
            let unknown = self.positions(|slot| matches!(slot.base, Base::Unknown));
            self.read(inner, &unknown).await?;
            let left = self.step();
            let groups = self.groups();
            let unproven = self.unproven(&left, &groups);
            if !unproven.is_empty() {
                self.read(inner, &unproven).await?;
                continue;
            }
            for member in &mut self.members {
                member.is_out |= member.error.is_some();
            }
            self.commit(inner, left, groups).await;
            if self.slots.iter().all(|slot| slot.is_closed) {
                return Ok(());
            }
            // The first lost race says that what was remembered is old, and what is there now. One that is lost after that
            // shows that others write at the same time: wait, and look again.
            if is_crowd {
                self.note_crowd(inner);
            }
            if !(if is_crowd { backoff.wait().await } else { backoff.go_on() }) {
                let text = format!("gave up after {} lost races", u64::from(inner.max_retries) + 1);
                return Err(Trouble::unavailable(text));
            }
            if is_crowd {
                self.doubt();
            }
            is_crowd = true;
        }
    }

    fn note_crowd(&self, inner: &Inner) {
        let now = Instant::now();
        let mut remembered = inner.remembered();
        for slot in self.slots.iter().filter(|slot| !slot.is_closed) {
            remembered.crowd(&slot.key, now);
        }
    }

    /// Takes what is known of open keys for out of date.
    fn doubt(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_closed) {
            if matches!(slot.base, Base::Remembered(_) | Base::Read(_)) {
                slot.base = Base::Unknown;
            }
        }
    }

    /// Starts from what this process remembers, and says whether others wrote to a key at the same time just now.
    fn recall(&mut self, inner: &Inner) -> bool {
        let mut needed = vec![false; self.slots.len()];
        for member in self.members.iter().filter(|member| !member.call.ignores_state()) {
            for slot in &member.slots {
                needed[*slot] = true;
            }
        }
        let mut remembered = inner.remembered();
        let mut is_crowd = false;
        for (slot, needed) in self.slots.iter_mut().zip(needed) {
            slot.base = match remembered.get(&slot.key) {
                _ if !needed => Base::Unneeded,
                Some(known) => {
                    is_crowd |= known.crowded.is_some_and(|at| at.elapsed() < CROWD);
                    Base::Remembered(known.item.clone())
                }
                None => Base::Unknown,
            };
        }
        is_crowd
    }

    /// The open slots that `pick` picks.
    fn positions(&self, pick: impl Fn(&Slot) -> bool) -> Vec<usize> {
        (0..self.slots.len()).filter(|at| !self.slots[*at].is_closed && pick(&self.slots[*at])).collect()
    }

    async fn read(&mut self, inner: &Inner, slots: &[usize]) -> Result<(), Trouble> {
        if slots.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = slots.iter().map(|slot| Arc::clone(&self.slots[*slot].key)).collect();
        let found = inner.table.read_many(&keys, inner.max_retries).await?;
        let mut remembered = inner.remembered();
        for ((slot, key), held) in slots.iter().zip(keys).zip(found) {
            match &held {
                Held::Item(item) => remembered.put(key, item.clone()),
                Held::Nothing | Held::Broken(_) => remembered.forget(&key),
            }
            self.slots[*slot].base = Base::Read(held);
        }
        Ok(())
    }

    /// Steps every call in order, and says what is left under each open key that changes.
    fn step(&mut self) -> Vec<Option<Left>> {
        let mut left: Vec<Option<Left>> = vec![None; self.slots.len()];
        for member in self.members.iter_mut().filter(|member| !member.is_out) {
            member.error = None;
            let now_ms = member.now_ms;
            let states = member.slots.iter().enumerate().map(|(at, slot)| match (&self.slots[*slot], &left[*slot]) {
                (Slot { is_closed: true, .. }, _) => Ok(member.states.get(at).cloned().flatten()),
                (_, Some(left)) => Ok(left.clone().filter(|(_, until)| *until > now_ms).map(|(text, _)| text)),
                (slot, None) => slot.base.state(now_ms),
            });
            let states = match states.collect::<Result<Vec<_>, _>>() {
                Ok(states) => states,
                Err(_) if member.call.ignores_state() => vec![None; member.slots.len()],
                Err(why) => {
                    member.error = Some(Error::state_invalid(why));
                    continue;
                }
            };
            match member.call.step(&states, now_ms) {
                Ok(writes) => {
                    for write in writes {
                        let until = |(text, ttl_ms)| (text, deadline_ms(now_ms, ttl_ms));
                        left[member.slots[write.key]] = Some(write.state.map(until));
                    }
                }
                Err(error) => member.error = Some(error),
            }
            member.states = states;
        }
        // What is gone already needs no deletion.
        for (left, slot) in left.iter_mut().zip(&self.slots) {
            let is_gone = matches!(slot.base, Base::Read(Held::Nothing));
            if slot.is_closed || (is_gone && matches!(left, Some(None))) {
                *left = None;
            }
        }
        left
    }

    /// The open keys by what has to be written at once: those that a joint call connects, whatever became of the call.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups = Groups::new(self.slots.len());
        for member in self.members.iter().filter(|member| member.error.is_none() && member.is_joint()) {
            groups.connect(&member.slots);
        }
        groups.list(|slot| !self.slots[slot].is_closed)
    }

    /// What was stepped over a remembered state and will not be proven by a condition: a denial, above all. The table may
    /// hold something else by now, so it has to be read before anybody is answered.
    fn unproven(&self, left: &[Option<Left>], groups: &[Vec<usize>]) -> Vec<usize> {
        let quiet = groups.iter().filter(|group| group.iter().all(|slot| left[*slot].is_none())).flatten();
        let failed = self.members.iter().filter(|member| member.error.is_some() && !member.is_out);
        let mut wanted = vec![false; self.slots.len()];
        for slot in quiet.chain(failed.flat_map(|member| &member.slots)) {
            wanted[*slot] = true;
        }
        let is_remembered = |slot: &usize| matches!(self.slots[*slot].base, Base::Remembered(_));
        (0..wanted.len()).filter(|slot| wanted[*slot] && !self.slots[*slot].is_closed).filter(is_remembered).collect()
    }

    /// Writes each group on the condition that its keys hold what was stepped over.
    async fn commit(&mut self, inner: &Inner, mut left: Vec<Option<Left>>, groups: Vec<Vec<usize>>) {
        let mut writes = Vec::new();
        for group in groups {
            if group.iter().all(|slot| left[*slot].is_none()) {
                for slot in group {
                    self.slots[slot].is_closed = true;
                }
                continue;
            }
            let changes = group.iter().map(|slot| self.slots[*slot].change(inner, left[*slot].take()));
            match changes.collect::<Result<Vec<_>, _>>() {
                Ok(changes) => writes.push((group, changes)),
                Err(trouble) => self.give_up(inner, &group, &trouble),
            }
        }
        let writes = writes.into_iter().map(|(group, changes)| async move {
            // A key without a change and without a condition has no part in the write.
            let sent: Vec<_> = changes.iter().flatten().cloned().collect();
            (group, changes, inner.table.write(sent).await)
        });
        let mut done = stream::iter(writes).buffer_unordered(MAX_AT_ONCE);
        while let Some((group, changes, outcome)) = done.next().await {
            match outcome {
                Ok(Outcome::Done) => self.close(inner, &group, changes),
                Ok(Outcome::Lost(fates)) => {
                    let sent = group.iter().zip(&changes).filter(|(_, change)| change.is_some());
                    for ((slot, _), fate) in sent.zip(fates) {
                        self.slots[*slot].lose(inner, fate);
                    }
                }
                Err(trouble) => self.give_up(inner, &group, &trouble),
            }
        }
    }

    fn close(&mut self, inner: &Inner, group: &[usize], changes: Vec<Option<Change>>) {
        let mut remembered = inner.remembered();
        for (slot, change) in group.iter().zip(changes) {
            self.slots[*slot].is_closed = true;
            match change.map(|change| (change.key, change.action)) {
                Some((key, Action::Put(item))) => remembered.put(key, item),
                Some((key, Action::Delete)) => remembered.forget(&key),
                Some((_, Action::Check)) | None => {}
            }
        }
    }

    fn give_up(&mut self, inner: &Inner, group: &[usize], trouble: &Trouble) {
        let mut remembered = inner.remembered();
        for slot in group {
            let slot = &mut self.slots[*slot];
            remembered.forget(&slot.key);
            slot.is_closed = true;
            slot.trouble = Some(trouble.clone());
        }
    }

    fn close_open(&mut self, inner: &Inner, trouble: &Trouble) {
        let open = self.positions(|_| true);
        self.give_up(inner, &open, trouble);
    }
}

impl Base {
    /// The state at `now_ms`; `Err` says why it cannot be read.
    fn state(&self, now_ms: f64) -> Result<Option<String>, &'static str> {
        match self {
            Self::Remembered(item) => item.state(now_ms),
            Self::Read(held) => held.state(now_ms),
            Self::Unknown | Self::Unneeded => Ok(None),
        }
    }

    /// What must still hold when the key is written.
    fn condition(&self) -> Condition {
        match self {
            Self::Remembered(item) | Self::Read(Held::Item(item)) => Condition::Version(item.version),
            Self::Read(Held::Nothing) => Condition::Nothing,
            // Only a call that ignores the state gets this far.
            Self::Unknown | Self::Unneeded | Self::Read(Held::Broken(_)) => Condition::None,
        }
    }
}

impl Slot {
    /// The part of this key in a write; `None` if it has none.
    fn change(&self, inner: &Inner, left: Option<Left>) -> Result<Option<Change>, Trouble> {
        let condition = self.base.condition();
        let action = match left {
            None if matches!(condition, Condition::None) => return Ok(None),
            None => Action::Check,
            Some(None) => Action::Delete,
            Some(Some((text, deadline_ms))) => {
                let next = match condition {
                    Condition::Version(version) => next_version(version),
                    Condition::Nothing | Condition::None => None,
                };
                let no_random = |_| Trouble::unavailable("the system gives no randomness");
                let version = next.map_or_else(|| first_version().map_err(no_random), Ok)?;
                let item = Item { version, text: Some(text), deadline_ms };
                if !item.fits(&inner.table.hash_key, &self.key) {
                    return Err(Trouble::unsupported("the state is longer than the 400 KB of a DynamoDB item"));
                }
                Action::Put(item)
            }
        };
        Ok(Some(Change { key: Arc::clone(&self.key), condition, action }))
    }

    /// Takes in what a lost race told.
    fn lose(&mut self, inner: &Inner, fate: Fate) {
        match (fate, &self.base) {
            (Fate::Changed(Some(item)), _) => {
                inner.remembered().put(Arc::clone(&self.key), item.clone());
                self.base = Base::Read(Held::Item(item));
            }
            (Fate::Changed(None), _) => {
                inner.remembered().forget(&self.key);
                self.base = Base::Unknown;
            }
            // Read before the other one wrote, so no longer good for an answer.
            (Fate::Unknown, Base::Read(Held::Item(item))) => self.base = Base::Remembered(item.clone()),
            (Fate::Unknown, Base::Read(_)) => self.base = Base::Unknown,
            (Fate::Unknown, Base::Unknown | Base::Unneeded | Base::Remembered(_)) => {}
        }
    }
}
