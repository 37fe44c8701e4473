//! The learners: the numbers that every member of the family comes to.

use throttlekit::learn::{AdaGrad, Hedge, LearningRate};
use throttlekit::lease::{EoqOptions, EoqSizer, PredictiveSizer, Sizer, eoq};

fn close(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance * expected.abs(), "{actual} is not {expected}");
}

/// The sizes before and after each observation, and the last one before rounding of each.
fn learn(mut sizer: EoqSizer, demands: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut sizes, mut continuous) = (vec![sizer.size()], Vec::new());
    for demand in demands {
        sizer.observe(*demand);
        sizes.push(sizer.size());
        continuous.push(sizer.continuous());
    }
    (sizes, continuous)
}

fn all_close(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        close(*actual, *expected, 1e-9);
    }
}

#[test]
fn the_economic_quantity_is_where_both_costs_are_equal() {
    close(eoq(20.0, 1.0, 100.0).unwrap(), 63.245_553_203_4, 1e-11);
    assert_eq!(eoq(20.0, 1.0, 0.0).unwrap(), 0.0);
    for (order, strand, demand, option) in [
        (0.0, 1.0, 1.0, "adaptive.orderCost"),
        (1.0, -1.0, 1.0, "adaptive.strandPenalty"),
        (f64::INFINITY, 1.0, 1.0, "adaptive.orderCost"),
        (1.0, 1.0, -1.0, "eoq.demand"),
        (1.0, 1.0, f64::NAN, "eoq.demand"),
    ] {
        assert_eq!(eoq(order, strand, demand).unwrap_err().option(), option);
    }
}

