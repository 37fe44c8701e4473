//! Prices: the solver, the filter, and how they are learnt.

use proptest::prelude::*;
use throttlekit::unified::{Prices, Workload, WorkloadPlan};
use throttlekit::{
    Admission, Admit, Ask, BuildError, Guard, Limiter, ManualClock, TokenBucket, Unified, UnifiedBuilder,
};

fn solve(kinds: &[(f64, f64, f64)], rate: f64, cost: f64) -> WorkloadPlan {
    workload(kinds, rate, cost).solve().unwrap()
}

fn workload(kinds: &[(f64, f64, f64)], rate: f64, cost: f64) -> Workload {
    kinds
        .iter()
        .fold(Workload::new(rate, cost), |workload, (cost, value, weight)| workload.kind(*cost, *value, *weight))
}

fn is(plan: &WorkloadPlan, prices: (f64, f64), fractions: &[f64], objective: f64) {
    assert_eq!((plan.prices.rate, plan.prices.cost), prices);
    assert_eq!((plan.admit_fractions.as_slice(), plan.objective), (fractions, objective));
}

#[test]
fn small_and_large() {
    is(&solve(&[(100.0, 1.0, 0.5), (10_000.0, 50.0, 0.5)], 1.0, 50.0), (0.0, 0.01), &[1.0, 0.0], 0.5);
    is(&solve(&[(100.0, 1.0, 0.5), (10_000.0, 200.0, 0.5)], 1.0, 50.0), (0.0, 0.02), &[0.0, 0.01], 1.0);
}

#[test]
fn room_for_all_costs_nothing() {
    is(&solve(&[(1.0, 10.0, 1.0), (2.0, 20.0, 1.0)], 100.0, 100.0), (0.0, 0.0), &[1.0, 1.0], 30.0);
}

#[test]
fn the_rate_alone_is_short() {
    is(&solve(&[(1.0, 3.0, 1.0), (1.0, 1.0, 1.0)], 1.5, 1_000.0), (1.0, 0.0), &[1.0, 0.5], 3.5);
    let plan = solve(&[(1.0, 3.0, 1.0), (1.0, 1.0, 1.0)], 1.0, 1_000.0);
    assert_eq!((plan.prices.rate, plan.prices.cost, plan.admit_fractions), (3.0, 0.0, vec![1.0, 0.0]));
    is(
        &solve(&[(10.0, 10.0, 0.5), (3.0, 10.0, 2.0), (1.0, 10.0, 1.0)], 3.0, 10.0),
        (10.0, 0.0),
        &[0.0, 1.0, 1.0],
        30.0,
    );
}

#[test]
fn the_cost_alone_is_short() {
    let plan = solve(&[(10.0, 5.0, 2.0)], 100.0, 10.0);
    assert_eq!((plan.prices.rate, plan.prices.cost, plan.admit_fractions), (0.0, 0.5, vec![0.5]));
    let plan = solve(&[(0.0, 1.0, 1.0), (100.0, 1.0, 1.0)], 100.0, 50.0);
    assert_eq!((plan.prices.rate, plan.prices.cost, plan.admit_fractions), (0.0, 0.01, vec![1.0, 0.5]));
}

#[test]
fn both_are_short() {
    let plan = solve(&[(1.0, 5.0, 1.0), (10.0, 20.0, 1.0)], 1.5, 8.0);
    assert_eq!((plan.prices.rate, plan.prices.cost), (3.333_333_333_333_333, 1.666_666_666_666_666_7));
    assert_eq!(plan.admit_fractions, [0.777_777_777_777_777_8, 0.722_222_222_222_222_2]);
}

#[test]
fn a_whole_kind_beside_two_in_part() {
    let kinds = [(5.0, 10.0, 1.0), (0.0, 1.0, 2.0), (0.0, 2.0, 0.5), (5.0, 10.0, 1.0), (5.0, 1.0, 0.5)];
    let plan = solve(&kinds, 2.0, 8.0);
    assert!((plan.objective - 16.8).abs() < 1e-9, "{}", plan.objective);
}

#[test]
fn three_budgets() {
    let with_slots = |slots| {
        let workload = Workload::new(2_000.0, 1e9).slots(slots);
        let workload = workload.kind_holding(100.0, 10.0, 1_800.0, 15.0).kind_holding(100.0, 10.0, 200.0, 200.0);
        workload.solve().unwrap()
    };
    let plan = with_slots(20_000.0);
    assert_eq!(plan.prices, Prices::new(0.0, 0.0).concurrency(0.666_666_666_666_666_6));
    assert_eq!(
        (plan.admit_fractions.as_slice(), plan.objective),
        (&[0.740_740_740_740_740_7, 0.0][..], 13_333.333_333_333_332)
    );
    assert_eq!(with_slots(1e9).prices.concurrency, Some(0.0));
}

