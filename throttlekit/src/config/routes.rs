//! Which rule of the `http` section a request falls under.

use std::collections::{HashMap, HashSet};

use matchit::{InsertError, Router};

use super::http::HttpRule;

/// Finds the rule of a request.
///
/// One router for each method that some rule names, and one for all others. A router holds every rule that covers its
/// method, so a rule for `/api/{*rest}` covers a method that the rule for `/api/hello` leaves out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    named: Vec<(String, Router<usize>)>,
    other: Router<usize>,
}

/// Why a rule cannot stand beside the others.
#[derive(Debug)]
pub(crate) struct Conflict {
    /// The index of the rule.
    pub(super) rule: usize,
    pub(super) message: String,
}

impl Routes {
    /// Routers over all rules. A rule in conflict is left out, and reported once.
    pub(crate) fn new(rules: &[HttpRule]) -> (Self, Vec<Conflict>) {
        let mut routes = Self::default();
        let mut conflicts = duplicates(rules);
        let mut bad: HashSet<usize> = conflicts.iter().map(|conflict| conflict.rule).collect();
        let mut insert = |router: &mut Router<usize>, method: Option<&str>| {
            for index in covering(rules, method) {
                if bad.contains(&index) {
                    continue;
                }
                if let Err(error) = router.insert(rules[index].path.as_str(), index) {
                    bad.insert(index);
                    conflicts.push(Conflict { rule: index, message: describe(&error) });
                }
            }
        };
        insert(&mut routes.other, None);
        for method in named_methods(rules) {
            let mut router = Router::new();
            insert(&mut router, Some(method));
            routes.named.push((method.to_owned(), router));
        }
        (routes, conflicts)
    }

    /// The index of the most specific rule for a request; `path` is the path of the URI as it was sent.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<usize> {
        let named = self.named.iter().find(|(name, _)| name == method);
        let router = named.map_or(&self.other, |(_, router)| router);
        router.at(path).ok().map(|found| *found.value)
    }
}

/// What is wrong with one pattern by itself.
pub(super) fn check_pattern(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("must start with /".to_owned());
    }
    if let Some(segment) = path.split('/').find(|segment| segment.starts_with([':', '*'])) {
        let name = if segment.len() > 1 { &segment[1..] } else { "rest" };
        let now = if segment.starts_with(':') { format!("{{{name}}}") } else { format!("{{*{name}}}") };
        return Err(format!("a parameter is written {now}, not {segment}"));
    }
    Router::new().insert(path, ()).map_err(|error| describe(&error))
}

fn describe(error: &InsertError) -> String {
    match error {
        InsertError::Conflict { with } => format!("matches the same requests as the rule for {with}"),
        other => format!("no valid pattern: {}", other.to_string().trim_end_matches('.').to_lowercase()),
    }
}

/// Every method that needs a router of its own. `OPTIONS` always does: rules are silent on it unless asked.
fn named_methods(rules: &[HttpRule]) -> Vec<&str> {
    let mut methods = vec!["OPTIONS"];
    for method in rules.iter().flat_map(|rule| &rule.methods) {
        let implied = (method == "GET").then_some("HEAD");
        for method in [Some(method.as_str()), implied].into_iter().flatten() {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}

/// The rules that cover a method (`None`: one that no rule names), in their order; for each path the one that names the
/// method best.
fn covering(rules: &[HttpRule], method: Option<&str>) -> Vec<usize> {
    let mut best: HashMap<&str, (u8, usize)> = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let Some(rank) = rank(rule, method) else { continue };
        let entry = best.entry(rule.path.as_str()).or_insert((rank, index));
        if rank > entry.0 {
            *entry = (rank, index);
        }
    }
    let mut indices: Vec<usize> = best.into_values().map(|(_, index)| index).collect();
    indices.sort_unstable();
    indices
}

/// How well a rule names a method; `None` if it does not cover it.
fn rank(rule: &HttpRule, method: Option<&str>) -> Option<u8> {
    let names = |method: &str| rule.methods.iter().any(|name| name == method);
    match method {
        Some(method) if names(method) => Some(3),
        Some("OPTIONS") => rule.options.then_some(if rule.methods.is_empty() { 2 } else { 1 }),
        Some("HEAD") if names("GET") => Some(2),
        _ => rule.methods.is_empty().then_some(1),
    }
}

/// Rules that repeat path and method of an earlier one.
fn duplicates(rules: &[HttpRule]) -> Vec<Conflict> {
    const ALL: &str = "";
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    let mut conflicts = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let all = rule.methods.is_empty().then_some(ALL);
        let methods = rule.methods.iter().map(String::as_str).chain(all);
        let repeated: Vec<&str> = methods.filter(|method| !seen.insert((rule.path.as_str(), method))).collect();
        if let Some(method) = repeated.first() {
            let what = if *method == ALL { "all methods" } else { method };
            let message = format!("{what} of {} already has a rule", rule.path);
            conflicts.push(Conflict { rule: index, message });
        }
    }
    conflicts
}
