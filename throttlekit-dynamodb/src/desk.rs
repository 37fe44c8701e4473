//! Who may go: calls of this process that share a key wait for each other, and go on together.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// How many calls go together at most, so that no answer waits for an endless step.
const MAX_TOGETHER: usize = 1_024;
/// Up to how many keys calls are written at once where they need not be: far below what a table takes in one transaction, in
/// number and in size.
pub(crate) const MAX_KEYS_TOGETHER: usize = 25;

/// A call that may have to wait.
pub(crate) trait Waiting {
    /// Whether nobody wants the answer any more.
    fn is_gone(&self) -> bool;
}

/// Calls that go together, in the order in which they came, and all of their keys. No other call on these keys goes until
/// [`Desk::leave`] is told.
#[derive(Debug)]
pub(crate) struct Party<T> {
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) members: Vec<(T, Vec<Arc<str>>)>,
}

/// The calls that wait, by key, in the order in which they came.
///
/// A call goes when it is the first on each of its keys and nobody is under way on any of them; those behind it go along
/// if they are then first too. So calls on a key never overtake each other, and calls on several keys cannot block each
/// other, since all queues have the same order.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    lanes: HashMap<Arc<str>, Lane>,
    waiting: HashMap<u64, (T, Vec<Arc<str>>)>,
    next: u64,
}

#[derive(Debug, Default)]
struct Lane {
    busy: bool,
    queue: VecDeque<u64>,
}

