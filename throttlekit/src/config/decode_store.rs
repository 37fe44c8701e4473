//! From nodes to the `store` block.
//!
//! What is in this block may be secret, so no message shows a text of it.

use std::time::Duration;

use super::decode::{duration, section};
use super::fields::{Context, Converted, Fields, Leftover, REQUIRED, boolean, suggestion, whole};
use super::node::{Entry, Node, Value, hide_values, quoted};
use super::secret::Secret;
use super::store::{
    DynamoDbCredentials, DynamoDbSpec, PostgresMode, PostgresSpec, RedisSpec, RedisTopology, StoreBackend, StoreSpec,
    TlsSpec,
};
use crate::duration::parse_duration_ms;

/// Looks up a variable of the environment.
pub(super) type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

const KINDS: [&str; 4] = ["memory", "redis", "postgres", "dynamodb"];
const MODES: [(&str, PostgresMode); 2] = [("shared", PostgresMode::Shared), ("fast", PostgresMode::Fast)];

/// Makes the texts of the block ones that no message may show. Wherever a secret was put by mistake, it is in there.
pub(super) fn hide(root: &mut Node) {
    if let Value::Map(entries) = &mut root.value {
        hide_values(entries, |entry| entry.key == "store" && !is_memory(&entry.node.value));
    }
}

/// Whether the block is the one word that it may be.
fn is_memory(value: &Value) -> bool {
    matches!(value, Value::Text(word) if word == "memory")
}