#[test]
fn the_unit_of_values_and_weights_does_not_matter() {
    let tiny = solve(&[(100.0, 1e-6, 0.5), (10_000.0, 50e-6, 0.5)], 1.0, 50.0);
    assert!((tiny.prices.cost / 1e-8 - 1.0).abs() < 1e-6 && tiny.prices.rate == 0.0);
    assert_eq!(tiny.admit_fractions, [1.0, 0.0]);
    assert!((tiny.objective / 0.5e-6 - 1.0).abs() < 1e-6);

    let rare = solve(&[(100.0, 1.0, 0.5e-6), (10_000.0, 50.0, 0.5e-6)], 1e-6, 50e-6);
    assert!((rare.prices.cost / 0.01 - 1.0).abs() < 1e-6);
    assert_eq!(rare.admit_fractions, [1.0, 0.0]);
}

#[test]
fn the_unit_of_costs_does_not_matter() {
    // Dollars for a request of a million tokens, of which the budget covers half.
    let plan = solve(&[(1e6, 0.05, 1.0)], 2.0, 500_000.0);
    assert!((plan.prices.cost / 5e-8 - 1.0).abs() < 1e-9 && plan.prices.rate == 0.0, "{plan:?}");
    assert!((plan.objective / 0.025 - 1.0).abs() < 1e-9);

    for unit in [1e-9, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e9, 1e12] {
        let kinds = [(100.0 * unit, 1.0, 0.5), (10_000.0 * unit, 50.0, 0.5), (0.0, 0.0, 1.0)];
        let plan = solve(&kinds, 2.0, 50.0 * unit);
        assert!((plan.prices.cost * unit / 0.01 - 1.0).abs() < 1e-9, "{unit}: {plan:?}");
        assert_eq!(plan.admit_fractions, [1.0, 0.0, 0.0], "{unit}");

        let plan = solve(&[(7.0 * unit, 0.3, 0.5), (90.0 * unit, 0.2, 0.5)], 2.0, 26.0 * unit);
        let [all, half] = plan.admit_fractions[..] else { panic!("two kinds") };
        assert!(all == 1.0 && (half - 0.5).abs() < 1e-9, "{unit}: {plan:?}");

        let slots = Workload::new(2_000.0, 1e9).slots(20_000.0 * unit).kind_holding(100.0, 10.0, 1_800.0, 15.0 * unit);
        let plan = slots.kind_holding(100.0, 10.0, 200.0, 200.0 * unit).solve().unwrap();
        assert!((plan.prices.concurrency.unwrap() * unit * 1.5 - 1.0).abs() < 1e-9, "{unit}: {plan:?}");
        assert!((plan.admit_fractions[0] - 20.0 / 27.0).abs() < 1e-9 && plan.admit_fractions[1] == 0.0);
    }
}

#[test]
fn a_kind_that_is_worth_next_to_nothing_does_not_hide_the_others() {
    let kinds = [(1.0, 1.0, 1.0), (2.0, 3.0, 1.0), (1e6, 1e-300, 1.0), (1e6, 1e-6, 1.0)];
    let plan = solve(&kinds, 10.0, 2.5);
    assert!((plan.objective - 3.5).abs() < 1e-6, "{plan:?}");
}

#[test]
fn kinds_that_need_little_are_not_lost_beside_those_that_need_much() {
    let plan = solve(&[(1e6, 1e-4, 0.9995), (1.0, 1.0, 5e-4)], 1.0, 2.5e-4);
    assert!((plan.admit_fractions[1] - 0.5).abs() < 1e-6 && plan.admit_fractions[0] < 1e-9, "{plan:?}");
    assert!((plan.objective / 2.5e-4 - 1.0).abs() < 1e-6, "{plan:?}");

    let plan = solve(&[(1e6, 1e-5, 0.5), (1e-4, 1.0, 0.5)], 1.0, 2.5e-5);
    assert!((plan.admit_fractions[1] - 0.5).abs() < 1e-6 && plan.admit_fractions[0] < 1e-9, "{plan:?}");
}

#[test]
fn large_values_are_worth_their_bid() {
    for value in (0..2_000).map(|more| 1e9 + f64::from(more)) {
        let plan = solve(&[(7.0, value, 2.0), (3.0, 1.0, 1.0)], 100.0, 7.0);
        assert!((plan.admit_fractions[0] - 0.5).abs() < 1e-9 && plan.admit_fractions[1] == 0.0, "{value}: {plan:?}");
        assert!((plan.objective / value - 1.0).abs() < 1e-9);
    }
    // Small ones beside them keep their worth.
    assert_eq!(solve(&[(1.0, 1e9, 1.0), (1.0, 0.5, 1.0)], 10.0, 10.0).admit_fractions, [1.0, 1.0]);
}

