//! The `store` block and the fail modes: what they mean in every format, what is refused, and what never shows.

use std::time::Duration;

use throttlekit::config::{
    Config, DynamoDbCredentials, DynamoDbSpec, Format, HttpRule, LimiterSpec, PostgresMode, PostgresSpec, RedisSpec,
    RedisTopology, Secret, StoreBackend, StoreKind, StoreSpec, StrategySpec, TlsSpec,
};
use throttlekit::{FailMode, Share};

use super::errors::errors;

/// What must never show, in any case.
const SECRET: &str = "hunter2";

fn env(name: &str) -> Option<String> {
    match name {
        "PASSWORD" => Some(SECRET.to_owned()),
        "HOST" => Some("cache.internal".to_owned()),
        "TRICKY" => Some("${PASSWORD}".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str, format: Format) -> Result<Config, String> {
    Config::parse_with(text, format, &env).map_err(|errors| errors.to_string())
}

/// The `store` block of YAML in flow form.
fn store(block: &str) -> Result<StoreSpec, String> {
    parse(&format!("store: {block}\nlimiters: {{}}\n"), Format::Yaml).map(|config| config.store)
}

fn redis(block: &str) -> RedisSpec {
    match store(&format!("{{ redis: {block} }}")).unwrap().backend {
        StoreBackend::Redis(spec) => spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_word_that_names_memory_hides_nothing_beside_it() {
    let text = "store: memory\nfoo: 1\nlimiters: {}\n";
    assert_eq!(
        errors(text, Format::Yaml),
        "2:1: config.foo: unknown field, known are version, defaults, compat, store, limiters, http"
    );
    assert!(errors("store: memoryy\nfoo: 1\nlimiters: {}\n", Format::Yaml).contains("config.(hidden)"));
}

#[test]
fn without_a_block_it_is_memory() {
    let none = parse("limiters: {}", Format::Yaml).unwrap().store;
    assert_eq!(
        (none.clone(), none.kind(), none.connect_timeout()),
        (StoreSpec::default(), StoreKind::Memory, Duration::ZERO)
    );
    assert_eq!(store("memory"), Ok(none.clone()));
    assert_eq!(store("{ memory: {} }"), Ok(none.clone()));
    assert_eq!(store("null"), Ok(none));
}

#[test]
fn defaults_are_tens_to_hundreds_of_milliseconds() {
    let spec = store("{ redis: { url: redis://localhost } }").unwrap();
    assert_eq!(spec, StoreSpec::new(StoreBackend::Redis(RedisSpec::new("redis://localhost"))));
    assert_eq!(spec.timeout, Duration::from_millis(250));
    assert_eq!((spec.failures, spec.probe_interval), (5, Duration::from_millis(200)));
    assert!(!spec.require_at_start);
    assert_eq!((spec.kind().as_str(), spec.connect_timeout()), ("redis", Duration::from_millis(500)));
}

#[test]
fn every_field_of_redis_in_every_format() {
    let yaml = r#"
store:
  redis:
    urls: ["rediss://one", "rediss://two"]
    sentinel: { master: main, username: watcher, password: "${PASSWORD}" }
    username: limits
    password: "p-${PASSWORD}-p"
    tls: { caFile: /etc/ca.pem, certFile: /etc/me.pem, keyFile: /etc/me.key }
    resp3: true
    connectTimeout: 2s
    useServerTime: false
    ttlFloor: 1.5s
    maxRetries: 0
  timeout: 80
  breaker: { failures: 2, probeInterval: 100ms }
  requireAtStart: true
limiters: {}
"#;
    let json = r#"{"store": {"redis": {"urls": ["rediss://one", "rediss://two"],
        "sentinel": {"master": "main", "username": "watcher", "password": "${PASSWORD}"}, "username": "limits",
        "password": "p-${PASSWORD}-p", "resp3": true, "connectTimeout": 2000, "useServerTime": false,
        "tls": {"caFile": "/etc/ca.pem", "certFile": "/etc/me.pem", "keyFile": "/etc/me.key"},
        "ttlFloor": 1500, "maxRetries": 0},
        "timeout": "80ms", "breaker": {"failures": 2, "probeInterval": 100}, "requireAtStart": true}, "limiters": {}}"#;
    let toml = r#"
[store]
timeout = "80 ms"
breaker = { failures = 2, probeInterval = "0.1s" }
requireAtStart = true
[store.redis]
urls = ["rediss://one", "rediss://two"]
username = "limits"
password = "p-${PASSWORD}-p"
sentinel = { master = "main", username = "watcher", password = "${PASSWORD}" }
tls = { caFile = "/etc/ca.pem", certFile = "/etc/me.pem", keyFile = "/etc/me.key" }
resp3 = true
connectTimeout = "2s"
useServerTime = false
ttlFloor = "1500ms"
maxRetries = 0
[limiters]
"#;
    let mut spec = RedisSpec::new("");
    spec.urls = vec![Secret::new("rediss://one"), Secret::new("rediss://two")];
    let (username, password) = (Some("watcher".to_owned()), Some(Secret::new(SECRET)));
    // The variants of a topology cannot be made outside, so it is taken apart below.
    spec.username = Some("limits".to_owned());
    spec.password = Some(Secret::new("p-hunter2-p"));
    spec.tls = tls();
    (spec.resp3, spec.server_time, spec.max_retries) = (true, false, 0);
    (spec.connect_timeout, spec.ttl_floor) = (Duration::from_secs(2), Duration::from_millis(1_500));
    spec.topology = RedisTopology::Sentinel { master: "main".to_owned(), username, password };
    let mut expected = StoreSpec::new(StoreBackend::Redis(spec));
    (expected.timeout, expected.failures) = (Duration::from_millis(80), 2);
    (expected.probe_interval, expected.require_at_start) = (Duration::from_millis(100), true);
    for (text, format) in [(yaml, Format::Yaml), (json, Format::Json), (toml, Format::Toml)] {
        assert_eq!(parse(text, format).unwrap().store, expected, "{format:?}");
    }
}

fn tls() -> TlsSpec {
    let mut tls = TlsSpec::default();
    tls.ca_file = Some("/etc/ca.pem".to_owned());
    tls.cert_file = Some("/etc/me.pem".to_owned());
    tls.key_file = Some("/etc/me.key".to_owned());
    tls
}

#[test]
fn every_field_of_the_others() {
    let given = store(
        r#"{ postgres: { url: "postgres://db/limits", password: "${PASSWORD}", table: app.limits, mode: fast, autoCreate: false,
            sweepInterval: 0, useServerTime: false, poolSize: 3, connectTimeout: 500ms } }"#,
    );
    let mut expected = PostgresSpec::new("postgres://db/limits");
    expected.password = Some(Secret::new(SECRET));
    expected.table = "app.limits".to_owned();
    expected.mode = PostgresMode::Fast;
    (expected.auto_create, expected.server_time, expected.pool_size) = (false, false, 3);
    (expected.sweep_interval, expected.connect_timeout) = (Duration::ZERO, Duration::from_millis(500));
    assert_eq!(given, Ok(StoreSpec::new(StoreBackend::Postgres(expected))));

    let given = store(
        r#"{ dynamodb: { table: limits, region: eu-central-1, endpoint: "http://${HOST}:8000", hashKey: id, autoCreate: true,
            maxRetries: 3, connectTimeout: 2s,
            credentials: { accessKeyId: AKID, secretAccessKey: "${PASSWORD}", sessionToken: token } } }"#,
    );
    let mut expected = DynamoDbSpec::new("limits");
    expected.region = Some("eu-central-1".to_owned());
    expected.endpoint = Some("http://cache.internal:8000".to_owned());
    (expected.hash_key, expected.auto_create, expected.max_retries) = ("id".to_owned(), true, 3);
    expected.connect_timeout = Duration::from_secs(2);
    let mut credentials = DynamoDbCredentials::new("AKID", SECRET);
    credentials.session_token = Some(Secret::new("token"));
    expected.credentials = Some(credentials);
    assert_eq!(given, Ok(StoreSpec::new(StoreBackend::DynamoDb(expected))));
}

