//! What leases can admit at most, for any number of holders and any order of events.

use std::collections::HashMap;

use proptest::prelude::*;
use throttlekit::lease::{GrantForm, Sizer, TwoTier};
use throttlekit::strategy::fixed_window::Count;
use throttlekit::{Decision, Error, FixedWindow, ManualClock, Refund};

use crate::support::held::{Held, Task};

/// The length of a window in milliseconds.
const WINDOW: f64 = 100.0;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A holder is asked for so many units.
    Check(usize, u8),
    /// The store answers one of those who wait.
    Answer(usize),
    /// A caller goes away.
    Leave(usize),
    /// So many milliseconds pass.
    Pass(u8),
    /// A holder gives back what it holds.
    GiveBack(usize),
    /// A request that was admitted gives so many of its units back.
    Refund(usize, u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..4_usize, 1..5_u8).prop_map(|(node, cost)| Act::Check(node, cost)),
        5 => (0..8_usize).prop_map(Act::Answer),
        1 => (0..8_usize).prop_map(Act::Leave),
        2 => (1..45_u8).prop_map(Act::Pass),
        1 => (0..4_usize).prop_map(Act::GiveBack),
        2 => (0..8_usize, 1..5_u8).prop_map(|(at, units)| Act::Refund(at, units)),
    ]
}

/// Sizes that follow no rule, to show that none is needed.
struct Wild(u32);

impl Sizer for Wild {
    fn size(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 28)
    }

    fn observe(&mut self, _demand: f64) {}
}

/// How the holders of a run lease.
#[derive(Clone, Copy, Debug)]
struct Plan {
    form: GrantForm,
    coupled: bool,
    batch: Option<f64>,
    low_water: f64,
    limit: f64,
}

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Clocks {
    /// All show the same.
    Same,
    /// The store has its own, and those of the holders are off by hours.
    Stores,
    /// The store steps at those of the holders, which are off by parts of a window and by whole ones.
    Callers,
}

type Node = TwoTier<FixedWindow, Held<Count>, ManualClock>;

/// Lets `acts` happen to four holders over one store; how much each window admitted, less what was given back in it.
///
/// A request counts in the window in which it was answered, by the store's clock; where the store has none, in the window
/// of the grant that paid for it.
fn run(plan: Plan, acts: &[Act], by: Clocks) -> HashMap<i64, f64> {
    let time = ManualClock::new(0.0);
    let store = if by == Clocks::Callers { Held::<Count>::new() } else { Held::with_clock(&time) };
    let off = |at: u8| match by {
        Clocks::Same => 0.0,
        Clocks::Stores => f64::from(at) * 3_600_037.0,
        Clocks::Callers => f64::from(at) * 67.0,
    };
    let clocks: Vec<_> = (0..4).map(|at| ManualClock::new(off(at))).collect();
    let nodes: Vec<Node> = clocks
        .iter()
        .map(|clock| {
            let strategy = FixedWindow::builder().limit(plan.limit).window_ms(WINDOW).build().unwrap();
            let builder = TwoTier::builder(strategy).keyspace(store.clone()).clock(clock.clone());
            let builder = builder.grant(plan.form).window_coupled(plan.coupled).low_water(plan.low_water);
            match plan.batch {
                Some(batch) => builder.batch(batch),
                None => builder.sizer(|| Wild(7)),
            }
            .build()
            .unwrap()
        })
        .collect();
    store.hold();
    let mut windows = HashMap::new();
    let mut waiting: Vec<(usize, f64, Task<_>)> = Vec::new();
    let mut taken: Vec<(usize, f64, Decision, i64)> = Vec::new();
    let mut now = 0.0;
    #[allow(clippy::cast_possible_truncation)] // a small whole number
    let end_of = |now: f64, decision: &Decision| match by {
        Clocks::Callers => decision.reset_at_ms,
        Clocks::Same | Clocks::Stores => (now / WINDOW).floor() as i64 * 100 + 100,
    };
    let admit = |now: f64, node: usize, cost: f64, decision: &Result<Decision, Error>| {
        let decision = *decision.as_ref().unwrap();
        decision.allowed.then(|| (node, cost, decision, end_of(now, &decision)))
    };
    let mut count = |end: i64, units: f64| *windows.entry(end).or_insert(0.0) += units;
    for act in acts {
        match *act {
            Act::Check(node, cost) => {
                let cost = f64::from(cost);
                let mut task = Task::new(nodes[node].run_check("k", cost));
                match task.poll() {
                    Some(decision) => taken.extend(admit(now, node, cost, &decision).inspect(|by| count(by.3, by.1))),
                    None => waiting.push((node, cost, task)),
                }
            }
            Act::Answer(at) => {
                let held = store.held();
                if let Some(call) = held.get(at % held.len().max(1)) {
                    store.release(*call);
                }
            }
            Act::Leave(at) if !waiting.is_empty() => drop(waiting.remove(at % waiting.len())),
            Act::Pass(ms) => {
                now += f64::from(ms);
                clocks.iter().chain([&time]).for_each(|clock| clock.advance(f64::from(ms)));
            }
            Act::Refund(at, units) if !taken.is_empty() => {
                let (node, cost, decision, end) = taken.swap_remove(at % taken.len());
                let units = f64::from(units).min(cost);
                let _ = Task::new(nodes[node].run_refund("k", Refund::new(units).of(&decision))).poll();
                // In another window it must not count for anything.
                if end == end_of(now, &decision) {
                    count(end, -units);
                }
            }
            Act::Leave(_) | Act::Refund(..) => {}
            Act::GiveBack(node) => {
                let node = nodes[node].clone();
                let _ = Task::new(async move { node.return_idle(std::time::Duration::ZERO).await }).poll();
            }
        }
        // Whoever can go on does.
        waiting.retain_mut(|(node, cost, task)| match task.poll() {
            Some(decision) => {
                taken.extend(admit(now, *node, *cost, &decision).inspect(|by| count(by.3, by.1)));
                false
            }
            None => true,
        });
    }
    windows
}

