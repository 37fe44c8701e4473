//! How much is reserved: learnt, and predicted.
#![allow(clippy::cast_precision_loss)] // small whole numbers

use throttlekit::budget::{
    LearnedReservation, PredictiveReservation, ReservationOptions, ReservationPolicy, critical_fractile,
};
use throttlekit::learn::LearningRate;

use crate::support::Mulberry;

/// What is reserved at first and after each cost, in whole tokens and before rounding.
fn follows(options: ReservationOptions, costs: &[f64], expected: &[(u64, f64)]) {
    let mut learned = options.build().unwrap();
    let mut found = vec![(learned.reserve(), learned.continuous())];
    for cost in costs {
        learned.observe(*cost);
        found.push((learned.reserve(), learned.continuous()));
    }
    assert_eq!(found, expected);
}

#[test]
fn the_learner_takes_its_steps() {
    let published = [
        (256, 256.0),
        (128, 128.0),
        (490, 490.038_671_967_512_3),
        (416, 416.137_837_511_240_2),
        (352, 352.137_837_511_240_2),
        (295, 294.894_497_287_245_6),
    ];
    follows(ReservationOptions::new(1.0, 4.0, 512.0), &[100.0, 400.0, 300.0, 100.0, 128.0], &published);
    let options = ReservationOptions::new(3.0, 1.0, 256.0).min_reservation(8.0);
    follows(options, &[10.0, 200.0, 50.0], &[(132, 132.0), (8, 8.0), (66, 66.454_160_578_087_94), (8, 8.0)]);
    let published = [(50, 50.0), (100, 100.0), (29, 29.289_321_881_345_26), (87, 87.024_348_800_307_85)];
    follows(ReservationOptions::new(1.0, 1.0, 100.0), &[50.0, 50.0, 50.0], &published);
}

#[test]
fn options_move_start_and_step() {
    let options = ReservationOptions::new(1.0, 1.0, 100.0).initial_reservation(1e9).step_scale(10.0);
    follows(options, &[0.0, 1e6], &[(100, 100.0), (90, 90.0), (97, 90.0 + 10.0 / 2_f64.sqrt())]);
}

#[test]
fn what_is_no_cost_teaches_nothing() {
    let mut learned = ReservationOptions::new(1.0, 4.0, 512.0).build().unwrap();
    let mut predictive = PredictiveReservation::new(ReservationOptions::new(1.0, 4.0, 512.0)).unwrap();
    let (learned_before, predictive_before) = (learned, predictive);
    for cost in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        learned.observe(cost);
        let ticket = predictive.reserve(cost);
        assert_eq!(ticket.follow(), 0.0, "a prediction of {cost} is none");
        predictive.observe(ticket, cost);
        predictive.train(cost);
    }
    assert_eq!((learned, predictive), (learned_before, predictive_before));
}