/// Reads the block, `memory` or a map; what is missing or wrong is reported, and gives the default.
pub(super) fn store(fields: &mut Fields<'_>, cx: &mut Context, env: Env<'_>) -> StoreSpec {
    let mut spec = StoreSpec::default();
    let Some(Entry { key_at, node, .. }) = fields.take("store") else { return spec };
    let path = fields.path_of("store");
    if !matches!(node.value, Value::Map(_)) {
        if !is_memory(&node.value) {
            let expected = "expected memory, or a map with redis, postgres or dynamodb";
            cx.problem(path, node.at, format!("{expected}, found {}", node.value));
        }
        return spec;
    }
    let Some(mut fields) = Fields::new(cx, &path, *key_at, node) else { return spec };
    let given: Vec<_> = KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
    if let [_, second, ..] = given[..] {
        fields.problem(cx, second, "give one store, not several");
    }
    let memory = section(&mut fields, cx, "memory").map(|fields| fields.finish(cx, |_| Leftover::Unknown));
    let redis = section(&mut fields, cx, "redis").map(|fields| redis(fields, cx, env));
    let postgres = section(&mut fields, cx, "postgres").map(|fields| postgres(fields, cx, env));
    let dynamodb = section(&mut fields, cx, "dynamodb").map(|fields| dynamodb(fields, cx, env));
    if let Some(timeout) = fields.optional(cx, "timeout", span) {
        spec.timeout = timeout;
    }
    if let Some(mut breaker) = section(&mut fields, cx, "breaker") {
        set(&mut spec.failures, breaker.optional(cx, "failures", whole(1, 1_000)));
        set(&mut spec.probe_interval, breaker.optional(cx, "probeInterval", span));
        breaker.finish(cx, |_| Leftover::Unknown);
    }
    set(&mut spec.require_at_start, fields.optional(cx, "requireAtStart", boolean));
    if given.is_empty() && fields.misspells(&KINDS) {
        cx.unread.push(path);
    } else if given.is_empty() {
        cx.problem(path, *key_at, "required: one of memory, redis, postgres and dynamodb");
    }
    fields.finish(cx, |_| Leftover::Unknown);
    let backend = memory.map(|()| StoreBackend::Memory).or(redis).or(postgres).or(dynamodb);
    spec.backend = backend.unwrap_or_default();
    spec
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn redis(mut fields: Fields<'_>, cx: &mut Context, env: Env<'_>) -> StoreBackend {
    let mut spec = RedisSpec::new("");
    if fields.has("url") && fields.has("urls") {
        fields.problem(cx, "urls", "give either url or urls, not both");
    } else if !fields.has("url") && !fields.has("urls") {
        fields.missing(cx, "url", REQUIRED);
    }
    let one = fields.optional(cx, "url", secret(env));
    let many = fields.list(cx, "urls", secret(env)).into_iter().flatten();
    let many = many.map(|url| url.unwrap_or_else(|| Secret::new("")));
    spec.urls = one.into_iter().chain(many).collect();
    let cluster = fields.optional(cx, "cluster", boolean).unwrap_or_default();
    let sentinel = section(&mut fields, cx, "sentinel").map(|mut sentinel| {
        let master = sentinel.required(cx, "master", plain(env)).unwrap_or_default();
        let username = sentinel.optional(cx, "username", plain(env));
        let password = sentinel.optional(cx, "password", secret(env));
        sentinel.finish(cx, |_| Leftover::Unknown);
        RedisTopology::Sentinel { master, username, password }
    });
    if cluster && sentinel.is_some() {
        fields.problem(cx, "cluster", "give either cluster or sentinel, not both");
    }
    spec.topology = sentinel.unwrap_or(if cluster { RedisTopology::Cluster } else { RedisTopology::Single });
    spec.username = fields.optional(cx, "username", plain(env));
    spec.password = fields.optional(cx, "password", secret(env));
    spec.tls = tls(&mut fields, cx, env);
    set(&mut spec.resp3, fields.optional(cx, "resp3", boolean));
    set(&mut spec.connect_timeout, fields.optional(cx, "connectTimeout", span));
    set(&mut spec.server_time, fields.optional(cx, "useServerTime", boolean));
    set(&mut spec.ttl_floor, fields.optional(cx, "ttlFloor", span_or_zero));
    set(&mut spec.max_retries, fields.optional(cx, "maxRetries", whole(0, 1_000)));
    fields.finish(cx, |_| Leftover::Unknown);
    StoreBackend::Redis(spec)
}

fn postgres(mut fields: Fields<'_>, cx: &mut Context, env: Env<'_>) -> StoreBackend {
    let mut spec = PostgresSpec::new("");
    set(&mut spec.url, fields.required(cx, "url", secret(env)));
    spec.password = fields.optional(cx, "password", secret(env));
    spec.tls = tls(&mut fields, cx, env);
    set(&mut spec.table, fields.optional(cx, "table", plain(env)));
    set(&mut spec.mode, fields.optional(cx, "mode", mode));
    set(&mut spec.auto_create, fields.optional(cx, "autoCreate", boolean));
    set(&mut spec.sweep_interval, fields.optional(cx, "sweepInterval", span_or_zero));
    set(&mut spec.server_time, fields.optional(cx, "useServerTime", boolean));
    set(&mut spec.pool_size, fields.optional(cx, "poolSize", whole(1, 1_024)));
    set(&mut spec.connect_timeout, fields.optional(cx, "connectTimeout", span));
    fields.finish(cx, |_| Leftover::Unknown);
    StoreBackend::Postgres(spec)
}

fn dynamodb(mut fields: Fields<'_>, cx: &mut Context, env: Env<'_>) -> StoreBackend {
    let mut spec = DynamoDbSpec::new("");
    set(&mut spec.table, fields.required(cx, "table", plain(env)));
    spec.region = fields.optional(cx, "region", plain(env));
    spec.endpoint = fields.optional(cx, "endpoint", plain(env));
    if let Some(mut credentials) = section(&mut fields, cx, "credentials") {
        let id = credentials.required(cx, "accessKeyId", secret(env));
        let key = credentials.required(cx, "secretAccessKey", secret(env));
        let session_token = credentials.optional(cx, "sessionToken", secret(env));
        credentials.finish(cx, |_| Leftover::Unknown);
        if let (Some(access_key_id), Some(secret_access_key)) = (id, key) {
            spec.credentials = Some(DynamoDbCredentials { access_key_id, secret_access_key, session_token });
        }
    }
    set(&mut spec.hash_key, fields.optional(cx, "hashKey", plain(env)));
    set(&mut spec.auto_create, fields.optional(cx, "autoCreate", boolean));
    set(&mut spec.max_retries, fields.optional(cx, "maxRetries", whole(0, 1_000)));
    set(&mut spec.connect_timeout, fields.optional(cx, "connectTimeout", span));
    fields.finish(cx, |_| Leftover::Unknown);
    StoreBackend::DynamoDb(spec)
}

fn tls(fields: &mut Fields<'_>, cx: &mut Context, env: Env<'_>) -> TlsSpec {
    let Some(mut tls) = section(fields, cx, "tls") else { return TlsSpec::default() };
    let ca_file = tls.optional(cx, "caFile", plain(env));
    let cert_file = tls.optional(cx, "certFile", plain(env));
    let key_file = tls.optional(cx, "keyFile", plain(env));
    tls.finish(cx, |_| Leftover::Unknown);
    TlsSpec { ca_file, cert_file, key_file }
}

/// A text in which variables of the environment are replaced.
pub(super) fn plain(env: Env<'_>) -> impl Fn(&Value) -> Converted<String> {
    move |value| match value {
        Value::Hidden(text) => expanded(text, env),
        // The value may be a password of digits.
        Value::HiddenNumber(_) | Value::Bool(_) | Value::Datetime => {
            Err("expected a text; one that looks like something else needs quotes".to_owned())
        }
        _ => Err(format!("expected a text, found {value}")),
    }
}

/// The same, to be kept secret.
pub(super) fn secret(env: Env<'_>) -> impl Fn(&Value) -> Converted<Secret> {
    move |value| plain(env)(value).map(Secret::new)
}

/// `text` with `${NAME}` replaced by the variable of that name. What is put in is not looked at again.
fn expanded(text: &str, env: Env<'_>) -> Converted<String> {
    const FORM: &str =
        "expected ${NAME} with letters, digits and _ in the name; other text with ${ has to come from a variable";
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or(FORM)?;
        let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !named || name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(FORM.to_owned());
        }
        let value = env(name).ok_or_else(|| format!("the environment has no variable {}", quoted(name)))?;
        result.push_str(before);
        result.push_str(&value);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

/// One of the modes.
fn mode(value: &Value) -> Converted<PostgresMode> {
    let Value::Hidden(word) = value else { return Err(format!("expected a text, found {value}")) };
    let found = MODES.iter().find(|(name, _)| name == word);
    let nearest = || suggestion(word, MODES.into_iter().map(|(name, _)| name));
    found.map(|(_, mode)| *mode).ok_or_else(|| format!("unknown mode, {}", nearest()))
}

/// A duration that is not zero.
fn span(value: &Value) -> Converted<Duration> {
    let ms = match value {
        Value::Hidden(text) => parse_duration_ms(text)
            .map_err(|_| "not a duration: write a number of milliseconds, or a text such as 250ms or 2s".to_owned())?,
        other => duration(other)?,
    };
    Duration::try_from_secs_f64(ms / 1_000.0).map_err(|_| "too long".to_owned())
}

/// A duration, or zero.
fn span_or_zero(value: &Value) -> Converted<Duration> {
    match value {
        Value::HiddenNumber(number) if *number == 0.0 => Ok(Duration::ZERO),
        _ => span(value),
    }
}
