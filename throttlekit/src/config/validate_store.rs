//! Whether a `store` block makes sense. No message shows a value that may be secret.

use std::time::Duration;

use super::secret::Secret;
use super::store::{DynamoDbSpec, PostgresSpec, RedisSpec, RedisTopology, StoreBackend, StoreSpec, TlsSpec};
use super::validate::Findings;

/// The path of the block.
const STORE: &str = "config.store";

/// The longest span of time that anything in the block may take.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) fn store(spec: &StoreSpec, findings: &mut Findings<'_>) {
    span(spec.timeout, "timeout", findings);
    span(spec.probe_interval, "breaker.probeInterval", findings);
    number(spec.failures, 1_000, "breaker.failures", findings);
    match &spec.backend {
        StoreBackend::Memory => {}
        StoreBackend::Redis(spec) => redis(spec, findings),
        StoreBackend::Postgres(spec) => postgres(spec, findings),
        StoreBackend::DynamoDb(spec) => dynamodb(spec, findings),
    }
}

fn redis(spec: &RedisSpec, findings: &mut Findings<'_>) {
    match (&spec.topology, spec.urls.len()) {
        (_, 0) => {
            let at = ["redis.url", "redis.urls", "redis"].map(|option| format!("{STORE}.{option}"));
            findings.add(&at, "at least one URL is required");
        }
        (RedisTopology::Single, 2..) => {
            add("redis.urls", "several URLs need `cluster: true` or a sentinel's master, otherwise give one", findings);
        }
        _ => {}
    }
    for (index, url) in spec.urls.iter().enumerate() {
        if url.expose().is_empty() {
            let alone = spec.urls.len() == 1 && findings.knows(&format!("{STORE}.redis.url"));
            let at = if alone { "redis.url".to_owned() } else { format!("redis.urls[{index}]") };
            add(&at, EMPTY, findings);
        }
    }
    if let RedisTopology::Sentinel { master, .. } = &spec.topology {
        text(master, "redis.sentinel.master", findings);
    }
    tls(&spec.tls, "redis.tls", findings);
    span(spec.connect_timeout, "redis.connectTimeout", findings);
}

fn postgres(spec: &PostgresSpec, findings: &mut Findings<'_>) {
    secret(&spec.url, "postgres.url", findings);
    text(&spec.table, "postgres.table", findings);
    tls(&spec.tls, "postgres.tls", findings);
    number(spec.pool_size, 1_024, "postgres.poolSize", findings);
    span(spec.connect_timeout, "postgres.connectTimeout", findings);
}

fn dynamodb(spec: &DynamoDbSpec, findings: &mut Findings<'_>) {
    text(&spec.table, "dynamodb.table", findings);
    text(&spec.hash_key, "dynamodb.hashKey", findings);
    for (value, option) in [(&spec.region, "dynamodb.region"), (&spec.endpoint, "dynamodb.endpoint")] {
        if let Some(value) = value {
            text(value, option, findings);
        }
    }
    if let Some(credentials) = &spec.credentials {
        secret(&credentials.access_key_id, "dynamodb.credentials.accessKeyId", findings);
        secret(&credentials.secret_access_key, "dynamodb.credentials.secretAccessKey", findings);
    }
    span(spec.connect_timeout, "dynamodb.connectTimeout", findings);
}

fn tls(spec: &TlsSpec, option: &str, findings: &mut Findings<'_>) {
    if spec.cert_file.is_some() != spec.key_file.is_some() {
        add(option, "certFile and keyFile belong together: give both or none", findings);
    }
}

const EMPTY: &str = "must not be empty";

fn text(value: &str, option: &str, findings: &mut Findings<'_>) {
    if value.is_empty() {
        add(option, EMPTY, findings);
    }
}

fn secret(value: &Secret, option: &str, findings: &mut Findings<'_>) {
    text(value.expose(), option, findings);
}

fn number(value: u32, most: u32, option: &str, findings: &mut Findings<'_>) {
    if !(1..=most).contains(&value) {
        add(option, format!("must be a whole number from 1 to {most} (found {value})"), findings);
    }
}

fn span(value: Duration, option: &str, findings: &mut Findings<'_>) {
    if value < Duration::from_millis(1) || value > LONGEST {
        add(option, format!("must be from 1ms to 60s (found {value:?})"), findings);
    }
}

fn add(option: &str, message: impl Into<String>, findings: &mut Findings<'_>) {
    // A problem with the value, or with the map around it.
    let around = option.rsplit_once('.').map_or_else(|| STORE.to_owned(), |(around, _)| format!("{STORE}.{around}"));
    findings.add(&[format!("{STORE}.{option}"), around], message);
}