#[test]
fn bad_workloads_are_refused() {
    let good = || Workload::new(1.0, 1.0).kind(1.0, 1.0, 1.0);
    let option = |workload: Workload| workload.solve().unwrap_err().option();
    let under = |name: &str| format!("unified.jointLp.workload{name}");
    assert_eq!(option(Workload::new(1.0, 1.0)), under(""));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(option(good().kind(bad, 1.0, 1.0)), under(".cost"));
        assert_eq!(option(good().kind(1.0, bad, 1.0)), under(".value"));
        assert_eq!(option(good().kind(1.0, 1.0, bad)), under(".weight"));
        assert_eq!(option(good().kind_holding(1.0, 1.0, 1.0, bad).slots(1.0)), under(".hold"));
        assert_eq!(option(Workload::new(bad, 1.0).kind(1.0, 1.0, 1.0)), under(".rateBudget"));
        assert_eq!(option(Workload::new(1.0, bad).kind(1.0, 1.0, 1.0)), under(".costBudget"));
        assert_eq!(option(good().kind_holding(1.0, 1.0, 1.0, 1.0).slots(bad)), under(".concBudget"));
    }
    assert_eq!(option(Workload::new(0.0, 1.0).kind(1.0, 1.0, 1.0)), under(".rateBudget"));
    assert_eq!(option(good().slots(1.0)), under(".hold"));
    assert_eq!(option(good().kind_holding(1.0, 1.0, 1.0, 1.0)), under(".concBudget"));
    let named = good().kind(1.0, f64::NAN, 1.0).solve().unwrap_err().to_string();
    assert!(named.ends_with("in kind 1"), "{named}");
}

/// The best of all ways to admit whole requests of weight 1.
fn brute_force(kinds: &[(f64, f64, f64)], rate: f64, cost: f64) -> f64 {
    (0..1_u32 << kinds.len())
        .filter_map(|bits| {
            let chosen = || kinds.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1).map(|(_, kind)| kind);
            let fits = chosen().map(|kind| kind.2).sum::<f64>() <= rate
                && chosen().map(|kind| kind.0 * kind.2).sum::<f64>() <= cost;
            fits.then(|| chosen().map(|kind| kind.1 * kind.2).sum())
        })
        .fold(0.0, f64::max)
}

fn some_kinds() -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
    let number = |most: u32| (0..=most).prop_map(f64::from);
    prop::collection::vec((number(12), number(20), (1..=4_u32).prop_map(f64::from)), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// A plan that fits, prices that bound it, and both worth the same: neither can be better.
    #[test]
    fn a_plan_and_its_prices_prove_each_other(kinds in some_kinds(), rate in 1..=10_u32, cost in 1..=60_u32) {
        let (rate, cost) = (f64::from(rate), f64::from(cost));
        let plan = solve(&kinds, rate, cost);
        let sum = |of: fn(&(f64, f64, f64)) -> f64| {
            kinds.iter().zip(&plan.admit_fractions).map(|(kind, x)| of(kind) * x).sum::<f64>()
        };
        prop_assert!(plan.admit_fractions.iter().all(|x| (0.0..=1.0).contains(x)));
        prop_assert!(sum(|kind| kind.2) <= rate + 1e-4 && sum(|kind| kind.0 * kind.2) <= cost + 1e-4);
        prop_assert!(plan.prices.rate >= 0.0 && plan.prices.cost >= 0.0);
        let surplus = |kind: &(f64, f64, f64)| kind.2 * (kind.1 - plan.prices.rate - plan.prices.cost * kind.0).max(0.0);
        let dual = rate * plan.prices.rate + cost * plan.prices.cost + kinds.iter().map(surplus).sum::<f64>();
        prop_assert!((dual - plan.objective).abs() < 1e-4, "{} and {dual}", plan.objective);
        prop_assert!(plan.objective >= brute_force(&kinds, rate, cost) - 1e-6);
    }
}

type Settings = UnifiedBuilder<ManualClock>;

fn over(capacity: f64, settings: impl FnOnce(Settings) -> Settings) -> Result<Unified<ManualClock>, BuildError> {
    let clock = ManualClock::new(0.0);
    let bucket = TokenBucket::builder().capacity(capacity).refill_per_sec(1e-3).build()?;
    let cost = Limiter::builder(bucket).clock(clock.clone()).build();
    settings(Unified::builder().cost(cost).clock(clock)).build()
}

