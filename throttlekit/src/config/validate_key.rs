//! Whether the key of a rule makes sense.

use super::http::HttpRule;
use super::key::{ApiKeySource, ApiKeySpec, ClientIpSpec, KeySource, TrustProxy};
use super::node::quoted;
use super::validate::{Findings, is_token};
use crate::error::BuildError;
use crate::identity::{ClientIp, KeyHasher, MIN_SECRET};

/// Takes a problem: its path and what is wrong.
type Report<'r> = &'r mut dyn FnMut(String, String);

/// How many parts a key may have.
const MAX_PARTS: usize = 8;

/// What is wrong with a source by itself.
pub(super) fn key(source: &KeySource, path: &str, report: Report<'_>) {
    match source {
        KeySource::Peer | KeySource::ClientIp => {}
        KeySource::Header(name) => header(name, format!("{path}.header"), report),
        KeySource::Cookie(name) => cookie(name, format!("{path}.cookie"), report),
        KeySource::Query(name) => not_empty(name, format!("{path}.query"), report),
        KeySource::PathParam(name) => not_empty(name, format!("{path}.pathParam"), report),
        KeySource::Claim(name) => not_empty(name, format!("{path}.claim"), report),
        KeySource::Constant(text) => not_empty(text, format!("{path}.constant"), report),
        KeySource::ApiKey(spec) => api_key(spec, &format!("{path}.apiKey"), report),
        KeySource::All(parts) => {
            let path = format!("{path}.all");
            if !(2..=MAX_PARTS).contains(&parts.len()) {
                report(path.clone(), format!("must be a list of 2 to {MAX_PARTS} keys (found {})", parts.len()));
            }
            for (index, part) in parts.iter().enumerate() {
                let path = format!("{path}[{index}]");
                if matches!(part, KeySource::All(_)) {
                    report(path, "a key of several parts cannot be part of another".to_owned());
                    continue;
                }
                if parts[..index].contains(part) {
                    report(path.clone(), "is given twice".to_owned());
                }
                key(part, &path, report);
            }
        }
    }
}

/// What is wrong with the names and secrets of an API key. No message shows a text of it.
fn api_key(spec: &ApiKeySpec, path: &str, report: Report<'_>) {
    let legal = match &spec.from {
        ApiKeySource::Header(name) if !is_field_name(name) => Some(("header", NO_HEADER)),
        ApiKeySource::Cookie(name) if !is_token(name) => Some(("cookie", NO_COOKIE)),
        ApiKeySource::Query(name) if name.is_empty() => Some(("query", EMPTY)),
        ApiKeySource::Bearer | ApiKeySource::Header(_) | ApiKeySource::Cookie(_) | ApiKeySource::Query(_) => None,
    };
    if let Some((field, message)) = legal {
        report(format!("{path}.{field}"), message.to_owned());
    }
    let current = (path.to_owned(), &spec.key_id, &spec.secret);
    let previous = spec.previous.iter().enumerate();
    let previous = previous.map(|(index, (id, secret))| (format!("{path}.previous[{index}]"), id, secret));
    let mut ids: Vec<&str> = Vec::new();
    for (path, id, secret) in std::iter::once(current).chain(previous) {
        let bytes = secret.expose().len();
        if bytes < MIN_SECRET {
            report(format!("{path}.secret"), format!("must have at least {MIN_SECRET} bytes (found {bytes})"));
        }
        if let Err(error) = KeyHasher::builder(id.as_str(), "").allow_short_secrets(true).build() {
            // What stands there may be a secret in the wrong place.
            report(format!("{path}.keyId"), error.allowed().to_owned());
        } else if ids.contains(&id.as_str()) {
            report(format!("{path}.keyId"), "must not be given twice".to_owned());
        }
        ids.push(id);
    }
}

/// What is wrong with how the address of a client is found.
pub(super) fn client_ip(spec: &ClientIpSpec, path: &str, report: Report<'_>) {
    if let TrustProxy::Networks(networks) = &spec.trust_proxy {
        for (index, network) in networks.iter().enumerate() {
            if let Err(error) = ClientIp::builder().trust_proxies([network]).build() {
                report(format!("{path}.trustProxy[{index}]"), found(&error));
            }
        }
    }
    let trust_proxy = match &spec.trust_proxy {
        TrustProxy::Networks(_) => TrustProxy::Networks(Vec::new()),
        other => other.clone(),
    };
    if let Err(error) = (ClientIpSpec { trust_proxy, ..spec.clone() }).build() {
        let option = error.option().rsplit('.').next().unwrap_or_default();
        report(format!("{path}.{option}"), found(&error));
    }
}

fn found(error: &BuildError) -> String {
    match error.value() {
        Some(value) => format!("{} (found {value})", error.allowed()),
        None => error.allowed().to_owned(),
    }
}

/// What is wrong with the key of a rule beside its path; and with the key itself if no text was read, which has said so.
pub(super) fn rule(rule: &HttpRule, path: &str, findings: &mut Findings<'_>) {
    let key_path = format!("{path}.key");
    if findings.made_in_code() {
        let mut add = |at: String, message: String| findings.add(&[at, path.to_owned()], message);
        key(&rule.key, &key_path, &mut add);
        client_ip(&rule.client_ip, &format!("{path}.clientIp"), &mut add);
    }
    let parts: Vec<(String, &KeySource)> = match &rule.key {
        KeySource::All(parts) => {
            parts.iter().enumerate().map(|(index, part)| (format!("{key_path}.all[{index}]"), part)).collect()
        }
        one => vec![(key_path.clone(), one)],
    };
    let names = path_params(&rule.path);
    for (part_path, part) in parts {
        let KeySource::PathParam(name) = part else { continue };
        if !name.is_empty() && !names.contains(&name.as_str()) {
            let nearest = super::fields::suggestion(name, names.iter().copied());
            let message = format!("the path {} has no parameter {}, {nearest}", quoted(&rule.path), quoted(name));
            findings.add(&[format!("{part_path}.pathParam"), path.to_owned()], message);
        }
    }
}

/// The names of the parameters in a pattern: `{name}` and `{*name}`; doubled braces are text.
pub(super) fn path_params(pattern: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = pattern;
    while let Some((_, after)) = rest.split_once('{') {
        rest = if let Some(text) = after.strip_prefix('{') {
            text
        } else {
            let Some((name, after)) = after.split_once('}') else { break };
            names.push(name.trim_start_matches('*'));
            after
        };
    }
    names
}

const EMPTY: &str = "must not be empty";
pub(super) const NO_HEADER: &str = "must be the name of a header field in lower case";
const NO_COOKIE: &str = "must be the name of a cookie";

fn header(name: &str, path: String, report: Report<'_>) {
    if !is_field_name(name) {
        report(path, format!("{} is not the name of a header field in lower case", quoted(name)));
    }
}

pub(super) fn is_field_name(name: &str) -> bool {
    is_token(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn cookie(name: &str, path: String, report: Report<'_>) {
    if !is_token(name) {
        report(path, format!("{} is not the name of a cookie", quoted(name)));
    }
}

fn not_empty(text: &str, path: String, report: Report<'_>) {
    if text.is_empty() {
        report(path, EMPTY.to_owned());
    }
}