#[test]
fn topologies_of_redis() {
    assert_eq!(redis("{ url: redis://a }").topology, RedisTopology::Single);
    assert_eq!(redis("{ url: redis://a, cluster: true }").topology, RedisTopology::Cluster);
    let cluster = redis("{ urls: [redis://a, redis://b], cluster: true }");
    assert_eq!((cluster.urls.len(), cluster.topology), (2, RedisTopology::Cluster));
}

#[test]
fn variables_of_the_environment_are_replaced_once() {
    let url = |text: &str| redis(&format!("{{ url: '{text}' }}")).urls[0].expose().to_owned();
    assert_eq!(url("redis://:${PASSWORD}@${HOST}/1"), "redis://:hunter2@cache.internal/1");
    assert_eq!(url("${PASSWORD}"), SECRET);
    assert_eq!(url("${PASSWORD}${PASSWORD}"), "hunter2hunter2");
    assert_eq!(url("a$b$$c{d}${EMPTY}"), "a$b$$c{d}");
    assert_eq!(url("${TRICKY}"), "${PASSWORD}", "what is put in is not looked at again");
    let elsewhere = parse("limiters: { a: { strategy: gcra, limit: 1, period: 1s, prefix: '${HOST}' } }", Format::Yaml);
    assert_eq!(elsewhere.unwrap().limiters[0].prefix.as_deref(), Some("${HOST}"), "only in the store block");
    // The process's own environment is what a text without another one sees; cargo sets this variable.
    let own = Config::from_yaml("store: { redis: { url: '${CARGO_PKG_NAME}' } }\nlimiters: {}").unwrap().store;
    assert_eq!(own, StoreSpec::new(StoreBackend::Redis(RedisSpec::new("throttlekit"))));
}