fn ask(unified: &Unified<ManualClock>, cost: f64, value: f64, hold: f64) -> Admission {
    unified.admit(&Ask::new("").cost(cost).value(value).hold(hold)).now().unwrap().unwrap()
}

fn allows(unified: &Unified<ManualClock>, cost: f64, value: f64) -> bool {
    ask(unified, cost, value, 0.0).decision.allowed
}

#[test]
fn a_request_below_its_bid_takes_nothing() {
    let unified = over(1_000.0, |builder| builder.prices(Prices::new(0.0, 1.0))).unwrap();
    let denied = ask(&unified, 1_000.0, 1.0, 0.0);
    assert!(denied.policy_denied() && denied.axes.cost.is_none() && !denied.decision.has_limit());
    assert_eq!((denied.decision.remaining, denied.decision.retry_after_ms), (0, 0));
    assert!(allows(&unified, 1_000.0, 5_000.0));
}

#[test]
fn a_denial_by_the_prices_gives_the_slot_back() {
    let guard = Guard::builder().fixed(3).clock(ManualClock::new(7.0)).build().unwrap();
    let unified = over(1_000.0, |builder| builder.concurrency(guard.clone()).prices(Prices::new(0.0, 1.0))).unwrap();
    let denied = ask(&unified, 10.0, 1.0, 0.0);
    assert!(denied.policy_denied() && denied.axes.concurrency.unwrap().allowed);
    assert_eq!(denied.axes.concurrency.unwrap().remaining, 3);
    assert_eq!((denied.decision.limit, denied.decision.remaining, denied.decision.reset_at_ms), (3, 0, 7));
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn prices_keep_the_budget_for_what_is_worth_more() {
    let unified = over(50_000.0, |builder| builder.prices(Prices::new(0.0, 0.01))).unwrap();
    assert!((0..6).all(|_| ask(&unified, 10_000.0, 50.0, 0.0).policy_denied()));
    assert_eq!((0..600).filter(|_| allows(&unified, 100.0, 1.0)).count(), 500);

    let marginal = over(50_000.0, |builder| builder).unwrap();
    assert_eq!((0..6).filter(|_| allows(&marginal, 10_000.0, 50.0)).count(), 5);
    assert!(!allows(&marginal, 100.0, 1.0));
}

#[test]
fn holding_a_slot_has_a_price() {
    let unified = over(1e9, |builder| builder.prices(Prices::new(0.0, 0.0).concurrency(0.5))).unwrap();
    assert!(!ask(&unified, 1.0, 10.0, 100.0).decision.allowed);
    assert!(ask(&unified, 1.0, 60.0, 100.0).decision.allowed);
    for hold in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -100.0, 0.0] {
        assert!(ask(&unified, 1.0, 10.0, hold).decision.allowed, "{hold}");
    }
    let unified = over(1e9, |builder| builder.prices(Prices::new(0.0, 0.2).concurrency(0.5))).unwrap();
    assert!(!ask(&unified, 100.0, 10.0, -1e9).decision.allowed);
}

#[test]
fn what_is_worth_just_its_bid_passes() {
    let unified = over(1e9, |builder| builder.workload(workload(&[(7.0, 29.0, 2.0)], 100.0, 10.0))).unwrap();
    let prices = unified.prices().unwrap();
    assert!(prices.cost * 7.0 > 29.0, "the bid is a rounding above the value");
    assert!(allows(&unified, 7.0, 29.0));
    // The tolerance is a share: it does not let small values pass for large ones.
    let unified = over(1e9, |builder| builder.prices(Prices::new(1e-12, 0.0))).unwrap();
    assert!(!allows(&unified, 1.0, 0.5e-12) && allows(&unified, 1.0, 1e-12));
}

#[test]
fn no_number_is_no_value() {
    let unified = over(1e9, |builder| builder.prices(Prices::new(0.0, 0.0))).unwrap();
    assert!(ask(&unified, 1.0, f64::NAN, 0.0).policy_denied());
    assert!(allows(&unified, 1.0, 0.0) && !allows(&unified, 1.0, -1.0));
}

