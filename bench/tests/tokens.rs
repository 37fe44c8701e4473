//! The published figures of budgets for costs that are known too late.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use std::fs;

use bench::simulate::lengths::{adversarial, by_rank, heavy_tail, production, quantile};
use bench::simulate::meter::{Policy, Setting, run};
use bench::simulate::producers::{fixed_budget, mean_overshoot, scaled_budget, surge, used};

fn six(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

#[test]
fn lengths_and_predictions_are_those_of_the_family() {
    let lengths = heavy_tail(10, 120.0, 512.0, 7);
    assert_eq!(lengths, [52.0, 152.0, 77.0, 62.0, 116.0, 68.0, 125.0, 70.0, 47.0, 191.0]);
    assert_eq!(heavy_tail(5, 4_000.0, 80_000.0, 100), [1_730.0, 12_900.0, 1_013.0, 2_890.0, 958.0]);
    assert_eq!(heavy_tail(6_400, 120.0, 512.0, 7).iter().sum::<f64>(), 1_059_335.0);
    let lengths = heavy_tail(8, 120.0, 512.0, 11);
    assert_eq!(lengths, [159.0, 293.0, 71.0, 200.0, 199.0, 23.0, 92.0, 83.0]);
    assert_eq!(adversarial(&lengths), [92.0, 23.0, 200.0, 71.0, 83.0, 293.0, 159.0, 199.0]);
    assert_eq!(by_rank(&lengths, 0.3, 21), [199.0, 200.0, 71.0, 293.0, 83.0, 23.0, 92.0, 159.0]);
    assert_eq!(by_rank(&lengths, 0.0, 21), lengths);
}

fn meter(cap: f64, chunk: f64) -> Setting {
    Setting { budget: 1_000.0, slots: 4, cap, chunk, rounds: 500 }
}

#[test]
fn a_meter_uses_the_budget_whatever_the_cap() {
    let figures = |policy, cap, chunk| {
        let outcome = run(policy, meter(cap, chunk), &heavy_tail(400, 120.0, cap, 7));
        (outcome.served, outcome.overshoot, outcome.utilisation, outcome.admitted)
    };
    let published = [
        (256.0, (769.0, 0.0, 0.769, 9), (1_747.0, 605.0, 1.0, 16)),
        (512.0, (500.0, 0.0, 0.5, 6), (1_791.0, 349.0, 1.0, 16)),
        (1_024.0, (0.0, 0.0, 0.0, 0), (1_791.0, 349.0, 1.0, 16)),
        (2_048.0, (0.0, 0.0, 0.0, 0), (1_791.0, 349.0, 1.0, 16)),
    ];
    for (cap, reserve, count) in published {
        assert_eq!(figures(Policy::ReserveMost, cap, 1.0), reserve, "cap {cap}");
        assert_eq!(figures(Policy::CountAtEnd, cap, 1.0), count, "cap {cap}");
        assert_eq!(figures(Policy::Stream, cap, 1.0), (1_000.0, 0.0, 1.0, 13), "cap {cap}");
        assert_eq!(figures(Policy::Stream, cap, 8.0), (1_001.0, 1.0, 1.0, 13), "cap {cap}");
    }
}

#[test]
fn requests_at_the_cap_are_the_worst_case_of_counting_at_the_end() {
    for (cap, rounds, overshoot) in
        [(256.0, 456, 24.0), (512.0, 712, 1_048.0), (1_024.0, 1_224, 3_096.0), (2_048.0, 2_248, 7_192.0)]
    {
        let setting = Setting { rounds, ..meter(cap, 1.0) };
        assert_eq!(run(Policy::CountAtEnd, setting, &[cap; 400]).overshoot, overshoot);
        assert_eq!(run(Policy::Stream, setting, &[cap; 400]).overshoot, 0.0);
    }
}

#[test]
fn gateways_that_lease_tokens_stay_within_the_budget() {
    let published = [
        (1, 0.442_915, 193, 9.830),
        (2, 0.765_881, 298, 38.030),
        (4, 0.962_773, 547, 80.315),
        (8, 0.988_991, 421, 60.350),
        (16, 0.997_033, 279, 24.975),
        (32, 0.999_726, 120, 2.555),
    ];
    for (gateways, utilisation, most, mean) in published {
        let (coupled, carried) = fixed_budget(gateways);
        assert_eq!((coupled.overshoot(), six(used(&coupled, 10_000))), (0, utilisation), "{gateways} gateways");
        assert_eq!((carried.overshoot(), six(mean_overshoot(&carried))), (most, mean), "{gateways} gateways");
        assert!(carried.overshoot() <= u64::from(gateways) * 199);
    }
}

#[test]
fn what_gateways_carry_over_grows_with_them() {
    let published = [(2, 275, 32.255), (4, 514, 61.555), (8, 696, 98.020), (16, 1_008, 152.925), (32, 1_517, 196.400)];
    for (gateways, most, mean) in published {
        let (coupled, carried) = scaled_budget(gateways);
        assert_eq!(coupled.overshoot(), 0);
        assert_eq!((carried.overshoot(), six(mean_overshoot(&carried))), (most, mean), "{gateways} gateways");
    }
    for (nodes, overshoot) in [(2, 18), (4, 36), (8, 72), (16, 144)] {
        let (coupled, carried) = surge(nodes);
        assert_eq!((coupled.overshoot(), carried.overshoot()), (0, overshoot), "{nodes} nodes");
    }
}

#[test]
fn a_trace_is_read_from_a_file() {
    let file = std::env::temp_dir().join(format!("throttlekit-trace-{}.csv", std::process::id()));
    fs::write(&file, "TIMESTAMP,ContextTokens,GeneratedTokens\n1,374,44\n2,396,0\n3,879,55\n").unwrap();
    let lengths = production(&file);
    fs::write(&file, "TIMESTAMP,ContextTokens\n").unwrap();
    let empty = production(&file).unwrap_err().to_string();
    fs::remove_file(&file).unwrap();
    assert_eq!(lengths.unwrap(), [44.0, 55.0]);
    assert!(empty.ends_with("has no row with a third column above 0"), "{empty}");
    assert!(production(&file).is_err());
    assert_eq!(quantile(&[5.0, 1.0, 3.0, 2.0, 4.0], 0.5), 3.0);
}
