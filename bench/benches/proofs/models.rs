//! All states of small fleets.

use bench::model::handoff::{self, Handoff, Reserve};
use bench::model::lease::Leases;
use bench::model::share::{self, Shares};
use bench::model::{Explored, Machine, explore};
use bench::report::Table;
use bench::schedule::{search, settings};
use bench::simulate::trilemma::{fixed, least, waste};
use serde_json::json;

use super::{Figures, Options};

/// All states of `machine`, and the greatest `measure` of one.
fn all<M: Machine>(machine: &M, measure: impl Fn(&M::State) -> u8) -> (Explored, u8) {
    let mut most = 0;
    let explored = explore(machine, |state| {
        most = most.max(measure(state));
        true
    });
    (explored.unwrap_or(Explored { distinct: 0, generated: 0, depth: 0 }), most)
}

pub(crate) fn models(_: Options<'_>) -> Figures {
    let mut figures = Vec::new();
    let sizes = [
        (2, 4, 2),
        (3, 6, 3),
        (5, 10, 2),
        (4, 12, 4),
        (1, 8, 2),
        (2, 8, 2),
        (4, 8, 2),
        (8, 8, 2),
        (3, 5, 1),
        (2, 5, 2),
        (3, 7, 3),
    ];
    println!("Leases. Regions with escrow from a global budget are the same machine as the coupled one.\n");
    let mut table = Table::new(["nodes, limit, batch", "credits", "states", "generated", "levels", "most", "bound"]);
    for (nodes, limit, batch) in sizes {
        for (name, coupled, returns) in
            [("carried over", false, false), ("coupled", true, false), ("coupled, returned", true, true)]
        {
            let machine = Leases { nodes, limit, batch, coupled, returns };
            let (explored, most) = all(&machine, |state| state.admitted);
            let Explored { distinct, generated, depth } = explored;
            let size = format!("{nodes}, {limit}, {batch}");
            let numbers = [distinct, generated, depth, most.into()].map(|number| number.to_string());
            let bound = machine.bound().to_string();
            figures.push(json!({ "leases": size, "credits": name, "states": distinct, "most": most, "bound": bound }));
            table.row([size, name.to_owned()].into_iter().chain(numbers).chain([bound]));
        }
    }
    table.print();
    println!("Shares of slots for work in flight.\n");
    let mut table = Table::new(["nodes, limit", "what is held back for a node", "states", "most in flight"]);
    for (nodes, limit, in_flight_counts) in [(2, 4, true), (2, 6, true), (3, 4, true), (3, 6, true), (2, 4, false)] {
        let (explored, most) = all(&Shares { nodes, limit, in_flight_counts }, |state| share::in_flight(state));
        let name = if in_flight_counts { "share or work in flight" } else { "share alone" };
        figures.push(
            json!({ "shares": nodes, "limit": limit, "held_back": name, "states": explored.distinct, "most": most }),
        );
        table.row([format!("{nodes}, {limit}"), name.to_owned(), explored.distinct.to_string(), most.to_string()]);
    }
    table.print();
    println!("The same when grants and reports travel; 2 nodes, limit 4.\n");
    let right = Handoff {
        nodes: 2,
        limit: 4,
        history: 2,
        reserve: Reserve::UnacknowledgedAndInFlight,
        whole_reports: true,
        trim: true,
    };
    let mut table = Table::new(["grants kept", "what is held back for a node", "states", "levels", "most in flight"]);
    for (name, machine) in [
        ("unacknowledged or in flight, whole history", Handoff { trim: false, ..right }),
        ("unacknowledged or in flight, whole history", Handoff { trim: false, history: 3, ..right }),
        ("unacknowledged or in flight", right),
        ("unacknowledged or in flight", Handoff { history: 3, ..right }),
        ("latest, acknowledged or in flight", Handoff { reserve: Reserve::LatestAcknowledgedAndInFlight, ..right }),
        ("unacknowledged", Handoff { reserve: Reserve::Unacknowledged, history: 3, ..right }),
        ("unacknowledged or in flight, halves of reports", Handoff { whole_reports: false, ..right }),
    ] {
        let (explored, most) = all(&machine, |state| handoff::in_flight(state));
        let Explored { distinct, depth, .. } = explored;
        figures.push(json!({ "handoff": machine.history, "held_back": name, "states": distinct, "most": most }));
        let numbers = [distinct, depth, most.into()].map(|number| number.to_string());
        table.row([machine.history.to_string(), name.to_owned()].into_iter().chain(numbers));
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn schedules(options: Options<'_>) -> Figures {
    let mut table = Table::new(["shipped limiters", "states", "steps", "longest", "most", "limit"]);
    let mut figures = Vec::new();
    for (name, setting) in settings(!options.quick) {
        let searched = search(setting, setting.limit)?.map_err(|broken| format!("{name}: {broken:?}"))?;
        let numbers = [searched.states, searched.steps, searched.longest].map(|number| number.to_string());
        let units = [searched.most, setting.limit].map(|units| units.to_string());
        table.row([name.to_owned()].into_iter().chain(numbers).chain(units));
        figures.push(
            json!({ "setting": name, "states": searched.states, "steps": searched.steps, "most": searched.most }),
        );
    }
    table.print();
    Ok(json!(figures))
}

pub(crate) fn trilemma(_: Options<'_>) -> Figures {
    println!(
        "The least overshoot + N * waste of fixed budgets, which is (N - 1) L; by how many links nodes share pools.\n"
    );
    let mut table = Table::new(["nodes, limit", "links", "least", "budgets: (overshoot, waste)"]);
    let mut figures = Vec::new();
    for (parts, nodes, limit) in [(2, 2, 4), (3, 3, 6), (4, 4, 8), (3, 4, 8), (2, 4, 8), (1, 4, 8)] {
        let weight = u32::try_from(parts)?;
        let (sum, budgets) = least(parts, weight, limit);
        let budgets = format!("{budgets:?}: {:?}", fixed(&budgets, limit));
        figures.push(json!({ "nodes": nodes, "limit": limit, "links": nodes - parts, "least": sum }));
        table.row([format!("{nodes}, {limit}"), (nodes - parts).to_string(), sum.to_string(), budgets]);
    }
    table.print();
    println!("The least waste that can be promised without overshoot, by leases from a pool.\n");
    let mut table = Table::new(["nodes, limit", "batch", "0, 1, 2, ... leases"]);
    for (nodes, limit, batch, leases) in
        [(2, 8, 1, 8), (2, 8, 2, 4), (2, 8, 3, 4), (2, 8, 4, 4), (3, 9, 1, 9), (3, 9, 2, 4), (3, 9, 3, 4), (3, 9, 4, 4)]
    {
        let wastes: Vec<u32> = (0..=leases).map(|leases| waste(nodes, limit, batch, leases)).collect();
        figures.push(json!({ "nodes": nodes, "limit": limit, "batch": batch, "waste": wastes }));
        let wastes: Vec<String> = wastes.iter().map(u32::to_string).collect();
        table.row([format!("{nodes}, {limit}"), batch.to_string(), wastes.join(", ")]);
    }
    table.print();
    Ok(json!(figures))
}
