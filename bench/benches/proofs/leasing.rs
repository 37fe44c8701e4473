//! What schemes of sharing a limit come to.

use bench::report::Table;
use bench::simulate::fleet::settings::{
    CUT_BELOW, at_once, growing, late as late_setting, parted, rough as rough_setting, slower,
};
use bench::simulate::fleet::{Arrivals, Expiry, Outcome, Setting, run};
use bench::simulate::learners::{
    averaged, believed, best_fixed, clairvoyant, jumps, learnt, nearly, predicted, steady, waves,
};
use bench::simulate::schemes::{self, LIMIT, batches, compared, long_step};
use bench::simulate::sharing::{Split, share};
use bench::simulate::shipped as shipped_limiter;
use bench::simulate::windows::Rules;
use serde_json::json;
use throttlekit::lease::GrantForm;

use super::{Figures, Options};

pub(crate) fn schemes(_: Options<'_>) -> Figures {
    println!("Five nodes, a hot one and four cold ones, limit {LIMIT}, 500 windows.\n");
    let mut table = Table::new(["scheme", "trips", "overshoot", "utilisation"]);
    let mut figures = Vec::new();
    for (name, outcome) in compared()? {
        let (trips, overshoot, utilisation) = (outcome.trips, outcome.overshoot(), outcome.utilisation);
        figures.push(json!({ "scheme": name, "trips": trips, "overshoot": overshoot, "utilisation": utilisation }));
        table.row([name, trips.to_string(), overshoot.to_string(), format!("{utilisation:.6}")]);
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn shipped(_: Options<'_>) -> Figures {
    println!("The shipped limiter on the same demand, h 10.\n");
    let mut table = Table::new(["leases", "trips", "overshoot", "utilisation"]);
    let mut figures = Vec::new();
    for (name, form, step) in [
        ("partial, the default", GrantForm::Partial, None),
        ("partial, step ln 1000", GrantForm::Partial, Some(long_step())),
        ("whole", GrantForm::Whole, None),
    ] {
        let outcome = shipped_limiter::run(form, step)?;
        let shipped_limiter::Outcome { trips, overshoot, utilisation } = outcome;
        figures.push(json!({ "leases": name, "trips": trips, "overshoot": overshoot, "utilisation": utilisation }));
        table.row([name.to_owned(), trips.to_string(), overshoot.to_string(), format!("{utilisation:.6}")]);
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn alike(_: Options<'_>) -> Figures {
    println!("Nodes alike, limit {LIMIT}, batch 10, 200 windows.\n");
    let mut table = Table::new(["nodes", "overshoot carried over", "coupled"]);
    let mut figures = Vec::new();
    for nodes in [2, 4, 8, 16] {
        let demand = schemes::alike(nodes);
        let carried = batches(Rules::carried(LIMIT), 10.0, &demand).overshoot();
        let coupled = batches(Rules::coupled(LIMIT), 10.0, &demand).overshoot();
        figures.push(json!({ "nodes": nodes, "carried": carried, "coupled": coupled }));
        table.row([u64::from(nodes), carried, coupled].map(|number| number.to_string()));
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn fairness(_: Options<'_>) -> Figures {
    println!("Tenants of weight 4, 1, 1 and 1, limit 70, 400 windows.\n");
    let mut table = Table::new(["split", "utilisation", "below the guarantee", "spread", "units"]);
    let mut figures = Vec::new();
    for (name, split) in [
        ("guaranteed shares", Split::Guaranteed),
        ("unit by unit", Split::Drip),
        ("unit by unit, weighted", Split::WeightedDrip),
        ("the shipped weighted max-min", Split::Shipped),
    ] {
        let outcome = share(split)?;
        let below = format!("{} of {}", outcome.violations, outcome.asked);
        figures.push(json!({ "split": name, "utilisation": outcome.utilisation, "violations": outcome.violations }));
        let utilisation = format!("{:.6}", outcome.utilisation);
        table.row([name.to_owned(), utilisation, below, outcome.spread.to_string(), outcome.given.to_string()]);
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn sizes(_: Options<'_>) -> Figures {
    let mut figures = Vec::new();
    println!(
        "Mean regret of the learner to the best fixed size; a trip costs 20, a stranded unit 1; the best size is 63.2456.\n"
    );
    let mut table = Table::new(["windows", "default step", "size at the end", "step ln 1000", "size at the end"]);
    for windows in [100, 400, 1_600, 6_400] {
        let trace = steady(windows);
        let fixed = best_fixed(&trace);
        let mut row = vec![windows.to_string()];
        for step in [None, Some(long_step())] {
            let (spent, sizer) = learnt(&trace, step)?;
            let regret = (spent - fixed) / f64::from(windows);
            figures.push(json!({ "windows": windows, "step": step, "regret": regret, "size": sizer.continuous() }));
            row.extend([format!("{regret:.4}"), format!("{:.4}", sizer.continuous())]);
        }
        table.row(row);
    }
    table.print();
    println!("Demand that changes: cost, and as a part of that of the best fixed size.\n");
    let mut table =
        Table::new(["demand", "best fixed", "moving average", "learner", "of best", "step ln 1000, of best"]);
    for (name, trace) in [("waves", waves()), ("jumps", jumps())] {
        let (fixed, average) = (best_fixed(&trace), averaged(&trace)?);
        let (default, long) = (learnt(&trace, None)?.0, learnt(&trace, Some(long_step()))?.0);
        figures.push(json!({ "demand": name, "fixed": fixed, "average": average, "learner": default, "long": long }));
        let costs = [fixed, average, default].map(|cost| format!("{cost:.3}"));
        let ratios = [default, long].map(|cost| format!("{:.4}", cost / fixed));
        table.row([name.to_owned()].into_iter().chain(costs).chain(ratios));
    }
    table.print();
    println!("Predictions of the waves.\n");
    let trace = waves();
    let (best, robust) = (clairvoyant(&trace), learnt(&trace, None)?.0);
    let mut table = Table::new(["predictions", "cost", "of one who knows", "of the learner alone", "believed blindly"]);
    for (name, predictions) in
        [("perfect", trace.clone()), ("off by a tenth", nearly(&trace)), ("always 5", vec![5.0; trace.len()])]
    {
        let (cost, _) = predicted(&trace, &predictions)?;
        let blind = believed(&trace, &predictions)?;
        figures.push(json!({ "predictions": name, "cost": cost, "best": best, "robust": robust, "blind": blind }));
        let numbers = [cost / best, cost / robust].map(|ratio| format!("{ratio:.5}"));
        table.row([name.to_owned(), format!("{cost:.4}")].into_iter().chain(numbers).chain([format!("{blind:.4}")]));
    }
    table.print();
    Ok(json!(figures))
}

fn row(name: &str, outcome: &Outcome) -> [String; 6] {
    let numbers =
        [outcome.overshoot(), outcome.overspent(), outcome.trips, outcome.late].map(|number| number.to_string());
    let [overshoot, overspent, trips, late] = numbers;
    [name.to_owned(), format!("{:.5}", outcome.utilisation()), overshoot, overspent, trips, late]
}

fn simulated((setting, arrivals): (Setting, Arrivals)) -> Outcome {
    run(&setting, &arrivals)
}

const HEAD: [&str; 6] = ["", "utilisation", "overshoot", "by who paid", "trips", "late grants"];

pub(crate) fn fleets(_: Options<'_>) -> Figures {
    let mut figures = Vec::new();
    let mut table = Table::new(HEAD);
    let mut add = |name: String, outcome: &Outcome| {
        let (utilisation, overshoot, trips) = (outcome.utilisation(), outcome.overshoot(), outcome.trips);
        figures.push(json!({ "fleet": name, "utilisation": utilisation, "overshoot": overshoot, "trips": trips }));
        table.row(row(&name, outcome));
    };
    for nodes in [2, 8, 32, 128, 256, 512] {
        let (setting, arrivals) = growing(nodes);
        add(format!("{nodes} nodes"), &run(&setting, &arrivals));
        let remembers = Setting { remember: true, ..setting };
        add(format!("{nodes} nodes, exhaustion remembered"), &run(&remembers, &arrivals));
    }
    for nodes in [8, 32, 128, 256] {
        add(format!("{nodes} nodes at once, carried over"), &simulated(at_once(nodes, Expiry::Never)));
        add(format!("{nodes} nodes at once, coupled"), &simulated(at_once(nodes, Expiry::Roll)));
    }
    for mean_ms in [0.0, 5.0, 20.0, 50.0] {
        add(format!("64 nodes, answers of {mean_ms} ms"), &simulated(slower(mean_ms)));
    }
    let there = |outcome: &Outcome| outcome.by_node.iter().take(CUT_BELOW).step_by(2).sum::<u64>();
    for (name, cut) in [("64 nodes", false), ("64 nodes, 16 cut off", true)] {
        let outcome = simulated(parted(cut));
        add(format!("{name}: {} admitted there", there(&outcome)), &outcome);
    }
    table.print();
    Ok(json!(figures))
}

/// How nodes know that credits are over, by name.
pub(crate) const EXPIRIES: [(&str, Expiry); 4] = [
    ("never", Expiry::Never),
    ("as the window rolls", Expiry::Roll),
    ("by the node's clock", Expiry::OwnClock),
    ("by the time since it asked", Expiry::SinceAsked),
];

pub(crate) fn late(_: Options<'_>) -> Figures {
    println!("64 nodes, limit 1,000 in 100 ms, answers of 90 ms, six times the limit. Credits are over ...\n");
    let mut figures = Vec::new();
    let mut table = Table::new(HEAD);
    for (name, expiry) in EXPIRIES {
        let outcome = simulated(late_setting(expiry));
        figures.push(json!({ "over": name, "overshoot": outcome.overshoot(), "utilisation": outcome.utilisation() }));
        table.row(row(name, &outcome));
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn rough(options: Options<'_>) -> Figures {
    println!("Limit 100,000 a second, lost messages, wrong clocks, nodes cut off. Credits are over ...\n");
    let mut figures = Vec::new();
    let mut table = Table::new(HEAD);
    let fleets: &[usize] = if options.quick { &[64] } else { &[8, 64, 512, 2_048, 10_000] };
    for nodes in fleets {
        for (name, expiry) in EXPIRIES {
            let outcome = simulated(rough_setting(*nodes, expiry));
            let (overshoot, utilisation) = (outcome.overshoot(), outcome.utilisation());
            figures.push(json!({ "nodes": nodes, "over": name, "overshoot": overshoot, "utilisation": utilisation }));
            table.row(row(&format!("{nodes} nodes, {name}"), &outcome));
        }
    }
    table.print();
    Ok(json!(figures))
}
