//! What budgets for tokens come to.

use bench::report::Table;
use bench::simulate::lengths::{adversarial, by_rank, heavy_tail, production as production_trace, quantile};
use bench::simulate::meter::{Policy, Setting, run};
use bench::simulate::producers::{fixed_budget, mean_overshoot, scaled_budget, surge, used};
use bench::simulate::reservations::{
    CAP, Reserve, admit, believe, best_fixed, follow, learn, learner, predicted, predictions as all_predictions, shift,
    steady,
};
use serde_json::json;
use throttlekit::learn::LearningRate;

use super::{Figures, Options};

/// The policies by name, with the chunk that is counted at once.
const POLICIES: [(&str, Policy, f64); 4] = [
    ("reserve the most", Policy::ReserveMost, 1.0),
    ("count at the end", Policy::CountAtEnd, 1.0),
    ("meter", Policy::Stream, 1.0),
    ("meter, 8 at once", Policy::Stream, 8.0),
];

pub(crate) fn meter(_: Options<'_>) -> Figures {
    let mut figures = Vec::new();
    println!("Budget 1,000, 4 requests at a time.\n");
    let mut table = Table::new(["cap", "policy", "served", "overshoot", "utilisation", "requests"]);
    for cap in [256.0, 512.0, 1_024.0, 2_048.0] {
        for (name, policy, chunk) in POLICIES {
            let setting = Setting { budget: 1_000.0, slots: 4, cap, chunk, rounds: 500 };
            let outcome = run(policy, setting, &heavy_tail(400, 120.0, cap, 7));
            let (served, overshoot, utilisation) = (outcome.served, outcome.overshoot, outcome.utilisation);
            figures.push(json!({ "cap": cap, "policy": name, "overshoot": overshoot, "utilisation": utilisation }));
            let numbers = [served, overshoot, utilisation, outcome.admitted.into()].map(|number| number.to_string());
            table.row([cap.to_string(), name.to_owned()].into_iter().chain(numbers));
        }
    }
    table.print();
    println!("Every request at the cap.\n");
    let mut table = Table::new(["cap", "overshoot of counting at the end", "of the meter"]);
    for (cap, rounds) in [(256.0, 456), (512.0, 712), (1_024.0, 1_224), (2_048.0, 2_248)] {
        let setting = Setting { budget: 1_000.0, slots: 4, cap, chunk: 1.0, rounds };
        let overshoot = |policy| run(policy, setting, &[cap; 400]).overshoot;
        table.row([cap, overshoot(Policy::CountAtEnd), overshoot(Policy::Stream)].map(|number| number.to_string()));
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn gateways(_: Options<'_>) -> Figures {
    let mut figures = Vec::new();
    for (title, scaled) in [("10,000 tokens a window", false), ("1,500 tokens a window for each gateway", true)] {
        println!("{title}, leases of 200.\n");
        let mut table = Table::new(["gateways", "overshoot coupled", "utilisation", "carried over, most", "mean"]);
        for gateways in [1, 2, 4, 8, 16, 32_u32] {
            let (budget, (coupled, carried)) = if scaled {
                (1_500 * u64::from(gateways), scaled_budget(gateways))
            } else {
                (10_000, fixed_budget(gateways))
            };
            let (utilisation, mean) = (used(&coupled, budget), mean_overshoot(&carried));
            figures.push(json!({ "gateways": gateways, "scaled": scaled, "utilisation": utilisation, "mean": mean }));
            let (coupled, carried) = (coupled.overshoot().to_string(), carried.overshoot().to_string());
            table.row([gateways.to_string(), coupled, format!("{utilisation:.6}"), carried, format!("{mean:.3}")]);
        }
        table.print();
    }
    println!("Limit 200, leases of 10, a request on each node and then 800.\n");
    let mut table = Table::new(["nodes", "overshoot coupled", "carried over"]);
    for nodes in [2, 4, 8, 16] {
        let (coupled, carried) = surge(nodes);
        table.row([nodes.to_string(), coupled.overshoot().to_string(), carried.overshoot().to_string()]);
    }
    table.print();
    Ok(json!(figures))
}

#[allow(clippy::cast_precision_loss)] // a few thousand requests
pub(crate) fn reservations(_: Options<'_>) -> Figures {
    let mut figures = Vec::new();
    println!("A token reserved in vain costs 1, one that was not reserved 4; at most {CAP}.\n");
    let mut table = Table::new([
        "requests",
        "learner",
        "best fixed",
        "its size",
        "mean regret",
        "not rounded",
        "bound",
        "size at the end",
    ]);
    for requests in [100, 400, 1_600, 6_400] {
        let lengths = steady(requests);
        let (fixed, size) = best_fixed(&lengths);
        let paid = learn(&mut learner()?, &lengths);
        let regret = (paid.whole - fixed) / requests as f64;
        let bound = 1.5 * CAP * 4.0 * (requests as f64).sqrt();
        figures.push(json!({ "requests": requests, "cost": paid.whole, "best": fixed, "regret": regret }));
        let whole = [requests as f64, paid.whole, fixed, size].map(|number| number.to_string());
        let continuous = format!("{:.3}", paid.continuous - fixed);
        let others = [format!("{regret:.4}"), continuous, bound.to_string(), format!("{:.3}", paid.last)];
        table.row(whole.into_iter().chain(others));
    }
    table.print();
    let (short, long) = shift(2_000);
    let both: Vec<f64> = short.into_iter().chain(long).collect();
    let (paid, (fixed, size)) = (learn(&mut learner()?, &both).whole, best_fixed(&both));
    println!(
        "2,000 short requests, then 2,000 long ones: {paid}, best fixed {fixed} at {size}, {:.4} of it.\n",
        paid / fixed
    );
    Ok(json!(figures))
}

pub(crate) fn predictions(_: Options<'_>) -> Figures {
    let lengths = predicted();
    let robust = learn(&mut learner()?, &lengths).whole;
    let (fixed, size) = best_fixed(&lengths);
    println!("3,000 requests; the learner alone pays {robust}, the best fixed reservation of {size} {fixed}.\n");
    let predictions = all_predictions(&lengths);
    let mut table = Table::new(["learning rate"].into_iter().chain(predictions.iter().map(|(name, _)| *name)));
    let mut figures = Vec::new();
    let blind = predictions.iter().map(|(_, predictions)| believe(&lengths, predictions).to_string());
    table.row(["believed blindly".to_owned()].into_iter().chain(blind));
    let fixed = [0.01, 0.001, 0.000_1].map(LearningRate::Fixed);
    for rate in fixed.into_iter().chain([LearningRate::Decaying(CAP * 4.0)]) {
        let name = match rate {
            LearningRate::Fixed(eta) => eta.to_string(),
            _ => "sqrt(8 ln 2 / t) / 2,048".to_owned(),
        };
        let mut costs = Vec::new();
        for (_, predictions) in &predictions {
            costs.push(follow(&lengths, predictions, rate)?.0);
        }
        figures.push(json!({ "rate": name, "costs": costs, "robust": robust }));
        table.row([name].into_iter().chain(costs.iter().map(f64::to_string)));
    }
    table.print();
    Ok(json!(figures))
}

/// Predicts lengths.
type Predictor = fn(&[f64]) -> Vec<f64>;

pub(crate) fn admission(_: Options<'_>) -> Figures {
    println!("Budget 1,000: requests started, completed and stopped, and utilisation. All overshoot by 0.\n");
    let mut table = Table::new(["reservation", "8 at a time", "16 at a time"]);
    let mut figures = Vec::new();
    let good = |lengths: &[f64]| by_rank(lengths, 0.1, 21);
    let rows: [(&str, Reserve, Predictor); 9] = [
        ("none", Reserve::Nothing, good),
        ("the cap", Reserve::Cap, good),
        ("learnt", Reserve::learned()?, good),
        ("what it will take", Reserve::Oracle, good),
        ("good predictions", Reserve::predictive()?, good),
        ("the same, judged by the latest one", Reserve::latest()?, good),
        ("adversarial predictions", Reserve::predictive()?, adversarial),
        ("the same, judged by the latest one", Reserve::latest()?, adversarial),
        ("adversarial predictions, blindly", Reserve::Prediction, adversarial),
    ];
    for (name, reserve, predict) in rows {
        let mut row = vec![name.to_owned()];
        for slots in [8, 16] {
            let admitted = admit(reserve.clone(), slots, 1.0, predict);
            if admitted.overshoot() > 0.0 {
                return Err(format!("{name}: {admitted:?}").into());
            }
            let (started, completed, stopped) = (admitted.started, admitted.completed, admitted.aborted());
            figures.push(json!({ "reservation": name, "slots": slots, "started": started, "completed": completed }));
            row.push(format!("{started} / {completed} / {stopped} / {}", admitted.utilisation()));
        }
        table.row(row);
    }
    table.print();
    for (name, reserve) in [("blind", Reserve::Prediction), ("no", Reserve::Nothing)] {
        let admitted = admit(reserve, 16, 8.0, adversarial);
        println!("Chunks of 8, {name} reservations: {} served, overshoot {}.\n", admitted.served, admitted.overshoot());
    }
    Ok(json!(figures))
}

#[allow(clippy::cast_precision_loss)] // a few thousand requests
pub(crate) fn production(options: Options<'_>) -> Figures {
    let Some(file) = options.trace else {
        println!("Needs a trace of production requests, which is not part of this project: --trace FILE.\n");
        return Ok(json!(null));
    };
    let lengths = production_trace(file)?;
    let mean = lengths.iter().sum::<f64>() / lengths.len() as f64;
    let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|q| quantile(&lengths, q));
    println!("{} requests: mean {mean:.0}, p50 {p50}, p90 {p90}, p99 {p99}, most {most}.\n", lengths.len());
    println!("Budget 50,000, 32 requests at a time.\n");
    let mut table = Table::new([
        "cap",
        "used of the most",
        "overshoot of counting at the end",
        "of the meter",
        "utilisation of the meter",
    ]);
    let mut figures = Vec::new();
    for (cap, rounds) in [(256.0, 50_266), (512.0, 50_522), (1_024.0, 51_034), (2_048.0, 52_058), (4_096.0, 54_106)] {
        let efficiency = lengths.iter().map(|length| length.min(cap)).sum::<f64>() / lengths.len() as f64 / cap;
        let setting = Setting { budget: 50_000.0, slots: 32, cap, chunk: 1.0, rounds };
        let (count, stream) = (run(Policy::CountAtEnd, setting, &lengths), run(Policy::Stream, setting, &lengths));
        figures
            .push(json!({ "cap": cap, "efficiency": efficiency, "count": count.overshoot, "meter": stream.overshoot }));
        let numbers = [count.overshoot, stream.overshoot, stream.utilisation].map(|number| number.to_string());
        table.row([cap.to_string(), format!("{efficiency:.2}")].into_iter().chain(numbers));
    }
    table.print();
    Ok(json!(figures))
}
