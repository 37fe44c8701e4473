//! From nodes to the key of a rule.
//!
//! What is in an `apiKey` may be secret, so no message shows a text of it.

use super::decode::section;
use super::decode_store::{Env, plain, secret};
use super::error::Position;
use super::fields::{Context, Converted, Fields, Leftover, boolean, is_within, one_of, text, whole};
use super::key::{ApiKeySource, ApiKeySpec, ClientIpSpec, KeySource, TrustProxy};
use super::node::{Entry, Node, Value, hide_values, number_text};
use super::secret::Secret;
use super::validate_key;

/// A name, and the source that it makes.
type Named = (&'static str, fn(String) -> KeySource);

/// Sources that are one name.
const NAMED: [Named; 6] = [
    ("header", |name| KeySource::Header(name.to_ascii_lowercase())),
    ("query", KeySource::Query),
    ("cookie", KeySource::Cookie),
    ("pathParam", KeySource::PathParam),
    ("claim", KeySource::Claim),
    ("constant", KeySource::Constant),
];

/// Makes the texts of every `apiKey` below `http` ones that no message may show, those of a `secret` that was put
/// elsewhere by mistake, and the keys of clients.
pub(super) fn hide(root: &mut Node) {
    if let Value::Map(entries) = &mut root.value {
        entries.iter_mut().filter(|entry| entry.key == "http").for_each(|entry| hide_secrets(&mut entry.node));
    }
}

fn hide_secrets(node: &mut Node) {
    match &mut node.value {
        Value::Map(entries) => {
            hide_values(entries, |entry| match (entry.key.to_ascii_lowercase().as_str(), &entry.node.value) {
                ("apikey" | "api_key" | "api-key" | "secret" | "previous", _) => true,
                ("keys", value) => !matches!(value, Value::Map(_)),
                _ => false,
            });
            for Entry { key, node, .. } in entries {
                match &mut node.value {
                    // Plans may be called anything.
                    Value::Map(plans) if key.eq_ignore_ascii_case("table") => {
                        for plan in plans {
                            hide_secrets(&mut plan.node);
                        }
                    }
                    _ => hide_secrets(node),
                }
            }
        }
        Value::List(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

/// The `key` of a rule or of the defaults; `None` if it is absent or wrong.
pub(super) fn key_source(fields: &mut Fields<'_>, cx: &mut Context, env: Env<'_>) -> Option<KeySource> {
    let Entry { key_at, node, .. } = fields.take("key")?;
    let path = fields.path_of("key");
    let unread = cx.unread.len();
    let source = source(node, &path, *key_at, cx, env)?;
    let read = cx.unread.len() == unread;
    report(cx, *key_at, unread, |problem| validate_key::key(&source, &path, problem));
    read.then_some(source)
}

/// Problems with what was read, where the values are, or else at `at`. What could not be read of it is behind the first
/// `unread` of all.
fn report(cx: &mut Context, at: Position, unread: usize, check: impl FnOnce(&mut dyn FnMut(String, String))) {
    let mut found = Vec::new();
    check(&mut |path, message| found.push((path, message)));
    for (path, message) in found {
        // What could not be read is not judged.
        if cx.unread[unread..].iter().any(|unread| is_within(&path, unread)) {
            continue;
        }
        let at = cx.positions.get(&path).copied().unwrap_or(at);
        cx.problem(path, at, message);
    }
}

fn source(node: &Node, path: &str, key_at: Position, cx: &mut Context, env: Env<'_>) -> Option<KeySource> {
    const WORDS: [(&str, bool); 2] = [("peer", false), ("clientIp", true)];
    match &node.value {
        Value::Map(_) => map(node, path, key_at, cx, env),
        Value::Text(_) => match one_of("key", &WORDS)(&node.value) {
            Ok(true) => Some(KeySource::ClientIp),
            Ok(false) => Some(KeySource::Peer),
            Err(message) => {
                cx.problem(path, node.at, format!("{message}; other sources are maps, such as {{ header: NAME }}"));
                None
            }
        },
        other => {
            let message = format!("expected peer, clientIp or a map such as {{ header: NAME }}, found {other}");
            cx.problem(path, node.at, message);
            None
        }
    }
}

/// A map with one source.
fn map(node: &Node, path: &str, key_at: Position, cx: &mut Context, env: Env<'_>) -> Option<KeySource> {
    const ONE: &str = "give one of header, query, cookie, pathParam, claim, constant, apiKey and all";
    let problems = cx.problems.len();
    let mut fields = Fields::new(cx, path, key_at, node)?;
    let mut sources = Vec::new();
    for (name, make) in NAMED {
        sources.extend(fields.optional(cx, name, text).map(|text| make(text.to_owned())));
    }
    if let Some(fields) = section(&mut fields, cx, "apiKey") {
        sources.push(KeySource::ApiKey(api_key(fields, cx, env)));
    }
    sources.extend(all(&mut fields, cx, env).map(KeySource::All));
    fields.finish(cx, |_| Leftover::Unknown);
    if sources.len() > 1 || (sources.is_empty() && cx.problems.len() == problems) {
        let several = if sources.is_empty() { "" } else { ", not several; a list in all takes them together" };
        cx.problem(path, key_at, format!("{ONE}{several}"));
        return None;
    }
    sources.pop()
}

/// The parts of a key that is made of several.
fn all(fields: &mut Fields<'_>, cx: &mut Context, env: Env<'_>) -> Option<Vec<KeySource>> {
    let Entry { node, .. } = fields.take("all")?;
    let path = fields.path_of("all");
    let Value::List(items) = &node.value else {
        cx.problem(path, node.at, format!("expected a list of keys, found {}", node.value));
        return None;
    };
    let unread = cx.unread.len();
    let read = |(index, item): (usize, &Node)| {
        let path = format!("{path}[{index}]");
        cx.positions.insert(path.clone(), item.at);
        source(item, &path, item.at, cx, env)
    };
    let sources: Vec<Option<KeySource>> = items.iter().enumerate().map(read).collect();
    if sources.iter().any(Option::is_none) {
        // The whole is not judged, so those of its parts are that could be read.
        for (index, source) in sources.iter().enumerate() {
            let Some(source) = source else { continue };
            let path = format!("{path}[{index}]");
            report(cx, items[index].at, unread, |problem| validate_key::key(source, &path, problem));
        }
    }
    sources.into_iter().collect()
}

/// What is missing or wrong is reported, and has some value.
fn api_key(mut fields: Fields<'_>, cx: &mut Context, env: Env<'_>) -> ApiKeySpec {
    const ONE: &str = "give one of bearer, header, query and cookie";
    let problems = cx.problems.len();
    let mut from = Vec::new();
    if let Some(bearer) = fields.optional(cx, "bearer", boolean) {
        from.extend(bearer.then_some(ApiKeySource::Bearer));
    }
    let header = fields.optional(cx, "header", plain(env));
    from.extend(header.map(|name| ApiKeySource::Header(name.to_ascii_lowercase())));
    from.extend(fields.optional(cx, "query", plain(env)).map(ApiKeySource::Query));
    from.extend(fields.optional(cx, "cookie", plain(env)).map(ApiKeySource::Cookie));
    match from.as_slice() {
        [_] => {}
        [] if cx.problems.len() > problems => {}
        [] => fields.problem(cx, "bearer", ONE),
        [..] => fields.problem(cx, "bearer", format!("{ONE}, not several")),
    }
    let (key_id, secret) = named_secret(&mut fields, cx, env);
    let truncated = fields.optional(cx, "truncated", boolean).unwrap_or_default();
    let previous = previous(&mut fields, cx, env);
    fields.finish(cx, |_| Leftover::Unknown);
    ApiKeySpec { from: from.pop().unwrap_or(ApiKeySource::Bearer), key_id, secret, previous, truncated }
}

fn named_secret(fields: &mut Fields<'_>, cx: &mut Context, env: Env<'_>) -> (String, Secret) {
    let key_id = fields.required(cx, "keyId", plain(env)).unwrap_or_default();
    (key_id, fields.required(cx, "secret", secret(env)).unwrap_or_else(|| Secret::new("")))
}

fn previous(fields: &mut Fields<'_>, cx: &mut Context, env: Env<'_>) -> Vec<(String, Secret)> {
    let Some(Entry { node, .. }) = fields.take("previous") else { return Vec::new() };
    let path = fields.path_of("previous");
    let Value::List(items) = &node.value else {
        cx.problem(path, node.at, format!("expected a list of maps with keyId and secret, found {}", node.value));
        return Vec::new();
    };
    let mut previous = Vec::new();
    for (index, item) in items.iter().enumerate() {
        // One that is no map keeps its place, so that the others keep their numbers.
        previous.push(match Fields::new(cx, &format!("{path}[{index}]"), item.at, item) {
            Some(mut fields) => {
                let secret = named_secret(&mut fields, cx, env);
                fields.finish(cx, |_| Leftover::Unknown);
                secret
            }
            None => (String::new(), Secret::new("")),
        });
    }
    previous
}

/// The `clientIp` of a rule or of the defaults; `None` if it is absent.
pub(super) fn client_ip(fields: &mut Fields<'_>, cx: &mut Context) -> Option<ClientIpSpec> {
    fields.know("clientIp");
    let at = fields.peek("clientIp")?.key_at;
    let path = fields.path_of("clientIp");
    let unread = cx.unread.len();
    let mut fields = section(fields, cx, "clientIp")?;
    let mut spec = ClientIpSpec::default();
    if let Some(trust) = trust_proxy(&mut fields, cx) {
        spec.trust_proxy = trust;
    }
    spec.header = fields.optional(cx, "header", text).map(str::to_ascii_lowercase);
    if let Some(bits) = fields.optional(cx, "ipv6Prefix", whole(0, 128)) {
        spec.ipv6_prefix = bits;
    }
    spec.lenient = fields.optional(cx, "lenient", boolean).unwrap_or_default();
    spec.unwrap_nat64 = fields.optional(cx, "unwrapNat64", boolean).unwrap_or_default();
    spec.peer_hidden = fields.optional(cx, "peerHidden", boolean).unwrap_or_default();
    let problems = cx.problems.len();
    fields.finish(cx, |_| Leftover::Unknown);
    // A misspelt trustProxy is why a header would not be read.
    if cx.problems.len() == problems || spec.trust_proxy != TrustProxy::Nobody {
        report(cx, at, unread, |problem| validate_key::client_ip(&spec, &path, problem));
    }
    Some(spec)
}

/// Who is believed: nobody, a number of proxies, or networks.
fn trust_proxy(fields: &mut Fields<'_>, cx: &mut Context) -> Option<TrustProxy> {
    if fields.peek("trustProxy").is_some_and(|entry| matches!(entry.node.value, Value::List(_))) {
        return fields.texts(cx, "trustProxy").map(TrustProxy::Networks);
    }
    fields.optional(cx, "trustProxy", nobody_or_hops)
}

fn nobody_or_hops(value: &Value) -> Converted<TrustProxy> {
    const FORMS: &str = "false, a number of proxies, or a list of addresses and networks such as 10.0.0.0/8";
    match value {
        Value::Bool(false) => Ok(TrustProxy::Nobody),
        Value::Bool(true) => Err(format!("cannot be true, since anybody could then choose his key: give {FORMS}")),
        Value::Number(number) => {
            let hops = whole(0, u32::MAX)(value);
            hops.map(TrustProxy::Hops).map_err(|_| format!("expected {FORMS}, found {}", number_text(*number)))
        }
        other => Err(format!("expected {FORMS}, found {other}")),
    }
}