#[test]
fn bad_prices_are_refused() {
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let option = |prices| over(1.0, |builder| builder.prices(prices)).unwrap_err().option();
        assert_eq!(option(Prices::new(bad, 0.0)), "unified.jointLp.duals.rate");
        assert_eq!(option(Prices::new(0.0, bad)), "unified.jointLp.duals.cost");
        assert_eq!(option(Prices::new(0.0, 0.0).concurrency(bad)), "unified.jointLp.duals.conc");
    }
    let kinds = || workload(&[(1.0, 1.0, 1.0)], 1.0, 1.0);
    let error = over(1.0, |builder| builder.learning_workload(kinds(), 0)).unwrap_err();
    assert_eq!(error.option(), "unified.jointLp.adaptive.sampleWindow");
    let error = over(1.0, |builder| builder.resolving_workload(kinds(), 1, 0)).unwrap_err();
    assert_eq!(error.option(), "unified.jointLp.adaptive.horizon");
    let slots = Workload::new(1.0, 1.0).kind_holding(1.0, 1.0, 1.0, 1.0).slots(1.0);
    let error = over(1.0, |builder| builder.learning_workload(slots, 5)).unwrap_err();
    assert_eq!(error.option(), "unified.jointLp.adaptive");
}

const WRONG: [(f64, f64, f64); 2] = [(100.0, 1.0, 0.5), (10_000.0, 200.0, 0.5)];

#[test]
fn a_sample_corrects_what_was_expected() {
    let unified = over(1e9, |builder| builder.learning_workload(workload(&WRONG, 1.0, 50.0), 10)).unwrap();
    let outcomes: Vec<_> = (0..10).map(|_| allows(&unified, 100.0, 1.0)).collect();
    assert_eq!(outcomes[..9], [false; 9], "the expected prices hold while the sample is taken");
    assert!(outcomes[9], "the last of the sample is judged by what it taught");
    assert!((0..50).all(|_| allows(&unified, 100.0, 1.0)));
}

#[test]
fn a_sample_that_cannot_be_solved_changes_nothing() {
    let unified = over(1e9, |builder| builder.learning_workload(workload(&WRONG, 1.0, 50.0), 4)).unwrap();
    let expected = unified.prices();
    for value in [1.0, -1.0, 1.0, 1.0, 1.0] {
        assert!(!allows(&unified, 100.0, value));
    }
    assert_eq!(unified.prices(), expected);
}

#[test]
fn numbers_and_probabilities_learn_the_same() {
    let counts = workload(&[(100.0, 1.0, 500.0), (10_000.0, 200.0, 500.0)], 1_000.0, 50_000.0);
    let counts = over(1e9, |builder| builder.learning_workload(counts, 40)).unwrap();
    let shares = over(1e9, |builder| builder.learning_workload(workload(&WRONG, 1.0, 50.0), 40)).unwrap();
    for index in 0..120 {
        let (cost, value) = if index % 3 == 0 { (10_000.0, 50.0) } else { (100.0, 1.0) };
        assert_eq!(allows(&counts, cost, value), allows(&shares, cost, value), "request {index}");
    }
}

#[test]
fn prices_of_nothing_change_nothing() {
    let free = over(1_000.0, |builder| builder.prices(Prices::new(0.0, 0.0))).unwrap();
    let none = over(1_000.0, |builder| builder).unwrap();
    for cost in [300.0, 900.0, 400.0, 200.0, 200.0] {
        let (free, none) = (ask(&free, cost, 0.0, 5.0), ask(&none, cost, 0.0, 5.0));
        assert_eq!((free.decision, free.axes, free.binding), (none.decision, none.axes, none.binding));
    }
    assert_eq!(none.prices(), None);
}

/// What is left decides: one kind for ever is not kept out for the sake of another that does not come.
#[test]
fn solving_again_spends_what_is_left() {
    let kinds = || workload(&[(100.0, 1.0, 0.5), (10_000.0, 50.0, 0.5)], 1.0, 50.0);
    let fixed = over(50_000.0, |builder| builder.workload(kinds())).unwrap();
    let again = over(50_000.0, |builder| builder.resolving_workload(kinds(), 50, 1_000)).unwrap();
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        drop(ask(&again, 1e6, value, 0.0));
    }
    let admitted = |unified| (0..1_000).filter(|_| allows(unified, 10_000.0, 50.0)).count();
    assert_eq!((admitted(&fixed), admitted(&again)), (0, 5));
}

/// Whatever the unit of cost is, as much passes as the budget covers.
#[test]
fn solving_again_admits_what_the_budget_covers() {
    for unit in [1e-6, 1.0, 1e6] {
        let workload = workload(&[(unit, 0.05, 1.0)], 2.0, 0.5 * unit);
        let again = over(1e9, |builder| builder.resolving_workload(workload, 50, 1_000)).unwrap();
        let admitted = (0..1_000).filter(|_| allows(&again, unit, 0.05)).count();
        assert!((499..=501).contains(&admitted), "{admitted} of requests that cost {unit}");
    }
}
