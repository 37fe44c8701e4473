//! Whether a [`Config`] makes sense, wherever it comes from.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::concurrency::ConcurrencySpec;
use super::error::{Position, Problem};
use super::fields::suggestion;
use super::http::HttpRule;
use super::limiter_path;
use super::node::{number_text, quoted, shown_name};
use super::routes::{self, Routes};
use super::spec::{Config, LimiterSpec};
use super::strategy::{build_strategy, refusals};
use super::{validate_blocks, validate_key, validate_plans, validate_store};
use crate::decision::MAX_SAFE;
use crate::error::BuildError;
use crate::fallback::FailMode;
use crate::headers::MAX_STRUCTURED;
use crate::permit::Outcome;
use crate::store::memory::TableBuilder;

/// The methods that a misspelt one is compared with.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

/// How long the name of a policy may be, in bytes. It travels in header fields and metrics.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// Collects what is wrong, with positions where the text is known.
pub(super) struct Findings<'a> {
    positions: &'a HashMap<String, Position>,
    /// The paths of what could not be read, which was reported.
    unread: BTreeSet<&'a str>,
    problems: Vec<Problem>,
    /// The same. A file may have as many as it has bytes, so they are not gone through for each.
    known: HashSet<Problem>,
}

impl Findings<'_> {
    /// Whether there is a value at `path`, as far as that can be said.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.positions.is_empty() || self.positions.contains_key(path)
    }

    /// Whether there is no text.
    pub(super) fn made_in_code(&self) -> bool {
        self.positions.is_empty()
    }

    /// Whether the value at `path`, or something within it, could not be read.
    pub(super) fn is_unread(&self, path: &str) -> bool {
        let below = |mark: char| {
            let start = format!("{path}{mark}");
            self.unread.range(start.as_str()..).next().is_some_and(|unread| unread.starts_with(&start))
        };
        self.unread.contains(path) || below('.') || below('[')
    }

    /// A problem with the value at the first of `paths` that is in the text. The last of them is the map around it.
    pub(super) fn add(&mut self, paths: &[String], message: impl Into<String>) {
        let Some((around, exact)) = paths.split_last() else { return };
        if exact.iter().any(|path| self.is_unread(path)) || self.unread.contains(around.as_str()) {
            return;
        }
        let found = paths.iter().find_map(|path| Some((path, *self.positions.get(path)?)));
        let path = found.map(|(path, _)| path).filter(|path| *path != around).or(exact.first()).unwrap_or(around);
        let position = found.map(|(_, position)| position);
        let problem = Problem { path: path.clone(), position, message: message.into() };
        // What is out of range by itself was reported where it was read, and what the defaults say is looked at with each rule.
        if self.known.insert(problem.clone()) {
            self.problems.push(problem);
        }
    }
}

/// Everything that is wrong, in no particular order: the `problems` with what is `unread`, and those with the rest. `broken` are
/// names of limiters that exist in the text but could not be read.
pub(super) fn validate(
    config: &Config,
    broken: &[String],
    positions: &HashMap<String, Position>,
    unread: &[String],
    problems: Vec<Problem>,
) -> Vec<Problem> {
    let unread = unread.iter().map(String::as_str).collect();
    let known = problems.iter().cloned().collect();
    let mut findings = Findings { positions, unread, problems, known };
    validate_store::store(&config.store, &mut findings);
    limiters(config, &mut findings);
    prefixes(config, &mut findings);
    let names = config.limiters.iter().map(|limiter| limiter.name.as_str());
    let names: Vec<&str> = names.chain(broken.iter().map(String::as_str)).collect();
    for (index, rule) in config.http.rules.iter().enumerate() {
        let path = format!("config.http.rules[{index}]");
        http_rule(rule, &path, &mut findings);
        applied(rule, &path, config, &names, &mut findings);
        validate_plans::rule(rule, &path, config, &names, &mut findings);
    }
    let (_, conflicts) = Routes::new(&config.http.rules);
    for conflict in conflicts {
        let path = format!("config.http.rules[{}]", conflict.rule);
        // A pattern that is wrong by itself has been reported.
        if routes::check_pattern(&config.http.rules[conflict.rule].path).is_ok() {
            findings.add(&[format!("{path}.path"), path], conflict.message);
        }
    }
    findings.problems
}

