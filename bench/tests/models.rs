//! Every state of small fleets: the published counts, the promises, and what breaks without each part of the rules.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use bench::model::fence::Fence;
use bench::model::handoff::{self, Handoff, Reserve};
use bench::model::lease::{Leases, Step};
use bench::model::share::{self, Shares};
use bench::model::{Explored, Machine, explore};

/// All states, and the greatest `measure` of one.
fn all<M: Machine>(machine: &M, measure: impl Fn(&M::State) -> u64) -> (Explored, u64) {
    let mut most = 0;
    let explored = explore(machine, |state| {
        most = most.max(measure(state));
        true
    });
    (explored.ok().unwrap(), most)
}

/// Nodes, limit and batch; then distinct, generated and levels with the most admitted, carried over and coupled; then distinct
/// and the most admitted with returns.
type Row = ([u8; 3], [usize; 4], [usize; 4], [usize; 2]);

const LEASES: [Row; 11] = [
    ([2, 4, 2], [31, 113, 10, 6], [8, 29, 5, 4], [12, 4]),
    ([3, 6, 3], [441, 2_458, 18, 12], [27, 136, 7, 6], [43, 6]),
    ([5, 10, 2], [992, 9_441, 22, 15], [112, 1_041, 11, 10], [192, 10]),
    ([4, 12, 4], [10_432, 80_129, 31, 24], [256, 1_793, 13, 12], [499, 12]),
    ([1, 8, 2], [19, 37, 12, 9], [9, 18, 9, 8], [16, 8]),
    ([2, 8, 2], [55, 209, 14, 10], [16, 61, 9, 8], [28, 8]),
    ([4, 8, 2], [344, 2_593, 18, 12], [48, 353, 9, 8], [80, 8]),
    ([8, 8, 2], [8_762, 131_281, 27, 16], [303, 4_057, 9, 8], [443, 8]),
    ([3, 5, 1], [6, 34, 6, 5], [6, 34, 6, 5], [6, 5]),
    ([2, 5, 2], [31, 113, 10, 6], [8, 29, 5, 4], [16, 5]),
    ([3, 7, 3], [441, 2_458, 18, 12], [27, 136, 7, 6], [62, 7]),
];

#[test]
fn leases_have_the_published_states_and_attain_their_bounds() {
    for ([nodes, limit, batch], carried, coupled, returned) in LEASES {
        let leases = |coupled, returns| Leases { nodes: usize::from(nodes), limit, batch, coupled, returns };
        let counted = |machine: Leases| {
            let (explored, most) = all(&machine, |state| u64::from(state.admitted));
            assert_eq!(most, machine.bound(), "{machine:?} attains its bound");
            assert!(explore(&machine, |state| u64::from(state.admitted) < most).is_err());
            assert!(explore(&machine, |state| state.left <= limit && state.credits.iter().all(|n| *n < batch)).is_ok());
            let Explored { distinct, generated, depth } = explored;
            [distinct, generated, depth, usize::try_from(most).unwrap()]
        };
        let what = format!("{nodes} nodes, limit {limit}, batch {batch}");
        assert_eq!(counted(leases(false, false)), carried, "{what}, carried over");
        assert_eq!(counted(leases(true, false)), coupled, "{what}, coupled");
        let [distinct, _, _, most] = counted(leases(true, true));
        assert_eq!([distinct, most], returned, "{what}, returned");
    }
}

/// Two nodes hold a credit each from windows that are over, and the store still has its whole limit.
#[test]
fn the_bound_of_carried_credits_is_tight() {
    let leases = Leases { nodes: 2, limit: 4, batch: 2, coupled: false, returns: false };
    let violation = explore(&leases, |state| state.admitted <= 5).unwrap_err();
    assert_eq!(violation.state.admitted, 6);
    assert_eq!(violation.steps.len(), 9);
    let rolls = violation.steps.iter().filter(|step| matches!(step, Step::Roll(_))).count();
    assert!(rolls >= 1, "nothing is carried without a roll: {:?}", violation.steps);
}

#[test]
fn shares_and_work_in_flight_stay_within_the_limit() {
    for (nodes, limit, distinct) in [(2, 4, 76), (2, 6, 149), (3, 4, 361), (3, 6, 1_432)] {
        let shares = Shares { nodes, limit, in_flight_counts: true };
        let (explored, most_shares) = all(&shares, |state| u64::from(share::shares(state)));
        let (_, most_work) = all(&shares, |state| u64::from(share::in_flight(state)));
        assert_eq!((explored.distinct, most_shares, most_work), (distinct, limit.into(), limit.into()));
    }
}

#[test]
fn work_that_outlives_its_share_has_to_count() {
    let shares = Shares { nodes: 2, limit: 4, in_flight_counts: false };
    let (explored, most) = all(&shares, |state| u64::from(share::in_flight(state)));
    assert_eq!((explored.distinct, most), (64, 6));
}

fn handoff(history: usize, trim: bool) -> Handoff {
    let reserve = Reserve::UnacknowledgedAndInFlight;
    Handoff { nodes: 2, limit: 4, history, reserve, whole_reports: true, trim }
}

fn counted(machine: &Handoff) -> (usize, u8) {
    let (explored, most) = all(machine, |state| u64::from(handoff::in_flight(state)));
    (explored.distinct, u8::try_from(most).unwrap())
}

#[test]
fn acknowledged_grants_stay_within_the_limit() {
    assert_eq!(counted(&handoff(2, false)), (20_914, 4));
    assert_eq!(counted(&handoff(2, true)), (12_387, 4));
    assert_eq!(counted(&handoff(3, true)), (76_914, 4));
    let (explored, most) = all(&handoff(3, false), |state| u64::from(handoff::shares(state)));
    assert_eq!((explored.distinct, explored.depth, most), (250_624, 37, 4));
}

#[test]
fn each_part_of_the_reserve_is_needed() {
    let reserve = |reserve, history| Handoff { reserve, ..handoff(history, true) };
    assert_eq!(counted(&reserve(Reserve::LatestAcknowledgedAndInFlight, 2)), (36_415, 6));
    assert_eq!(counted(&reserve(Reserve::Unacknowledged, 3)), (57_910, 6));
    assert!(counted(&reserve(Reserve::InFlight, 2)).1 > 4);
}

#[test]
fn a_report_has_to_arrive_whole() {
    assert_eq!(counted(&Handoff { whole_reports: false, ..handoff(2, true) }), (57_389, 6));
}

#[test]
fn a_silent_node_stops_before_its_slots_go_to_another() {
    let both = |skew_ms, margin_ms, aborts| {
        let fence = Fence { lifetime_ms: 100, request_ms: 20, skew_ms, margin_ms, aborts };
        explore(&fence, |state| !(state.silent.is_some() && state.other)).is_err()
    };
    for skew_ms in 0..=10 {
        assert!(!both(skew_ms, Some(10), true), "a margin of the skew and work dropped, at a skew of {skew_ms} ms");
        assert!(!both(skew_ms, Some(30), false), "a margin of the skew and a request, at a skew of {skew_ms} ms");
    }
    assert!(both(10, Some(9), true), "a margin below the skew");
    assert!(both(10, Some(10), false), "work in flight outlives the margin");
    assert!(both(0, None, false), "no fence");
}
