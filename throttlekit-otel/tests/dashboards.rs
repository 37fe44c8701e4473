//! The dashboards in `examples/grafana` ask for series that a running service exports, with labels that they have.
#![cfg(feature = "config")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::Sdk;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::prometheus::Metrics;
use throttlekit::{Admit, Ask, Event, Gcra, Limiter, Observer};
use throttlekit_otel::Telemetry;
use throttlekit_otel::names::metric;

/// The labels of each series.
type Exported = BTreeMap<String, BTreeSet<String>>;

/// A service with each kind of policy, of which some requests are refused.
const LIMITS: &str = "
limiters:
  search: { strategy: gcra, limit: 2, period: 1h, concurrency: {} }
  upload: { strategy: fixedWindow, limit: 1, period: 1h }
";

/// What the service exports over OpenTelemetry, and as text.
fn exported() -> (Exported, Exported) {
    let (sdk, metrics) = (Sdk::new(), Metrics::new());
    let telemetry = Telemetry::new(&sdk.meter());
    let observer = (telemetry.clone(), metrics.clone());
    let policies = Policies::load(LIMITS, LoadOptions::new().observer(observer)).expect("limits");
    for policy in policies.current().iter() {
        for _ in 0..4 {
            drop(policy.admit().admit(&Ask::new("user")).now().ok().and_then(Result::ok).expect("memory answers"));
        }
    }
    // An error, which memory does not have by itself.
    let error = throttlekit::Error::store_unavailable("connection refused");
    let failed = Event::new("upload", "fixedWindow", throttlekit::Axis::Rate, 1.0, 0.0, Err(&error));
    telemetry.observe(&failed);
    metrics.observe(&failed);
    (over_otel(&sdk), as_text(&metrics.render()))
}

/// As the exporters for Prometheus name it: points become underscores, counters end in `_total`, and a histogram is three
/// series. Units are not appended.
fn over_otel(sdk: &Sdk) -> Exported {
    let mut exported = Exported::new();
    for series in sdk.collect() {
        let name = series.name.replace('.', "_");
        let labels = series.attributes.split(' ').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
        let labels: BTreeSet<_> = labels.collect();
        let suffixes: &[&str] = match () {
            () if !series.bounds.is_empty() => &["_bucket", "_sum", "_count"],
            () if series.kind == "counter" => &["_total"],
            () => &[""],
        };
        for suffix in suffixes {
            exported.entry(format!("{name}{suffix}")).or_default().extend(labels.clone());
        }
        if let Some(labels) = exported.get_mut(&format!("{name}_bucket")) {
            labels.insert("le".to_owned());
        }
    }
    exported
}

fn as_text(text: &str) -> Exported {
    let mut exported = Exported::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let series = sample.rsplit_once(' ').expect("a value").0;
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        exported.entry(name.to_owned()).or_default().extend(labels);
    }
    exported
}

/// The queries of the panels of a dashboard, and what its variables take their values from.
fn queries(dashboard: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let panels = list(&dashboard["panels"]);
    let targets = panels.iter().flat_map(|panel| list(&panel["targets"]));
    let mut queries: Vec<_> = targets.map(|target| text(&target["expr"])).collect();
    let variables = list(&dashboard["templating"]["list"]);
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let query = text(&variable["query"]["query"]);
        let asked = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')?.split_once(", "));
        let (series, label) = asked.expect("it asks for the values of a label");
        queries.push(format!("sum by ({label}) ({series})"));
    }
    queries
}

/// The series that a query asks for, each with the labels that it is filtered and grouped by.
fn asked(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    let mut rest = query;
    let mut grouped = BTreeSet::new();
    while let Some(at) = rest.find("throttlekit_") {
        let (before, series) = rest.split_at(at);
        // A name stands within the last grouping before it.
        if let Some((_, by)) = before.rsplit_once("by (") {
            grouped = by.split(')').next().unwrap_or_default().split(", ").map(str::to_owned).collect();
        }
        let end = series.find(|of: char| of != '_' && !of.is_ascii_alphanumeric()).unwrap_or(series.len());
        let (name, after) = series.split_at(end);
        let matchers =
            after.strip_prefix('{').and_then(|labels| labels.split_once('}')).map_or("", |(labels, _)| labels);
        let matched = matchers.split(',').filter_map(|matcher| Some(matcher.split_once('=')?.0.to_owned()));
        found.push((name.to_owned(), grouped.iter().cloned().chain(matched).collect()));
        rest = after;
    }
    found
}

/// Fails if a dashboard asks for something that is not exported. Returns what it asks for.
fn check(name: &str, exported: &Exported) -> BTreeSet<String> {
    let path = format!("{}/../examples/grafana/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the dashboard is there");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut all = BTreeSet::new();
    for query in queries(&dashboard) {
        let found = asked(&query);
        assert!(!found.is_empty(), "{query} asks for nothing");
        for (series, labels) in found {
            let known = exported.get(&series).unwrap_or_else(|| panic!("nobody exports {series}: {query}"));
            // What the scrape adds is not the service's.
            for label in labels.iter().filter(|label| *label != "instance") {
                assert!(known.contains(label), "{series} has no label {label}, only {known:?}: {query}");
            }
            all.insert(series);
        }
    }
    all
}

#[test]
fn the_dashboard_of_opentelemetry_asks_for_what_is_exported_and_never_changes() {
    let asked = check("throttlekit", &exported().0);
    let frozen = metric::FROZEN.map(|name| name.replace('.', "_"));
    for series in &asked {
        let name = series.trim_end_matches("_total").trim_end_matches("_bucket");
        assert!(frozen.iter().any(|frozen| frozen == name), "{series} may change");
    }
    assert_eq!(asked.len(), frozen.len(), "{asked:?}");
}

#[test]
fn the_dashboard_of_policies_asks_for_what_is_in_the_text_and_for_all_of_it() {
    let exported = exported().1;
    let asked = check("throttlekit-policies", &exported);
    let forgotten: Vec<_> = exported.keys().filter(|series| !asked.contains(*series)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

#[test]
fn a_query_is_read_with_its_labels() {
    let read = |query| {
        let found = asked(query).into_iter();
        found.map(|(series, labels)| (series, labels.into_iter().collect::<Vec<_>>().join(" "))).collect::<Vec<_>>()
    };
    let pair = |series: &str, labels: &str| (series.to_owned(), labels.to_owned());
    assert_eq!(
        read("sum by (le, lane) (rate(throttlekit_x_bucket{a=~\"$a\",b=\"1\"}[1m])) / sum(throttlekit_y)"),
        [pair("throttlekit_x_bucket", "a b lane le"), pair("throttlekit_y", "lane le")]
    );
    assert_eq!(read("max(up)"), []);
}

/// A limiter without policies has the same names.
#[test]
fn limiters_of_code_export_the_same_series() {
    let sdk = Sdk::new();
    let limiter = Limiter::builder(Gcra::per_hour(1).expect("a rate")).observer(Telemetry::new(&sdk.meter())).build();
    limiter.check("user").expect("memory answers");
    let (exported, all) = (over_otel(&sdk), exported().0);
    assert!(exported.contains_key("throttlekit_checks_total"));
    assert!(exported.iter().all(|(series, labels)| all.get(series) == Some(labels)), "{exported:?}");
}