fn plan() -> impl Strategy<Value = Plan> {
    let form = prop_oneof![Just(GrantForm::Whole), Just(GrantForm::Partial)];
    let batch = prop_oneof![2 => (1..9_u8).prop_map(|batch| Some(f64::from(batch))), 1 => Just(None)];
    (form, batch, 0..4_u8, 5..40_u8).prop_map(|(form, batch, low_water, limit)| Plan {
        form,
        coupled: true,
        batch,
        low_water: f64::from(low_water),
        limit: f64::from(limit),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Coupled, no window admits more than the limit: with answers in any order and at any time, callers that leave, holders
    /// that give back, and clocks that agree on nothing.
    #[test]
    fn coupled_windows_admit_the_limit_at_most(
        plan in plan(),
        acts in prop::collection::vec(act(), 1..250),
        own_clocks: bool,
    ) {
        let clocks = if own_clocks { Clocks::Stores } else { Clocks::Same };
        for (window, admitted) in run(plan, &acts, clocks) {
            prop_assert!(admitted <= plan.limit, "window {window} admitted {admitted}: {plan:?}");
        }
    }

    /// The same by the window of the grant where the store has no clock and those of the holders disagree, for leases that
    /// never go back to an earlier window.
    #[test]
    fn windows_of_grants_admit_the_limit_at_most_whatever_callers_take_for_the_time(
        plan in plan(),
        acts in prop::collection::vec(act(), 1..250),
    ) {
        let plan = Plan { form: GrantForm::Partial, ..plan };
        for (window, admitted) in run(plan, &acts, Clocks::Callers) {
            prop_assert!(admitted <= plan.limit, "window {window} admitted {admitted}: {plan:?}");
        }
    }

    /// Carried over, a window admits the limit and what the holders had left: less than a batch, or than a cost, each, and
    /// what refills add to that.
    #[test]
    fn carried_units_add_less_than_a_lease_for_each_holder(
        plan in plan(),
        acts in prop::collection::vec(act(), 1..250),
    ) {
        let plan = Plan { coupled: false, ..plan };
        let most = plan.batch.unwrap_or(15.0).max(4.0) + plan.low_water;
        // Grants that are under way when the window turns are carried over too: one for the caller and one beforehand.
        let bound = plan.limit + 4.0 * 3.0 * most;
        for (window, admitted) in run(plan, &acts, Clocks::Same) {
            prop_assert!(admitted <= bound, "window {window} admitted {admitted} of {bound}: {plan:?}");
        }
    }
}

#[test]
fn the_bound_of_carried_units_is_attained() {
    let plan = Plan { form: GrantForm::Whole, coupled: false, batch: Some(5.0), low_water: 0.0, limit: 20.0 };
    let mut acts = Vec::new();
    for node in 0..4 {
        acts.extend([Act::Check(node, 1), Act::Answer(0)]);
    }
    acts.push(Act::Pass(100));
    for turn in 0..100 {
        acts.extend([Act::Check(turn % 4, 1), Act::Answer(0)]);
    }
    // The limit and, of each of four holders, a batch but for the unit that was spent.
    assert_eq!(run(plan, &acts, Clocks::Same), HashMap::from([(100, 4.0), (200, 20.0 + 4.0 * 4.0)]));
    let coupled = Plan { coupled: true, ..plan };
    assert_eq!(run(coupled, &acts, Clocks::Same), HashMap::from([(100, 4.0), (200, 20.0)]));
}
