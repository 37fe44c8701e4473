//! Which rule of the `http` section a request falls under.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use matchit::{InsertError, Router};

use super::http::HttpRule;
use super::validate_key::path_params;

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
                if let Err(error) = router.insert(Spelling::Pattern.of(&rules[index].path), index) {
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

    /// The index of the most specific rule for a request; `path` is the path of the URI as it was sent. However its letters
    /// are written, the rule is the same.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<usize> {
        let named = self.named.iter().find(|(name, _)| name == method);
        let router = named.map_or(&self.other, |(_, router)| router);
        router.at(&Spelling::Path.of(path)).ok().map(|found| *found.value)
    }
}

/// The one spelling in which patterns and paths are compared.
///
/// A path can be written in many ways, since any of its letters may be percent-encoded, and some servers decode it before they
/// look for a handler. Compared as it was sent, a client could choose a spelling that no rule knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Path,
    /// Where a brace that stands for itself is doubled.
    Pattern,
}

impl Spelling {
    /// `text` with printable ASCII as it is, but for an encoded slash or percent sign, which separate nothing and encode
    /// nothing; and all else encoded, in capitals.
    fn of(self, text: &str) -> Cow<'_, str> {
        if text.is_ascii() && !text.as_bytes().contains(&b'%') {
            return Cow::Borrowed(text);
        }
        let mut spelt = String::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let encoded = encoded(rest);
            let (octet, after) = encoded.unwrap_or((first, after));
            rest = after;
            match octet {
                b'{' | b'}' if encoded.is_some() && self == Self::Pattern => spelt.extend([char::from(octet); 2]),
                b' '..=b'~' if encoded.is_none() || !matches!(octet, b'/' | b'%') => spelt.push(char::from(octet)),
                // Writing to a `String` cannot fail.
                _ => _ = write!(spelt, "%{octet:02X}"),
            }
        }
        Cow::Owned(spelt)
    }
}

/// The octet that is percent-encoded at the start of `text`, and what follows it.
fn encoded(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, after @ ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    Some((u8::try_from(digit(high)? << 4 | digit(low)?).ok()?, after))
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
    // No request has such a path, so none would be limited.
    if path.contains(['?', '#']) || path.chars().any(char::is_control) {
        return Err("must be a path, without a query, a fragment or control characters".to_owned());
    }
    Router::new().insert(path, ()).map_err(|error| describe(&error))?;
    let names = path_params(path);
    match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        None => Ok(()),
        Some((_, name)) => Err(format!("must name each parameter once; {{{name}}} is there twice")),
    }
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
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    let mut conflicts = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let all = rule.methods.is_empty().then_some(ALL);
        let mut repeated = None;
        for method in rule.methods.iter().map(String::as_str).chain(all) {
            let first = *seen.entry((rule.path.as_str(), method)).or_insert(index);
            if first != index {
                repeated.get_or_insert((method, first));
            }
        }
        if let Some((method, first)) = repeated {
            let what = if method == ALL { "all methods" } else { method };
            let message = format!("there is a rule for {what} of {} already, config.http.rules[{first}]", rule.path);
            conflicts.push(Conflict { rule: index, message });
        }
    }
    conflicts
}