impl<T: Waiting> Desk<T> {
    pub(crate) fn new() -> Self {
        Self { lanes: HashMap::new(), waiting: HashMap::new(), next: 0 }
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a call on distinct `keys`: it goes at once, or waits until a later [`leave`](Self::leave) gives it back.
    pub(crate) fn enter(&mut self, call: T, keys: Vec<Arc<str>>) -> Option<Party<T>> {
        let is_free = |key| self.lanes.get(key).is_none_or(|lane: &Lane| !lane.busy && lane.queue.is_empty());
        if keys.iter().all(is_free) {
            for key in &keys {
                self.lanes.entry(Arc::clone(key)).or_default().busy = true;
            }
            return Some(Party { keys: keys.clone(), members: vec![(call, keys)] });
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        for key in &keys {
            self.lanes.entry(Arc::clone(key)).or_default().queue.push_back(number);
        }
        self.waiting.insert(number, (call, keys));
        None
    }

    /// Frees the keys of a party, and gives those that go next.
    pub(crate) fn leave(&mut self, keys: &[Arc<str>]) -> Vec<Party<T>> {
        for key in keys {
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.busy = false;
            }
        }
        let mut parties = Vec::new();
        let mut todo: Vec<Arc<str>> = keys.to_vec();
        while let Some(key) = todo.pop() {
            while let Some(number) = self.first(&key, &mut todo) {
                if !self.can_go(number, |_| false) {
                    break;
                }
                parties.push(self.gather(number, &mut todo));
            }
            if self.lanes.get(&key).is_some_and(|lane| !lane.busy && lane.queue.is_empty()) {
                self.lanes.remove(&key);
            }
        }
        parties
    }

    /// The call that is first on `key`. Those that nobody waits for are dropped on the way; what they blocked elsewhere
    /// is put on `todo`.
    fn first(&mut self, key: &str, todo: &mut Vec<Arc<str>>) -> Option<u64> {
        loop {
            let number = *self.lanes.get(key)?.queue.front()?;
            match self.waiting.get(&number) {
                Some((call, _)) if !call.is_gone() => return Some(number),
                Some(_) => todo.extend(self.waiting.remove(&number).into_iter().flat_map(|(_, keys)| keys)),
                None => {}
            }
            self.lanes.get_mut(key)?.queue.pop_front();
        }
    }

    /// Whether a waiting call is first on all of its keys, and each is free or `ours`.
    fn can_go(&self, number: u64, ours: impl Fn(&str) -> bool) -> bool {
        let Some((_, keys)) = self.waiting.get(&number) else { return false };
        let is_first = |key: &Arc<str>| {
            let lane = self.lanes.get(key);
            lane.is_some_and(|lane| lane.queue.front() == Some(&number) && (!lane.busy || ours(key)))
        };
        keys.iter().all(is_first)
    }

    /// The party of a call that can go, and of all behind it that can go along.
    fn gather(&mut self, number: u64, todo: &mut Vec<Arc<str>>) -> Party<T> {
        let mut party = Party { keys: Vec::new(), members: Vec::new() };
        let mut ours = HashSet::new();
        self.take(number, &mut party, &mut ours);
        let mut at = 0;
        // Whoever is taken may make one behind first on another key, so a small party looks at all keys again.
        while at < party.keys.len() && party.members.len() < MAX_TOGETHER {
            let key = Arc::clone(&party.keys[at]);
            at += 1;
            let mut taken = false;
            while let Some(number) = self.first(&key, todo) {
                let Some((_, keys)) = self.waiting.get(&number) else { break };
                let new = keys.iter().filter(|key| !ours.contains(*key)).count();
                let fits = keys.len() == 1 || party.keys.len() + new <= MAX_KEYS_TOGETHER;
                if !fits || party.members.len() >= MAX_TOGETHER || !self.can_go(number, |key| ours.contains(key)) {
                    break;
                }
                self.take(number, &mut party, &mut ours);
                taken = true;
            }
            if taken && party.keys.len() <= MAX_KEYS_TOGETHER {
                at = 0;
            }
        }
        party
    }

    fn take(&mut self, number: u64, party: &mut Party<T>, ours: &mut HashSet<Arc<str>>) {
        let Some((call, keys)) = self.waiting.remove(&number) else { return };
        for key in &keys {
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.queue.pop_front();
                lane.busy = true;
            }
            if ours.insert(Arc::clone(key)) {
                party.keys.push(Arc::clone(key));
            }
        }
        party.members.push((call, keys));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;

    use super::{Desk, MAX_KEYS_TOGETHER, MAX_TOGETHER, Party, Waiting};

    struct Call(usize, Rc<Cell<bool>>);

    impl Waiting for Call {
        fn is_gone(&self) -> bool {
            self.1.get()
        }
    }

    /// Enters calls by number and key letters, and remembers how to drop them.
    struct Room {
        desk: Desk<Call>,
        gone: Vec<Rc<Cell<bool>>>,
    }

    impl Room {
        fn new() -> Self {
            Self { desk: Desk::new(), gone: Vec::new() }
        }

        fn enter(&mut self, keys: &str) -> Option<Party<Call>> {
            let gone = Rc::new(Cell::new(false));
            self.gone.push(Rc::clone(&gone));
            self.desk.enter(Call(self.gone.len() - 1, gone), split(keys))
        }

        fn leave(&mut self, keys: &str) -> Vec<Vec<usize>> {
            let mut parties: Vec<_> = self.desk.leave(&split(keys)).iter().map(numbers).collect();
            parties.sort();
            parties
        }

        fn is_empty(&self) -> bool {
            self.desk.lanes.is_empty() && self.desk.waiting.is_empty()
        }
    }

    fn split(keys: &str) -> Vec<Arc<str>> {
        keys.split(' ').map(Arc::from).collect()
    }

    fn numbers(party: &Party<Call>) -> Vec<usize> {
        party.members.iter().map(|(call, _)| call.0).collect()
    }

    #[test]
    fn calls_on_other_keys_go_at_once() {
        let mut room = Room::new();
        assert!(room.enter("a").is_some() && room.enter("b").is_some() && room.enter("c d").is_some());
        assert!(room.leave("a").is_empty() && room.leave("b").is_empty() && room.leave("c d").is_empty());
        assert!(room.is_empty());
    }

    #[test]
    fn those_that_wait_for_a_key_go_together_in_order() {
        let mut room = Room::new();
        room.enter("a");
        for _ in 0..3 {
            assert!(room.enter("a").is_none());
        }
        assert_eq!(room.leave("a"), [[1, 2, 3]]);
        assert!(room.enter("a").is_none());
        assert_eq!(room.leave("a"), [[4]]);
        assert!(room.leave("a").is_empty() && room.is_empty());
    }

    #[test]
    fn a_call_on_two_keys_waits_for_both_and_is_not_overtaken() {
        let mut room = Room::new();
        room.enter("a");
        room.enter("b");
        assert!(room.enter("a b").is_none());
        // It is behind the third on `a`, so it does not go although `a` becomes free first.
        assert!(room.enter("a").is_none());
        assert!(room.leave("a").is_empty());
        assert_eq!(room.leave("b"), [[2, 3]]);
        assert!(room.leave("a b").is_empty() && room.is_empty());
    }

    #[test]
    fn opposite_orders_of_keys_do_not_block() {
        let mut room = Room::new();
        room.enter("a b");
        assert!(room.enter("b a").is_none() && room.enter("a b").is_none());
        assert_eq!(room.leave("a b"), [[1, 2]]);
    }

    #[test]
    fn calls_that_share_a_key_gather_up_to_a_number_of_keys() {
        let mut room = Room::new();
        room.enter("all");
        for n in 0..100 {
            assert!(room.enter(&format!("all u{n}")).is_none());
        }
        let parties = room.leave("all");
        let first: Vec<usize> = (1..MAX_KEYS_TOGETHER).collect();
        assert_eq!(parties, [first]);
    }

    #[test]
    fn a_party_is_bounded() {
        let mut room = Room::new();
        room.enter("a");
        for _ in 0..=MAX_TOGETHER {
            room.enter("a");
        }
        assert_eq!(room.leave("a"), [(1..=MAX_TOGETHER).collect::<Vec<_>>()]);
        assert_eq!(room.leave("a"), [[MAX_TOGETHER + 1]]);
    }

    #[test]
    fn what_nobody_waits_for_is_dropped_and_blocks_nobody() {
        let mut room = Room::new();
        room.enter("a");
        room.enter("a b");
        room.enter("b");
        assert_eq!(room.desk.waiting(), 2);
        room.gone[1].set(true);
        assert_eq!(room.leave("a"), [[2]]);
        assert!(room.leave("b").is_empty() && room.is_empty());
    }

    #[test]
    fn nothing_is_left_when_all_are_gone() {
        let mut room = Room::new();
        room.enter("a b c");
        for keys in ["a", "b c", "c a", "b"] {
            room.enter(keys);
        }
        for gone in &room.gone {
            gone.set(true);
        }
        assert!(room.leave("a b c").is_empty());
        assert!(room.is_empty());
    }
}