fn limiters(config: &Config, findings: &mut Findings<'_>) {
    for (index, limiter) in config.limiters.iter().enumerate() {
        let path = limiter_path(&limiter.name);
        if limiter.name.is_empty() {
            findings.add(std::slice::from_ref(&path), "the name must not be empty");
        }
        if limiter.name.len() > MAX_NAME_BYTES {
            findings.add(std::slice::from_ref(&path), format!("the name must have at most {MAX_NAME_BYTES} bytes"));
        }
        if limiter.name.chars().any(char::is_control) {
            findings.add(std::slice::from_ref(&path), "the name must not contain control characters");
        }
        if config.limiters[..index].iter().any(|earlier| earlier.name == limiter.name) {
            findings.add(std::slice::from_ref(&path), "there is another limiter of this name");
        }
        if !(1..=TableBuilder::MAX_KEYS).contains(&(limiter.max_keys as u64)) {
            let allowed = format!("must be a whole number from 1 to {}", TableBuilder::MAX_KEYS);
            findings.add(&[format!("{path}.maxKeys"), path.clone()], format!("{allowed} (found {})", limiter.max_keys));
        }
        for (field, number) in [("quota", limiter.advertise.quota), ("windowSeconds", limiter.advertise.window_seconds)]
        {
            if let Some(number) = number.filter(|number| !(1..=MAX_STRUCTURED).contains(number)) {
                let at = [format!("{path}.advertise.{field}"), path.clone()];
                findings.add(&at, format!("must be a whole number from 1 to {MAX_STRUCTURED} (found {number})"));
            }
        }
        let refusals = match &limiter.strategy {
            Some(strategy) if findings.made_in_code() => refusals(strategy),
            // Of a text each number was judged where it was read.
            Some(strategy) => build_strategy(strategy).err().into_iter().collect(),
            None => Vec::new(),
        };
        for error in &refusals {
            refused(error, &path, findings);
        }
        if refusals.is_empty() {
            share(limiter, limiter.fail_mode, &path, findings);
        }
        if let Some(Err(error)) = limiter.concurrency.as_ref().map(ConcurrencySpec::check) {
            refused_guard(&error, &path, findings);
        }
        validate_blocks::kind(limiter, &path, findings);
        validate_blocks::place(limiter, config, &path, findings);
        validate_blocks::deny_list(limiter, &path, findings);
    }
}

/// What the builder of a guard refuses, at the field that it is about.
fn refused_guard(error: &BuildError, limiter: &str, findings: &mut Findings<'_>) {
    let option = error.option().split_once('.').map_or(error.option(), |(_, option)| option);
    let block = format!("{limiter}.concurrency");
    let mut paths = vec![format!("{block}.{option}")];
    // What was left out follows from the least limit.
    let given = findings.positions.is_empty() || paths.iter().any(|path| findings.positions.contains_key(path));
    let subject = if given { String::new() } else { format!("{option} ") };
    paths.extend([format!("{block}.minLimit"), block, limiter.to_owned()]);
    let found = error.value().map_or_else(String::new, |value| {
        let shown = value.parse().map_or_else(|_| value.to_owned(), number_text);
        format!(" (found {shown})")
    });
    findings.add(&paths, format!("{subject}{}{found}", error.allowed()));
}

/// A share of a limit must be a limit too.
fn share(limiter: &LimiterSpec, mode: FailMode, path: &str, findings: &mut Findings<'_>) {
    let (FailMode::Local(share), Some(strategy)) = (mode, &limiter.strategy) else { return };
    // A limiter that is wrong by itself has been reported.
    if build_strategy(strategy).is_err() {
        return;
    }
    if let Err(error) = build_strategy(&strategy.scaled(share)) {
        let at = ["failMode.local.share", "failMode"].map(|field| format!("{path}.{field}"));
        let message = format!("a share of {share} of limiter {} is refused: {error}", quoted(&limiter.name));
        findings.add(&[&at[..], &[path.to_owned()]].concat(), message);
    }
}

