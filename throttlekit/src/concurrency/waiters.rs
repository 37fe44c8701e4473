//! Who waits, and who is next.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use super::word::View;
use crate::priority::Priority;

/// How much a key would hold for its weight if it got one more slot. Whoever would hold least is next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    slots: u32,
    weight: u64,
}

impl Rank {
    /// The same for all, where slots are not counted for each key.
    pub(super) const EQUAL: Self = Self { slots: 1, weight: 1 };

    /// `weight` is above 0.
    pub(super) fn after(held: u32, weight: u64) -> Self {
        Self { slots: held.saturating_add(1), weight }
    }
}

impl Ord for Rank {
    /// As fractions, exactly.
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |a: &Self, b: &Self| u128::from(a.slots) * u128::from(b.weight);
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// A slot that was handed to one who waited.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    /// The slots at that moment.
    pub(super) view: View,
    pub(super) key: u64,
}

/// Where one stands who took a ticket.
pub(super) enum Standing {
    /// In the queue.
    Waits,
    /// Out of it, with a slot.
    Seated(Seat),
    /// Out of it: somebody else got the place.
    Displaced,
}

struct Ticket {
    key: u64,
    level: usize,
    seat: Option<Seat>,
    waker: Option<Waker>,
}

/// What came of asking for a place.
pub(super) struct Place {
    pub(super) ticket: u64,
    /// Who lost theirs for it, and has to be told.
    pub(super) displaced: Option<Displaced>,
}

pub(super) struct Displaced {
    pub(super) key: u64,
    pub(super) waker: Option<Waker>,
}

/// Those who wait of one priority.
#[derive(Default)]
struct Level {
    /// The tickets of each key in the order in which they were taken.
    tickets: BTreeSet<(u64, u64)>,
    /// The same tickets, whosesoever.
    newest: BTreeSet<u64>,
    /// The keys by the number of their tickets.
    lengths: BTreeSet<(usize, u64)>,
    lines: BTreeMap<u64, Line>,
    /// The keys that may be served, the next one first.
    ring: BTreeSet<(Rank, u64, u64)>,
}

/// The tickets of a key, as a whole.
#[derive(Clone, Copy)]
struct Line {
    length: usize,
    /// None while the key may not be served.
    rank: Option<Rank>,
    /// Among equals, the lowest is next.
    turn: u64,
}

impl Level {
    fn length_of(&self, key: u64) -> usize {
        self.lines.get(&key).map_or(0, |line| line.length)
    }

    /// Changes the line of `key`, which is made and dropped as needed.
    fn change(&mut self, key: u64, fresh: Line, change: impl FnOnce(&mut Line)) {
        let before = self.lines.get(&key).copied();
        if let Some(line) = before {
            self.lengths.remove(&(line.length, key));
            if let Some(rank) = line.rank {
                self.ring.remove(&(rank, line.turn, key));
            }
        }
        let mut line = before.unwrap_or(fresh);
        change(&mut line);
        if line.length == 0 {
            self.lines.remove(&key);
            return;
        }
        self.lengths.insert((line.length, key));
        if let Some(rank) = line.rank {
            self.ring.insert((rank, line.turn, key));
        }
        self.lines.insert(key, line);
    }

    fn add(&mut self, key: u64, ticket: u64, fresh: Line) {
        self.tickets.insert((key, ticket));
        self.newest.insert(ticket);
        self.change(key, fresh, |line| line.length += 1);
    }

    /// Takes a ticket out that is in. With a `turn`, because it was served.
    fn remove(&mut self, key: u64, ticket: u64, turn: Option<u64>) {
        self.tickets.remove(&(key, ticket));
        self.newest.remove(&ticket);
        let fresh = Line { length: 0, rank: None, turn: 0 };
        self.change(key, fresh, |line| {
            line.length = line.length.saturating_sub(1);
            line.turn = turn.unwrap_or(line.turn);
        });
    }

    fn first_of(&self, key: u64) -> Option<u64> {
        self.tickets.range((key, 0)..=(key, u64::MAX)).next().map(|(_, ticket)| *ticket)
    }

    fn last_of(&self, key: u64) -> Option<u64> {
        self.tickets.range((key, 0)..=(key, u64::MAX)).next_back().map(|(_, ticket)| *ticket)
    }

    fn next(&self) -> Option<u64> {
        self.ring.first().map(|(_, _, key)| *key)
    }
}

/// A bounded queue: the higher priority first; within one, the key with the least rank, and among equals in turns; within a
/// key, in the order of arrival. Every operation takes a time logarithmic in the number of those who wait.
pub(super) struct Waiters {
    max: usize,
    waiting: usize,
    tickets: BTreeMap<u64, Ticket>,
    levels: [Level; Priority::ALL.len()],
    next_ticket: u64,
    next_turn: u64,
}