#[test]
fn options_out_of_range_are_named_in_order() {
    let error = |options: ReservationOptions| options.build().unwrap_err().option();
    let good = ReservationOptions::new(1.0, 4.0, 10.0);
    assert_eq!(error(ReservationOptions::new(0.0, 0.0, 0.0)), "reservation.holdCost");
    assert_eq!(error(ReservationOptions::new(1.0, 0.0, 0.0)), "reservation.overrunCost");
    assert_eq!(error(ReservationOptions::new(1.0, 4.0, 0.0).min_reservation(-1.0)), "reservation.maxReservation");
    assert_eq!(error(good.min_reservation(20.0).step_scale(-1.0)), "reservation.minReservation");
    assert_eq!(error(good.min_reservation(-1.0)), "reservation.minReservation");
    assert_eq!(error(good.min_reservation(f64::NAN)), "reservation.minReservation");
    assert_eq!(error(good.initial_reservation(f64::NAN)), "reservation.initialReservation");
    assert_eq!(error(good.step_scale(-1.0)), "reservation.stepScale");
    assert_eq!(ReservationPolicy::max(0).unwrap_err().option(), "reservation.maxReservation");
    assert!(PredictiveReservation::with_rate(good, LearningRate::Fixed(0.0)).is_err());
    for (hold, overrun) in [(0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
        assert!(critical_fractile(hold, overrun).is_err(), "{hold}, {overrun}");
    }
    assert_eq!([(1.0, 4.0), (1.0, 1.0), (3.0, 1.0)].map(|(h, p)| critical_fractile(h, p).unwrap()), [0.8, 0.5, 0.25]);
}

#[test]
fn predictions_are_weighed_by_what_they_lost() {
    let mut predictive = PredictiveReservation::new(ReservationOptions::new(1.0, 4.0, 512.0)).unwrap();
    let published = [
        (100.0, 178, 100.0, [0.826_353_353_0, 0.173_646_647_0]),
        (120.0, 121, 110.0, [0.837_534_937_4, 0.162_465_062_6]),
        (600.0, 435, 90.0, [0.386_985_823_9, 0.613_014_176_1]),
        (-5.0, 204, 300.0, [5.395_175_686e-6, 0.999_994_604_8]),
    ];
    for (prediction, reserved, cost, weights) in published {
        let ticket = predictive.reserve(prediction);
        assert_eq!(ticket.amount(), reserved, "for a prediction of {prediction}");
        predictive.observe(ticket, cost);
        for (found, expected) in predictive.weights().iter().zip(weights) {
            assert!((found - expected).abs() < 1e-9 * expected, "{found} after {prediction}, not {expected}");
        }
    }
}

/// Work that runs at the same time: whichever ends first, each is scored by what was said about it.
#[test]
fn concurrent_work_is_scored_by_its_own_pair() {
    let start = PredictiveReservation::new(ReservationOptions::new(1.0, 4.0, 512.0)).unwrap();
    let predicted = [100.0, 400.0, 30.0];
    let mut together = start;
    let tickets = predicted.map(|cost| together.reserve(cost));
    for (ticket, cost) in tickets.into_iter().zip(predicted).rev() {
        together.observe(ticket, cost);
    }
    // Each prediction was right, so following lost nothing, and the learner's 256 lost.
    assert!(together.weights()[0] > 0.99, "{:?}", together.weights());
    let lost: f64 = predicted.iter().map(|cost| start.robust().loss(256.0, *cost)).sum();
    assert_eq!(lost, 156.0 + 4.0 * 144.0 + 226.0);
    let expected = 1.0 / (1.0 + (-0.01 * lost).exp());
    assert!((together.weights()[0] - expected).abs() < 1e-12);
}

#[test]
fn a_policy_is_any_of_them() {
    let options = ReservationOptions::new(1.0, 4.0, 512.0);
    let mut max = ReservationPolicy::max(300).unwrap();
    let ticket = max.reserve(Some(5.0));
    assert_eq!((ticket.amount(), ticket.follow(), ticket.robust()), (300, 300.0, 300.0));
    max.observe(ticket, 10.0);
    assert_eq!(max.reserve(None).amount(), 300);

    let mut policy = ReservationPolicy::learned(options).unwrap();
    let mut learned = options.build().unwrap();
    let mut predictive_policy = ReservationPolicy::predictive(options).unwrap();
    let mut predictive = PredictiveReservation::new(options).unwrap();
    for cost in [100.0, 400.0, 300.0] {
        let ticket = policy.reserve(Some(1.0));
        assert_eq!(ticket.amount(), learned.reserve());
        policy.observe(ticket, cost);
        learned.observe(cost);
        let (ticket, same) = (predictive_policy.reserve(Some(90.0)), predictive.reserve(90.0));
        assert_eq!(ticket, same);
        predictive_policy.observe(ticket, cost);
        predictive.observe(same, cost);
    }
    assert_eq!(predictive_policy.reserve(None), predictive.reserve(0.0));
}

fn play(learned: &mut LearnedReservation, costs: &[f64]) -> f64 {
    costs.iter().fold(0.0, |lost, cost| {
        let reserved = learned.continuous();
        learned.observe(*cost);
        lost + learned.loss(reserved, *cost)
    })
}

/// Whatever the costs: little more is lost than by the best fixed reservation, which is a quantile of them.
#[test]
fn regret_is_bounded_for_any_costs() {
    let mut random = Mulberry::new(7);
    for trial in 0..60 {
        let (hold, overrun) = (1.0 + random.below(4.0), 1.0 + random.below(4.0));
        let costs: Vec<f64> = (0..400)
            .map(|at| match trial % 3 {
                0 => random.below(513.0),
                1 => [0.0, 512.0][at % 2],
                _ => {
                    if at < 200 {
                        20.0
                    } else {
                        500.0
                    }
                }
            })
            .collect();
        let mut learned = ReservationOptions::new(hold, overrun, 512.0).build().unwrap();
        let judge = learned;
        let lost = play(&mut learned, &costs);
        let of = |reserved: f64| -> f64 { costs.iter().map(|cost| judge.loss(reserved, *cost)).sum() };
        let best = (0..=512).map(|reserved| of(f64::from(reserved))).fold(f64::INFINITY, f64::min);
        let bound = 1.5 * 512.0 * hold.max(overrun) * (costs.len() as f64).sqrt();
        assert!(lost - best <= bound, "trial {trial}: {lost} against {best}, with {bound} allowed");
    }
}

/// With a rate that decays, following the worst advice costs no more than the regret of Hedge above the learner.
#[test]
fn bad_predictions_cost_little_at_a_decaying_rate() {
    let options = ReservationOptions::new(1.0, 4.0, 512.0);
    let range = options.build().unwrap().loss_range();
    assert_eq!(range, 2_048.0);
    let mut predictive = PredictiveReservation::with_rate(options, LearningRate::Decaying(range)).unwrap();
    let (mut random, mut lost, mut robust) = (Mulberry::new(3), 0.0, 0.0);
    let rounds = 4_000;
    for _ in 0..rounds {
        let cost = random.below(400.0);
        let ticket = predictive.reserve(512.0 - cost);
        lost += predictive.robust().loss(ticket.amount() as f64, cost);
        robust += predictive.robust().loss(ticket.robust(), cost);
        predictive.observe(ticket, cost);
    }
    // sqrt(T ln 2 / 2) is for a rate tuned to T; one that decays pays sqrt(2) of it, and 2 for each rounding.
    let rounds = f64::from(rounds);
    let regret = range * (rounds * std::f64::consts::LN_2).sqrt() + 2.0 * rounds;
    assert!(lost <= robust + regret, "{lost} against {robust}, with {regret} allowed");
    assert!(predictive.weights()[1] > 0.9);
}