/// What a strategy's builder refuses, at the field that it is about.
fn refused(error: &BuildError, limiter: &str, findings: &mut Findings<'_>) {
    let option = error.option().rsplit('.').next().unwrap_or_default();
    // A span of time has several names in a file.
    let names: &[&str] =
        if matches!(option, "periodMs" | "windowMs") { &["period", "periodMs", "windowMs"] } else { &[option] };
    let mut paths: Vec<String> = names.iter().map(|name| format!("{limiter}.{name}")).collect();
    let given = findings.positions.is_empty() || paths.iter().any(|path| findings.positions.contains_key(path));
    // Only a burst may be left out and still be wrong.
    let origin = if given { String::new() } else { format!(" as the {option}, which is the limit unless given") };
    paths.extend([format!("{limiter}.limit"), limiter.to_owned()]);
    let allowed = error.allowed();
    let message = match error.value() {
        Some(value) => {
            let shown = value.parse().map_or_else(|_| value.to_owned(), number_text);
            format!("{allowed} (found {shown}{origin})")
        }
        None => allowed.to_owned(),
    };
    findings.add(&paths, message);
}

/// Two limiters must not be able to meet on a stored key: `tk` with the key `api:x` is `tk:api` with the key `x`.
fn prefixes(config: &Config, findings: &mut Findings<'_>) {
    let clean = |prefix: &str, at: &[String], findings: &mut Findings<'_>| {
        if prefix.chars().any(char::is_control) {
            findings.add(at, format!("the prefix must not contain control characters (found {})", quoted(prefix)));
        }
    };
    if let Some(prefix) = &config.default_prefix {
        clean(prefix, &["config.defaults.prefix".to_owned(), "config.defaults".to_owned()], findings);
    }
    if config.shared_default_prefix && config.default_prefix.is_none() && !findings.is_unread("config.defaults") {
        let at = ["config.compat.sharedDefaultsPrefix".to_owned(), "config.compat".to_owned()];
        findings.add(&at, "must be false without `defaults.prefix`, which limiters would share (found true)");
    }
    // Slots are kept nowhere.
    let stored = config.limiters.iter().filter(|limiter| limiter.is_stored());
    let stored: Vec<_> = stored.map(|limiter| (limiter, config.effective_prefix(limiter))).collect();
    for (index, (limiter, prefix)) in stored.iter().enumerate() {
        let path = limiter_path(&limiter.name);
        let at = [format!("{path}.prefix"), format!("{path}.fleetBudget.prefix"), path];
        // What else it is made of, the default and the name, is looked at by itself.
        if let Some(own) = &limiter.prefix {
            clean(own, &at, findings);
        }
        for (earlier, other) in &stored[..index] {
            // Names that are empty or given twice have been reported.
            let misnamed = earlier.name == limiter.name || earlier.name.is_empty() || limiter.name.is_empty();
            let shared = config.shares_prefix(earlier) && config.shares_prefix(limiter);
            if misnamed || (shared && !prefix.is_empty()) {
                continue;
            }
            if extends(prefix, other) || extends(other, prefix) {
                let message = format!(
                    "the prefix {} of the stored keys collides with {} of limiter {}: one must not equal the other or \
                     continue it with a colon, and an empty one must be alone",
                    quoted(prefix),
                    quoted(other),
                    quoted(&earlier.name),
                );
                findings.add(&at, message);
                break;
            }
        }
    }
}

/// Whether keys below `prefix` can be keys below `shorter` as well.
fn extends(prefix: &str, shorter: &str) -> bool {
    match prefix.strip_prefix(shorter) {
        Some(rest) => shorter.is_empty() || rest.is_empty() || rest.starts_with(':'),
        None => false,
    }
}