impl Waiters {
    /// Room for `max`, at least 1.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            waiting: 0,
            tickets: BTreeMap::new(),
            levels: Default::default(),
            next_ticket: 0,
            next_turn: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Whether anybody waits who may be served.
    pub(super) fn any_next(&self) -> bool {
        self.levels.iter().any(|level| !level.ring.is_empty())
    }

    /// Whose ticket it is, if it is in use.
    pub(super) fn key_of(&self, ticket: u64) -> Option<u64> {
        self.tickets.get(&ticket).map(|held| held.key)
    }

    /// Whether anybody waits under `key`.
    pub(super) fn has(&self, key: u64) -> bool {
        self.levels.iter().any(|level| level.lines.contains_key(&key))
    }

    /// Takes a place at the end. If the queue is full, somebody has to give way: the last one of the lowest priority below this
    /// one; or, of the same priority, the last one of the key that has most places, if it keeps as many as this key then has.
    pub(super) fn push(&mut self, key: u64, priority: Priority, rank: Option<Rank>) -> Option<Place> {
        let index = priority.index();
        let displaced = if self.waiting < self.max {
            None
        } else {
            let victim = self.victim(key, index)?;
            let ticket = self.take_out(victim)?;
            Some(Displaced { key: ticket.key, waker: ticket.waker })
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let turn = self.turn();
        self.levels[index].add(key, ticket, Line { length: 0, rank, turn });
        self.tickets.insert(ticket, Ticket { key, level: index, seat: None, waker: None });
        self.waiting += 1;
        Some(Place { ticket, displaced })
    }

    fn turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    fn victim(&self, key: u64, index: usize) -> Option<u64> {
        let lower = self.levels[..index].iter().find_map(|level| level.newest.last());
        if let Some(ticket) = lower {
            return Some(*ticket);
        }
        let level = &self.levels[index];
        let (length, longest) = *level.lengths.last()?;
        if length > level.length_of(key) + 1 { level.last_of(longest) } else { None }
    }

    /// Takes out a ticket that waits.
    fn take_out(&mut self, ticket: u64) -> Option<Ticket> {
        let taken = self.tickets.remove(&ticket)?;
        self.levels[taken.level].remove(taken.key, ticket, None);
        self.waiting -= 1;
        Some(taken)
    }

    /// The key that is next, and at which level: the highest priority among the keys that come `first`, if there is one, or
    /// else among all. A key with a lower rank than one that comes first has to come first too.
    pub(super) fn next(&self, first: impl Fn(u64) -> bool) -> Option<(usize, u64)> {
        let heads = || {
            let levels = self.levels.iter().enumerate().rev();
            levels.filter_map(|(index, level)| level.next().map(|key| (index, key)))
        };
        heads().find(|(_, key)| first(*key)).or_else(|| heads().next())
    }

    /// Hands a slot to the first in the line that was [next](Self::next); answers whom to wake. The line goes to the end of
    /// its equals.
    pub(super) fn seat(&mut self, (index, key): (usize, u64), view: View) -> Option<Waker> {
        let ticket = self.levels[index].first_of(key)?;
        let turn = self.turn();
        self.levels[index].remove(key, ticket, Some(turn));
        self.waiting -= 1;
        let ticket = self.tickets.get_mut(&ticket)?;
        ticket.seat = Some(Seat { view, key });
        ticket.waker.take()
    }

    /// Sets the rank of a key; none while it may not be served.
    pub(super) fn rank(&mut self, key: u64, rank: Option<Rank>) {
        for level in &mut self.levels {
            if level.lines.contains_key(&key) {
                level.change(key, Line { length: 0, rank, turn: 0 }, |line| line.rank = rank);
            }
        }
    }

    /// Where a ticket stands. One that waits is told through `waker` when that changes; one that does not is used up.
    pub(super) fn look(&mut self, ticket: u64, waker: &Waker) -> Standing {
        let Some(held) = self.tickets.get_mut(&ticket) else { return Standing::Displaced };
        if let Some(seat) = held.seat {
            self.tickets.remove(&ticket);
            return Standing::Seated(seat);
        }
        match &mut held.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Standing::Waits
    }

    /// Gives a ticket up, and says where it stood.
    pub(super) fn leave(&mut self, ticket: u64) -> Standing {
        match self.tickets.get(&ticket).map(|held| held.seat) {
            None => Standing::Displaced,
            Some(Some(seat)) => {
                self.tickets.remove(&ticket);
                Standing::Seated(seat)
            }
            Some(None) => {
                self.take_out(ticket);
                Standing::Waits
            }
        }
    }
}