#[test]
fn what_is_wrong_with_a_block_is_said() {
    const NAME: &str =
        "expected ${NAME} with letters, digits and _ in the name; other text with ${ has to come from a variable";
    let kinds = "expected memory, or a map with redis, postgres or dynamodb, found";
    let table: &[(&str, &[&str])] = &[
        ("redis", &[&format!("1:8: config.store: {kinds} a text")]),
        ("[redis]", &[&format!("1:8: config.store: {kinds} a list")]),
        ("5", &[&format!("1:8: config.store: {kinds} a number")]),
        ("{}", &["1:1: config.store: required: one of memory, redis, postgres and dynamodb"]),
        ("{ redsi: { url: x } }", &[r#"1:10: config.store.redsi: unknown field, did you mean "redis"?"#]),
        ("{ redis: { url: a }, postgres: { url: b } }", &["1:29: config.store.postgres: give one store, not several"]),
        ("{ redis: {} }", &["1:10: config.store.redis.url: required"]),
        ("{ redis: { url: '' } }", &["1:24: config.store.redis.url: must not be empty"]),
        ("{ redis: { urls: [] } }", &["1:19: config.store.redis.urls: at least one URL is required"]),
        ("{ redis: { url: a, urls: [b] } }", &["1:27: config.store.redis.urls: give either url or urls, not both"]),
        (
            "{ redis: { urls: [a, b] } }",
            &[
                "1:19: config.store.redis.urls: several URLs need `cluster: true` or a sentinel's master, otherwise give one",
            ],
        ),
        ("{ redis: { urls: [a, ''], cluster: true } }", &["1:29: config.store.redis.urls[1]: must not be empty"]),
        (
            "{ redis: { url: a, cluster: true, sentinel: { master: m } } }",
            &["1:36: config.store.redis.cluster: give either cluster or sentinel, not both"],
        ),
        ("{ redis: { url: a, sentinel: {} } }", &["1:27: config.store.redis.sentinel.master: required"]),
        (
            "{ redis: { url: a, password: 12345 } }",
            &["1:37: config.store.redis.password: expected a text; one that looks like something else needs quotes"],
        ),
        ("{ redis: { url: 'x${' } }", &[&format!("1:24: config.store.redis.url: {NAME}")]),
        ("{ redis: { url: 'x${}' } }", &[&format!("1:24: config.store.redis.url: {NAME}")]),
        ("{ redis: { url: '${1X}' } }", &[&format!("1:24: config.store.redis.url: {NAME}")]),
        ("{ redis: { url: '${A B}' } }", &[&format!("1:24: config.store.redis.url: {NAME}")]),
        (
            "{ redis: { url: '${REDIS_URL}', password: '${REDIS_PASSWORD}' } }",
            &[
                r#"1:24: config.store.redis.url: the environment has no variable "REDIS_URL""#,
                r#"1:50: config.store.redis.password: the environment has no variable "REDIS_PASSWORD""#,
            ],
        ),
        (
            "{ redis: { url: a, tls: { certFile: x } } }",
            &["1:27: config.store.redis.tls: certFile and keyFile belong together: give both or none"],
        ),
        (
            "{ redis: { url: a, pasword: x } }",
            &[r#"1:27: config.store.redis.pasword: unknown field, did you mean "password"?"#],
        ),
        (
            "{ postgres: { url: a, poolSize: 0 } }",
            &["1:40: config.store.postgres.poolSize: must be a whole number from 1 to 1024 (found 0)"],
        ),
        (
            "{ redis: { url: a }, timeout: 0 }",
            &["1:38: config.store.timeout: must be a finite number above 0 (found 0)"],
        ),
        ("{ redis: { url: a }, timeout: 2m }", &["1:38: config.store.timeout: must be from 1ms to 60s (found 120s)"]),
        (
            "{ redis: { url: a }, breaker: { failures: 0, probeInterval: 0.5ms, afterwards: 1 } }",
            &[
                "1:50: config.store.breaker.failures: must be a whole number from 1 to 1000 (found 0)",
                "1:68: config.store.breaker.probeInterval: must be from 1ms to 60s (found 500µs)",
                "1:75: config.store.breaker.(hidden): unknown field, known are failures, probeInterval",
            ],
        ),
        (
            "{ redis: { url: a }, requireAtStart: maybe }",
            &["1:45: config.store.requireAtStart: expected true or false, found a text"],
        ),
        (
            "{ postgres: { mode: fats, table: '' } }",
            &[
                "1:10: config.store.postgres.url: required",
                r#"1:28: config.store.postgres.mode: unknown mode, did you mean "fast"?"#,
                "1:41: config.store.postgres.table: must not be empty",
            ],
        ),
        (
            "{ dynamodb: { credentials: { accessKeyId: a } } }",
            &[
                "1:10: config.store.dynamodb.table: required",
                "1:22: config.store.dynamodb.credentials.secretAccessKey: required",
            ],
        ),
    ];
    for (block, expected) in table {
        let errors = store(block).unwrap_err();
        assert_eq!(errors.lines().collect::<Vec<_>>(), *expected, "store: {block}");
    }
}

#[test]
fn blocks_made_in_code_are_checked_too() {
    let mut config = Config::default();
    let mut redis = RedisSpec::new("");
    redis.connect_timeout = Duration::ZERO;
    config.store = StoreSpec::new(StoreBackend::Redis(redis));
    config.store.timeout = Duration::from_secs(61);
    let errors = config.check().unwrap_err().to_string();
    let expected = [
        "config.store.timeout: must be from 1ms to 60s (found 61s)",
        "config.store.redis.url: must not be empty",
        "config.store.redis.connectTimeout: must be from 1ms to 60s (found 0ns)",
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn secrets_show_in_no_debug_and_no_error() {
    let good = [
        "{ redis: { url: 'redis://:hunter2@cache', password: hunter2, sentinel: { master: m, password: hunter2 } } }",
        "{ redis: { urls: ['redis://:hunter2@a', 'redis://:${PASSWORD}@b'], cluster: true } }",
        "{ postgres: { url: 'postgres://me:hunter2@db/limits', password: '${PASSWORD}' } }",
        "{ dynamodb: { table: t, credentials: { accessKeyId: hunter2, secretAccessKey: hunter2, sessionToken: hunter2 } } }",
        // In the wrong place.
        "{ redis: { url: x, username: hunter2, sentinel: { master: hunter2, username: hunter2 },
            tls: { caFile: hunter2, certFile: hunter2, keyFile: hunter2 } } }",
        "{ postgres: { url: x, table: hunter2 } }",
        "{ dynamodb: { table: hunter2, region: hunter2, endpoint: 'http://me:hunter2@db', hashKey: hunter2 } }",
    ];
    for block in good {
        let spec = store(block).unwrap();
        for shown in [format!("{spec:?}"), format!("{spec:#?}")] {
            assert!(!shown.contains(SECRET) && shown.contains("[redacted]"), "{shown}");
        }
    }
    let bad = [
        "redis://:hunter2@cache",
        "'redis://:hunter2@cache'",
        "['redis://:hunter2@cache']",
        "{ redis: 'redis://:hunter2@cache' }",
        "{ redis: hunter2 }",
        "{ redis: ['redis://:hunter2@cache'] }",
        "{ redis: { url: ['redis://:hunter2@cache'] } }",
        "{ redis: { urls: 'redis://:hunter2@cache' } }",
        "{ redis: { urls: ['redis://:hunter2@a', { url: 'redis://:hunter2@b' }], cluster: 'redis://:hunter2@c' } }",
        "{ redis: { url: 'redis://:hunter2${' } }",
        "{ redis: { url: 'redis://:hunter2@${MISSING}' } }",
        "{ redis: { url: 'redis://:hunter2@a', password: { value: hunter2 }, sentinel: hunter2, tls: hunter2 } }",
        "{ redis: { url: 'redis://:hunter2@a' }, postgres: { url: 'postgres://me:hunter2@db' }, timeout: hunter2 }",
        "{ postgres: { url: 'postgres://me:hunter2@db', table: '', mode: 'hunter2', poolSize: hunter2 } }",
        "{ dynamodb: { credentials: { accessKeyId: hunter2, secretAccessKey: [hunter2] }, endpoint: ['hunter2'] } }",
        "{ redis: { url: \"redis://:hunter2@cache } }",
        "{ redis: { url: 'redis://:hunter2@cache' }\n",
        "{ redis: { url: redis://:hunter2@cache: x } }",
        "{ redis: { url:redis://:hunter2@cache } }",
        "{ redis: { redis://:hunter2@cache } }",
        // A comma ends a text without quotes.
        "{ redis: { url: x, password: abc,hunter2 } }",
        "{ redis: { url: x, password: abc,hunter2, hunter2: 1 } }",
        "{ redis: { url: x, password: abc,passwordhunter2 } }",
        "abc,hunter2",
        "{ redis: { 'redis://:hunter2@cache': 1, 'redis://:hunter2@cache': 2 } }",
        "\n  redis:\n    url:redis://:hunter2@cache",
        "\n  redis:\n    'redis://:hunter2@cache': { 'x:hunter2': 1 }",
    ];
    for block in bad {
        let texts = [
            (format!("store: {block}\nlimiters: {{}}\n"), Format::Yaml),
            (format!("{{ \"store\": {}, \"limiters\": {{}} }}", block.replace('\'', "\"")), Format::Json),
            (format!("store = {}\n[limiters]\n", block.replace(": ", " = ")), Format::Toml),
        ];
        for (text, format) in texts {
            let errors = parse(&text, format).unwrap_err();
            assert!(!errors.contains(SECRET), "{format:?} {text}\n{errors}");
        }
    }
}

#[test]
fn numbers_of_the_block_show_where_a_number_is_due() {
    for block in [
        "8471193",
        "[8471193]",
        "{ redis: 8471193 }",
        "{ redis: { url: 8471193, urls: 8471193, username: 8471193, cluster: 8471193, sentinel: 8471193, tls: 8471193 } }",
        "{ postgres: { url: x, mode: 8471193 }, requireAtStart: 8471193 }",
        "{ dynamodb: { table: t, credentials: [8471193] } }",
    ] {
        let errors = store(block).unwrap_err();
        assert!(!errors.contains("8471193"), "store: {block}\n{errors}");
    }
    let errors = store("{ postgres: { url: x, poolSize: 8471193 } }").unwrap_err();
    assert_eq!(errors, "1:40: config.store.postgres.poolSize: must be a whole number from 1 to 1024 (found 8471193)");
}

#[test]
fn secrets_compare_by_all_of_their_text() {
    let [secret, same, other, longer] = ["abc", "abc", "abd", "abcd"].map(Secret::new);
    assert!(secret == same && secret != other && secret != longer && Secret::new("") != secret);
    assert!(Secret::new("") == Secret::new(""));
}

fn local(share: f64) -> FailMode {
    FailMode::Local(Share::new(share).unwrap())
}

#[test]
fn fail_modes_of_limiters_and_rules() {
    let limiter = |mode: &str| {
        let text = format!("limiters: {{ x: {{ strategy: gcra, limit: 10, period: 1s, {mode} }} }}");
        parse(&text, Format::Yaml).map(|config| config.limiters[0].fail_mode)
    };
    assert_eq!(limiter("prefix: x"), Ok(FailMode::Open));
    assert_eq!(limiter("failMode: open"), Ok(FailMode::Open));
    assert_eq!(limiter("failMode: closed"), Ok(FailMode::Closed));
    assert_eq!(limiter("failMode: local"), Ok(local(1.0)));
    assert_eq!(limiter("failMode: { local: {} }"), Ok(local(1.0)));
    assert_eq!(limiter("failMode: { local: { share: 0.25 } }"), Ok(local(0.25)));
    let refused = |mode, expected: &str| assert_eq!(limiter(mode), Err(expected.to_owned()));
    let path = "config.limiters[x].failMode";
    refused("failMode: lokal", &format!(r#"1:67: {path}: unknown fail mode "lokal", did you mean "local"?"#));
    refused(
        "failMode: { open: {} }",
        &format!("1:57: {path}.local: required\n1:69: {path}.open: unknown field, known are local"),
    );
    refused("failMode: { local: 0.5 }", &format!("1:76: {path}.local: expected a map, found the number 0.5"));
    let range = "must be a number above 0 and at most 1";
    refused("failMode: { local: { share: 0 } }", &format!("1:85: {path}.local.share: {range} (found 0)"));
    refused("failMode: { local: { share: 1.5 } }", &format!("1:85: {path}.local.share: {range} (found 1.5)"));
    refused(
        "failMode: { local: { shares: 1 } }",
        &format!(r#"1:78: {path}.local.shares: unknown field, did you mean "share"?"#),
    );

    let text = r#"
[limiters.x]
strategy = "gcra"
limit = 10
period = "1s"
[http.defaults]
failMode = { local = { share = 0.5 } }
[[http.rules]]
path = "/a"
policy = "x"
[[http.rules]]
path = "/b"
policy = "x"
failMode = "closed"
"#;
    let modes: Vec<_> = parse(text, Format::Toml).unwrap().http.rules.iter().map(|rule| rule.fail_mode).collect();
    assert_eq!(modes, [Some(local(0.5)), Some(FailMode::Closed)]);
    assert_eq!(HttpRule::new("/", ["x"]).fail_mode, None);
    assert_eq!(["open", "closed", "local"], [FailMode::Open, FailMode::Closed, local(0.5)].map(FailMode::as_str));
}

#[test]
fn a_share_that_is_no_limit_is_refused() {
    let mut config = Config::default();
    let tiny = StrategySpec::TokenBucket { capacity: 5.0, refill_per_sec: 1.0 };
    config.limiters.push(LimiterSpec::new("x", tiny));
    let whole = config.check();
    config.limiters[0].fail_mode = local(1e-300);
    let errors = config.check().unwrap_err().to_string();
    assert!(whole.is_ok(), "{whole:?}");
    assert!(
        errors.starts_with("config.limiters[x].failMode.local.share: a share of 0.000")
            && errors.contains("refillPerSec"),
        "{errors}"
    );
}

#[test]
fn strategies_are_scaled_by_their_units() {
    use StrategySpec as S;
    let third = Share::new(1.0 / 3.0).unwrap();
    for (whole, share) in [
        (
            S::Gcra { limit: 100.0, period_ms: 60_000.0, burst: 20.0, exact: false },
            S::Gcra { limit: 33.0, period_ms: 60_000.0, burst: 6.0, exact: false },
        ),
        (
            S::Gcra { limit: 2.0, period_ms: 60_000.0, burst: 1.0, exact: true },
            S::Gcra { limit: 1.0, period_ms: 60_000.0, burst: 1.0, exact: true },
        ),
        (S::TokenBucket { capacity: 10.0, refill_per_sec: 3.0 }, S::TokenBucket { capacity: 3.0, refill_per_sec: 1.0 }),
        (
            S::TokenBucket { capacity: 1.0, refill_per_sec: 0.75 },
            S::TokenBucket { capacity: 1.0, refill_per_sec: 0.25 },
        ),
        (S::FixedWindow { limit: 5.0, window_ms: 100.0 }, S::FixedWindow { limit: 1.0, window_ms: 100.0 }),
        (
            S::SlidingWindow { limit: 7.0, window_ms: 100.0, buckets: 4 },
            S::SlidingWindow { limit: 2.0, window_ms: 100.0, buckets: 4 },
        ),
        (S::SlidingWindowLog { limit: 2.0, window_ms: 100.0 }, S::SlidingWindowLog { limit: 1.0, window_ms: 100.0 }),
    ] {
        assert_eq!(whole.scaled(third), share);
        assert_eq!(whole.scaled(Share::WHOLE), whole);
    }
}