fn http_rule(rule: &HttpRule, path: &str, findings: &mut Findings<'_>) {
    let at = |field: &str| [format!("{path}.{field}"), path.to_owned()];
    if let Err(message) = routes::check_pattern(&rule.path) {
        findings.add(&at("path"), format!("{message} (found {})", quoted(&rule.path)));
    }
    for (index, method) in rule.methods.iter().enumerate() {
        if let Err(message) = check_method(method) {
            findings.add(&[format!("{path}.methods[{index}]"), path.to_owned()], message);
        }
        if rule.methods[..index].contains(method) {
            findings.add(&[format!("{path}.methods[{index}]"), path.to_owned()], format!("{method} is given twice"));
        }
    }
    validate_key::rule(rule, path, findings);
    if rule.on_disconnect == Outcome::Completed {
        findings.add(&at("onDisconnect"), "must be dropped or ignored (found completed)");
    }
}

/// Whether the policies that a rule or one of its plans names can be applied together, at its cost. What the rule says is
/// at `path`.
pub(super) fn applied(rule: &HttpRule, path: &str, config: &Config, names: &[&str], findings: &mut Findings<'_>) {
    if rule.policies.is_empty() {
        let at = [format!("{path}.policies"), format!("{path}.policy"), path.to_owned()];
        findings.add(&at, "at least one policy is required");
    }
    let mut earlier = HashSet::new();
    for (index, name) in rule.policies.iter().enumerate() {
        let at = [format!("{path}.policies[{index}]"), format!("{path}.policy"), path.to_owned()];
        if !names.contains(&name.as_str()) {
            let nearest = suggestion(name, names.iter().copied());
            findings.add(&at, format!("there is no limiter {}, {nearest}", quoted(name)));
        } else if !earlier.insert(name) {
            findings.add(&at, format!("{} is given twice", quoted(name)));
        }
    }
    if let Some(message) = wrong_cost(rule.cost) {
        findings.add(&[format!("{path}.cost"), path.to_owned()], message);
    }
    for (index, (name, units)) in rule.costs.iter().enumerate() {
        let at = [format!("{path}.costs.{}", shown_name(name)), path.to_owned()];
        if !rule.policies.contains(name) {
            let nearest = suggestion(name, rule.policies.iter().map(String::as_str));
            findings.add(&at, format!("there is no policy {} here, {nearest}", quoted(name)));
        } else if rule.costs[..index].iter().any(|(earlier, _)| earlier == name) {
            findings.add(&at, format!("{} is given twice", quoted(name)));
        } else if config.limiters.iter().any(|limiter| limiter.name == *name && !limiter.limits_units()) {
            findings.add(&at, format!("not used: {} limits no units", quoted(name)));
        }
        if let Some(message) = wrong_cost(*units) {
            findings.add(&at, message);
        }
    }
    validate_blocks::rule(rule, path, config, findings);
    let named = config.limiters.iter().filter(|limiter| rule.policies.contains(&limiter.name));
    // A limiter that is wrong by itself has been reported.
    for limiter in named {
        share(limiter, rule.fail_mode.unwrap_or_default(), path, findings);
    }
}

fn wrong_cost(units: f64) -> Option<String> {
    #[allow(clippy::cast_precision_loss)] // 2^53 - 1 is exact
    let most = MAX_SAFE as f64;
    let wrong = !(units > 0.0 && units <= most);
    wrong.then(|| format!("must be a number above 0 and at most {MAX_SAFE} (found {})", number_text(units)))
}

fn check_method(method: &str) -> Result<(), String> {
    if METHODS.contains(&method) {
        return Ok(());
    }
    let upper = method.to_ascii_uppercase();
    if METHODS.contains(&upper.as_str()) || METHODS.iter().any(|known| strsim::osa_distance(known, &upper) == 1) {
        return Err(format!("unknown method {}, {}", quoted(method), suggestion(method, METHODS.into_iter())));
    }
    if !is_token(method) || method.chars().any(|c| c.is_ascii_lowercase()) {
        return Err(format!("{} is not the name of a method in upper case", quoted(method)));
    }
    Ok(())
}

/// A token of HTTP: the characters of which names of methods and header fields consist.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