#[test]
fn a_size_grows_by_one_e_fold_at_most_and_settles_at_the_best() {
    let (sizes, continuous) = learn(EoqOptions::new(20.0, 1.0).build().unwrap(), &[100.0; 5]);
    assert_eq!(sizes, [1.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let expected = [std::f64::consts::E, 3.837_310_652_23, 4.862_812_318_06, 5.841_198_809_32, 6.789_752_760_61];
    all_close(&continuous, &expected);

    let from_50 = || EoqOptions::new(20.0, 1.0).initial_size(50.0).build().unwrap();
    let (sizes, continuous) = learn(from_50(), &[300.0; 4]);
    assert_eq!(sizes, [50.0, 136.0, 107.0, 110.0, 110.0]);
    all_close(&continuous, &[135.914_091_423, 106.580_044_749, 109.900_059_432, 109.502_643_762]);
    let (_, continuous) = learn(from_50(), &[300.0; 41]);
    close(continuous[40], 109.544_511_501_03, 1e-12);
}

#[test]
fn a_size_stays_within_its_bounds() {
    let bounded = EoqOptions::new(5.0, 2.0).min_size(4.0).max_size(500.0).build().unwrap();
    let (_, continuous) = learn(bounded, &[10.0, 1_000.0, 0.0, 50.0]);
    all_close(&continuous, &[10.873_127_313_1, 29.550_929_532_3, 27.672_815_427_2, 26.551_050_062_4]);

    let fixed = EoqOptions::new(20.0, 1.0).min_size(7.0).max_size(7.0).build().unwrap();
    let (sizes, _) = learn(fixed, &[0.0, 1e9, 3.0, 100.0]);
    assert_eq!(sizes, [7.0; 5]);
}

#[test]
fn a_demand_that_is_no_demand_tells_nothing() {
    let mut sizer = EoqOptions::new(20.0, 1.0).initial_size(50.0).build().unwrap();
    let before = sizer;
    for demand in [f64::NAN, f64::INFINITY, -1.0, f64::MAX] {
        sizer.observe(demand);
    }
    assert_eq!(sizer, before);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let options = || EoqOptions::new(20.0, 1.0);
    for (options, option) in [
        (EoqOptions::new(0.0, 1.0), "adaptive.orderCost"),
        (EoqOptions::new(1.0, f64::NAN), "adaptive.strandPenalty"),
        (options().min_size(0.5), "adaptive.minSize"),
        (options().min_size(9.0).max_size(8.0), "adaptive.maxSize"),
        (options().max_size(f64::INFINITY), "adaptive.maxSize"),
        (options().initial_size(0.0), "adaptive.initialSize"),
        (options().step_scale(0.0), "adaptive.stepScale"),
        (options().epsilon(-1.0), "adaptive.epsilon"),
    ] {
        assert_eq!(options.build().unwrap_err().option(), option);
    }
    let rate = PredictiveSizer::with_rate(options(), LearningRate::Fixed(0.0));
    assert_eq!(rate.unwrap_err().option(), "learningRate");
}

#[test]
fn a_forecast_counts_as_far_as_it_proves_good() {
    let mut sizer = PredictiveSizer::new(EoqOptions::new(20.0, 1.0).max_size(1_000.0)).unwrap();
    // Forecast, size, demand, weights afterwards where they are known.
    let rounds = [
        (100.0, 32.0, 100.0, Some((0.999_999_996_1, 3.86e-9))),
        (100.0, 63.0, 100.0, None),
        (5.0, 14.0, 100.0, None),
        (0.0, 1.0, 100.0, Some((0.999_997_654_9, 2.345_113e-6))),
        (400.0, 126.0, 100.0, Some((0.999_999_821_3, 1.786_606e-7))),
    ];
    for (forecast, size, demand, weights) in rounds {
        assert_eq!(sizer.size_for(forecast), size);
        sizer.observe(demand);
        if let Some((follow, robust)) = weights {
            close(sizer.weights()[0], follow, 1e-10);
            close(sizer.weights()[1], robust, 1e-3);
        }
    }
}

#[test]
fn a_forecast_that_is_no_number_is_none() {
    let new = || PredictiveSizer::new(EoqOptions::new(20.0, 1.0).min_size(3.0)).unwrap();
    for forecast in [f64::NAN, f64::INFINITY, -5.0, 0.0] {
        assert_eq!(new().size_for(forecast), 3.0);
    }
}

#[test]
fn a_guided_sizer_hands_the_last_demand_to_its_forecast() {
    let sizer = PredictiveSizer::new(EoqOptions::new(20.0, 1.0).max_size(1_000.0)).unwrap();
    let mut seen = Vec::new();
    let mut guided = sizer.guided(|last| {
        seen.push(last);
        last.unwrap_or(100.0)
    });
    assert_eq!(guided.size(), 32.0);
    guided.observe(100.0);
    assert_eq!(guided.size(), 63.0);
    guided.observe(f64::NAN);
    assert_eq!(guided.size(), 63.0);
    assert_eq!(seen, [None, Some(100.0), Some(100.0)]);
}

#[test]
fn a_decaying_rate_turns_more_slowly_with_time() {
    let mut hedge = Hedge::new(LearningRate::Decaying(2.0)).unwrap();
    hedge.observe([0.0, 1.0]);
    let eta = (8.0 * std::f64::consts::LN_2 / 2.0).sqrt() / 2.0;
    close(hedge.weights()[0], 1.0 / (1.0 + (-eta).exp()), 1e-14);
    // The same lead counts less the later it is.
    let early = hedge.weights()[0];
    (0..100).for_each(|_| hedge.observe([1.0, 1.0]));
    assert!(hedge.weights()[0] < early && hedge.weights()[0] > 0.5);
    hedge.observe([f64::NAN, 1.0]);
    assert_eq!(hedge.losses(), [100.0, 101.0]);
}

#[test]
fn the_first_step_has_the_length_of_the_scale() {
    for gradient in [-1e-3, 1e-3, 5.0, -1e100] {
        let mut learner = AdaGrad::new(0.0, -10.0, 10.0, 0.25, 0.0);
        learner.observe(gradient);
        assert_eq!(learner.value(), -0.25 * gradient.signum());
    }
    // Without an epsilon the first gradient may be 0.
    let mut learner = AdaGrad::new(0.0, -10.0, 10.0, 0.25, 0.0);
    learner.observe(0.0);
    assert_eq!(learner.value(), 0.0);
}
