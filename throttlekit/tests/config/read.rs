//! What a configuration means, in every format.

use throttlekit::config::{
    Config, Format, HttpRule, KeySource, LimiterSpec, MAX_CONFIG_BYTES, QuotaPeriod, StrategySpec, build_strategy,
};
use throttlekit::headers::{HeaderFamily, HeaderSet, Unit};
use throttlekit::store::memory::DEFAULT_MAX_KEYS;
use throttlekit::{FailMode, MissingKey};

const YAML: &str = r#"
version: 1
defaults: { prefix: tk }
limiters:
  zeta: { strategy: gcra, limit: 100, period: 1m }       # order is kept
  burst: { strategy: gcra, limit: 10, periodMs: 1000, burst: 20, exact: true, prefix: b, maxKeys: 5000 }
  bucket:
    strategy: tokenBucket
    capacity: 10
    refillPerSec: 0.5
  fixed: { strategy: fixedWindow, limit: 2, period: 1s }
  sliding: { strategy: slidingWindow, limit: 4, windowMs: 2000, buckets: 4 }
  log: { strategy: slidingWindowLog, limit: 3, period: 1.5h }
  month: { strategy: quota, limit: 5, resetCadence: calendar-month, offsetMinutes: -300 }
  week: { strategy: quota, limit: 5, resetCadence: calendar-week, weekStartsOn: 0 }
  day: { strategy: quota, limit: 5, resetCadence: calendar-day }
  every: { strategy: quota, limit: 5, resetCadence: fixed, period: 30d, anchor: 250 }
  last: { strategy: quota, limit: 5, resetCadence: rolling, periodMs: 86400000 }
http:
  defaults: { headers: [structured, legacy], failMode: closed }
  rules:
    - { path: /api/hello, methods: [GET, POST], policy: zeta }
    - path: /files/{*rest}
      policies: [bucket, log]
      key: { header: X-Api-Key }
      missing: reject
      cost: 2.5
      failMode: open
      headers: none
      options: true
    - { path: "/users/{id}", policy: fixed, key: { constant: all }, headers: [] }
"#;

const JSON: &str = r#"{
  "version": 1,
  "defaults": { "prefix": "tk" },
  "limiters": {
    "zeta": { "strategy": "gcra", "limit": 100, "periodMs": 60000 },
    "burst": { "strategy": "gcra", "limit": 10, "windowMs": 1e3, "burst": 20, "exact": true, "prefix": "b", "maxKeys": 5000 },
    "bucket": { "strategy": "tokenBucket", "capacity": 10.0, "refillPerSec": 0.5, "prefix": null },
    "fixed": { "strategy": "fixedWindow", "limit": 2, "period": 1000 },
    "sliding": { "strategy": "slidingWindow", "limit": 4, "period": "2s", "buckets": 4 },
    "log": { "strategy": "slidingWindowLog", "limit": 3, "period": "90 m" },
    "month": { "strategy": "quota", "limit": 5, "resetCadence": "calendar-month", "offsetMinutes": -300 },
    "week": { "strategy": "quota", "limit": 5, "resetCadence": "calendar-week", "weekStartsOn": 0 },
    "day": { "strategy": "quota", "limit": 5, "resetCadence": "calendar-day" },
    "every": { "strategy": "quota", "limit": 5, "resetCadence": "fixed", "period": "30d", "anchor": 250 },
    "last": { "strategy": "quota", "limit": 5, "resetCadence": "rolling", "period": "1d", "buckets": 10 }
  },
  "http": {
    "defaults": { "headers": ["structured", "legacy"], "failMode": "closed" },
    "rules": [
      { "path": "/api/hello", "methods": ["GET", "POST"], "policy": "zeta" },
      { "path": "/files/{*rest}", "policies": ["bucket", "log"], "key": { "header": "x-api-key" }, "missing": "reject",
        "cost": 2.5, "failMode": "open", "headers": "none", "options": true },
      { "path": "/users/{id}", "policy": "fixed", "key": { "constant": "all" }, "headers": [] }
    ]
  }
}"#;

const TOML: &str = r#"
version = 1
defaults.prefix = "tk"

[limiters]
zeta = { strategy = "gcra", limit = 100, period = "1m" }
burst = { strategy = "gcra", limit = 10, periodMs = 1_000, burst = 20, exact = true, prefix = "b", maxKeys = 0x1388 }

bucket = { strategy = "tokenBucket", capacity = 10, refillPerSec = 0.5 }
fixed = { strategy = "fixedWindow", limit = 2, period = "1s" }
sliding = { strategy = "slidingWindow", limit = 4, period = 2000.0, buckets = 4 }

[limiters.log]
strategy = "slidingWindowLog"
limit = 3
period = "1.5h"

[limiters.month]
strategy = "quota"
limit = 5
resetCadence = "calendar-month"
offsetMinutes = -300

[limiters.week]
strategy = "quota"
limit = 5
resetCadence = "calendar-week"
weekStartsOn = 0

[limiters.day]
strategy = "quota"
limit = 5
resetCadence = "calendar-day"

[limiters.every]
strategy = "quota"
limit = 5
resetCadence = "fixed"
period = "30d"
anchor = 250

[limiters.last]
strategy = "quota"
limit = 5
resetCadence = "rolling"
period = "24h"

[http.defaults]
headers = ["structured", "legacy"]
failMode = "closed"

[[http.rules]]
path = "/api/hello"
methods = ["GET", "POST"]
policy = "zeta"

[[http.rules]]
path = "/files/{*rest}"
policies = ["bucket", "log"]
key.header = "X-API-Key"
missing = "reject"
cost = 2.5
failMode = "open"
headers = "none"
options = true

[[http.rules]]
path = "/users/{id}"
policy = "fixed"
key = { constant = "all" }
headers = []
"#;

fn expected() -> Config {
    use StrategySpec as S;
    let quota = |period| S::Quota { limit: 5.0, period };
    let mut config = Config::default();
    config.default_prefix = Some("tk".to_owned());
    let limiters = [
        ("zeta", S::Gcra { limit: 100.0, period_ms: 60_000.0, burst: 100.0, exact: false }),
        ("burst", S::Gcra { limit: 10.0, period_ms: 1_000.0, burst: 20.0, exact: true }),
        ("bucket", S::TokenBucket { capacity: 10.0, refill_per_sec: 0.5 }),
        ("fixed", S::FixedWindow { limit: 2.0, window_ms: 1_000.0 }),
        ("sliding", S::SlidingWindow { limit: 4.0, window_ms: 2_000.0, buckets: 4 }),
        ("log", S::SlidingWindowLog { limit: 3.0, window_ms: 5_400_000.0 }),
        ("month", quota(QuotaPeriod::CalendarMonth { offset_minutes: -300 })),
        ("week", quota(QuotaPeriod::CalendarWeek { offset_minutes: 0, week_starts_on: 0 })),
        ("day", quota(QuotaPeriod::CalendarDay { offset_minutes: 0 })),
        ("every", quota(QuotaPeriod::Fixed { period_ms: 2_592_000_000.0, anchor_ms: 250 })),
        ("last", quota(QuotaPeriod::Rolling { period_ms: 86_400_000.0, buckets: 10 })),
    ];
    config.limiters = limiters.map(|(name, strategy)| LimiterSpec::new(name, strategy)).into();
    config.limiters[1].prefix = Some("b".to_owned());
    config.limiters[1].max_keys = 5_000;

    let both = HeaderSet::from_iter([HeaderFamily::Structured, HeaderFamily::Legacy]);
    let mut hello = HttpRule::new("/api/hello", ["zeta"]);
    hello.methods = vec!["GET".to_owned(), "POST".to_owned()];
    (hello.headers, hello.fail_mode) = (both, Some(FailMode::Closed));
    let mut files = HttpRule::new("/files/{*rest}", ["bucket", "log"]);
    files.key = KeySource::Header("x-api-key".to_owned());
    (files.missing, files.cost, files.headers, files.options) = (MissingKey::Reject, 2.5, HeaderSet::NONE, true);
    files.fail_mode = Some(FailMode::Open);
    let mut users = HttpRule::new("/users/{id}", ["fixed"]);
    users.key = KeySource::Constant("all".to_owned());
    (users.headers, users.fail_mode) = (HeaderSet::EMPTY, Some(FailMode::Closed));
    config.http.rules = vec![hello, files, users];
    config
}

#[test]
fn every_format_says_the_same() {
    for (text, format) in [(YAML, Format::Yaml), (JSON, Format::Json), (TOML, Format::Toml)] {
        for text in [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
            assert_eq!(Config::parse(&text, format).unwrap(), expected(), "{format:?}");
        }
    }
    expected().check().unwrap();
}

#[test]
fn equal_specs_build_equal_strategies() {
    for limiter in expected().limiters {
        let strategy = limiter.strategy.unwrap();
        let [one, other] = [build_strategy(&strategy), build_strategy(&strategy.clone())];
        assert_eq!(one.unwrap(), other.unwrap(), "{}", limiter.name);
    }
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let text =
        "limiters: { a: { strategy: slidingWindow, limit: 1, period: 1s } }\nhttp: { rules: [{ path: /, policy: a }] }";
    let config = Config::from_yaml(text).unwrap();
    let limiter = &config.limiters[0];
    let window = StrategySpec::SlidingWindow { limit: 1.0, window_ms: 1_000.0, buckets: 10 };
    assert_eq!((limiter.strategy, &limiter.concurrency), (Some(window), &None));
    assert_eq!((limiter.max_keys, &limiter.prefix), (DEFAULT_MAX_KEYS, &None));
    assert_eq!(config.http.rules, [HttpRule::new("/", ["a"])]);
    assert_eq!(config.http.rules[0].headers, HeaderSet::from(HeaderFamily::Draft));
}

#[test]
fn durations_have_units() {
    let spelled = [
        ("1m", 60_000.0),
        ("30s", 30_000.0),
        ("500ms", 500.0),
        ("2h", 7_200_000.0),
        ("1d", 86_400_000.0),
        ("5000", 5_000.0),
        ("\" 5 m \"", 300_000.0),
        ("\"10\"", 10.0),
        ("1.5h", 5_400_000.0),
        ("4.35m", 260_999.999_999_999_97),
    ];
    for (span, ms) in spelled {
        let text = format!("limiters: {{ a: {{ strategy: fixedWindow, limit: 1, period: {span} }} }}");
        let config = Config::from_yaml(&text).unwrap();
        let window = StrategySpec::FixedWindow { limit: 1.0, window_ms: ms };
        assert_eq!(config.limiters[0].strategy, Some(window), "{span}");
    }
    for span in ["soon", "0", "0s", "-5s", "5 M", "1h30m", "\"\"", ".5s", "-3", "true", "[1]", "1w", "1 us"] {
        let text = format!("limiters: {{ a: {{ strategy: fixedWindow, limit: 1, period: {span} }} }}");
        let errors = Config::from_yaml(&text).unwrap_err();
        assert_eq!(errors.problems().len(), 1, "{errors}");
        assert_eq!(errors.problems()[0].path, "config.limiters[a].period");
    }
    let text = "limiters: { a: { strategy: fixedWindow, limit: 1, windowMs: 1m } }";
    let message = "config.limiters[a].windowMs: expected a number of milliseconds, found the text \"1m\"; \
                   a duration with a unit belongs into \"period\"";
    assert_eq!(Config::from_yaml(text).unwrap_err().to_string(), format!("1:61: {message}"));
}

/// The first of several names for the span counts.
#[test]
fn period_precedes_period_ms_precedes_window_ms() {
    let read = |fields: &str| {
        let text = format!("limiters: {{ a: {{ strategy: gcra, limit: 1, {fields} }} }}");
        match Config::from_yaml(&text).unwrap().limiters[0].strategy {
            Some(StrategySpec::Gcra { period_ms, .. }) => period_ms,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("windowMs: 3, periodMs: 2, period: 1"), 1.0);
    assert_eq!(read("windowMs: 3, periodMs: 2"), 2.0);
    assert_eq!(read("windowMs: 3"), 3.0);
    assert_eq!(read("windowMs: 3, period: null"), 3.0);
}

#[test]
fn scalars_follow_the_core_schema() {
    let limit = |text: &str| {
        let text = format!("limiters: {{ a: {{ strategy: fixedWindow, limit: {text}, period: 1s }} }}");
        match Config::from_yaml(&text).map_err(|errors| errors.to_string())?.limiters[0].strategy {
            Some(StrategySpec::FixedWindow { limit, .. }) => Ok(limit),
            ref other => panic!("{other:?}"),
        }
    };
    for (text, value) in
        [("007", 7.0), ("1E3", 1_000.0), ("+2", 2.0), (".5", 0.5), ("2.", 2.0), ("0x10", 16.0), ("0o17", 15.0)]
    {
        assert_eq!(limit(text), Ok(value), "{text}");
    }
    for (text, found) in [(".inf", "inf"), ("-.inf", "-inf"), (".nan", "NaN"), ("1e999", "inf")] {
        let expected = format!("1:48: config.limiters[a].limit: must be a finite number (found {found})");
        assert_eq!(limit(text), Err(expected));
    }
    for text in ["inf", "nan", "infinity", "1_000", "1,000", "ten", "0x", "0x+10", "0o+7", "1e", "'1'", "~"] {
        assert!(limit(text).is_err(), "{text}");
    }
    let quoted = limit("'1'").unwrap_err();
    assert!(quoted.ends_with("expected a number, found the text \"1\"; write it without quotes"), "{quoted}");
}

#[test]
fn quotes_and_comments_are_those_of_yaml() {
    let prefix = |text: &str| {
        let text = format!("defaults:\n  prefix: {text}\nlimiters: {{}}");
        Config::from_yaml(&text).unwrap().default_prefix
    };
    for text in ["\"a #b\"", "'a #b'", "\"a \\u0023b\" # note"] {
        assert_eq!(prefix(text).as_deref(), Some("a #b"), "{text}");
    }
    assert_eq!(prefix("bare # note").as_deref(), Some("bare"));
    assert_eq!(prefix("\"x,y\"").as_deref(), Some("x,y"));
    assert_eq!(prefix("|-\n    block").as_deref(), Some("block"));
    assert_eq!(prefix("~"), None);
}

#[test]
fn names_that_look_like_something_else_are_names() {
    let text =
        "limiters:\n  true: { strategy: gcra, limit: 1, period: 1s }\n  12: { strategy: gcra, limit: 1, period: 1s }";
    let config = Config::from_yaml(text).unwrap();
    let names: Vec<_> = config.limiters.iter().map(|limiter| limiter.name.as_str()).collect();
    assert_eq!(names, ["true", "12"]);
}

#[test]
fn prefixes_are_namespaces() {
    let prefixes = |head: &str| {
        let text = format!(
            "{head}\nlimiters:\n  a: {{ strategy: fixedWindow, limit: 1, period: 1m }}\n  \
             b: {{ strategy: fixedWindow, limit: 1, period: 1m }}\n  \
             c: {{ strategy: fixedWindow, limit: 1, period: 1m, prefix: own }}"
        );
        let config = Config::from_yaml(&text).unwrap();
        config.limiters.iter().map(|limiter| config.effective_prefix(limiter)).collect::<Vec<_>>()
    };
    assert_eq!(prefixes(""), ["a", "b", "own"]);
    assert_eq!(prefixes("defaults: { prefix: tk }"), ["tk:a", "tk:b", "own"]);
    assert_eq!(prefixes("defaults: { prefix: '' }"), ["a", "b", "own"]);
    assert_eq!(
        prefixes("defaults: { prefix: tk }\ncompat: { sharedDefaultsPrefix: true }"),
        ["tk", "tk", "own"],
        "as the Node releases store them"
    );
}

#[test]
fn formats_are_told_by_name_or_text() {
    assert_eq!(Format::of_path("a/b.YAML"), Some(Format::Yaml));
    assert_eq!(Format::of_path("b.yml"), Some(Format::Yaml));
    assert_eq!(Format::of_path("b.json"), Some(Format::Json));
    assert_eq!(Format::of_path(".throttle.toml"), Some(Format::Toml));
    assert_eq!(Format::of_path("yaml"), None);
    assert_eq!(Format::of_path("b.yaml.bak"), None);
    assert_eq!(Format::of_text("\u{feff}\n\t {"), Format::Json);
    assert_eq!(Format::of_text("[]"), Format::Yaml);
    assert_eq!(Format::of_text(""), Format::Yaml);
}

#[test]
fn an_empty_map_of_limiters_is_fine_and_a_missing_one_is_not() {
    assert_eq!(Config::from_yaml("limiters: {}").unwrap(), Config::default());
    assert_eq!(Config::from_json("{\"limiters\": {}}").unwrap(), Config::default());
    assert_eq!(Config::from_toml("[limiters]").unwrap(), Config::default());
    for text in ["", "# only a comment", "limiters:", "limiters: ~", "version: 1", "null", "---"] {
        let errors = Config::from_yaml(text).unwrap_err();
        assert_eq!(errors.problems().len(), 1, "{errors}");
        assert_eq!(errors.problems()[0].path, "config.limiters");
        assert!(errors.problems()[0].message.starts_with("required"), "{errors}");
    }
}

#[test]
fn limiters_that_are_no_map_are_said_to_be_missing_as_one() {
    for (text, found) in [
        ("limiters: []", "a list"),
        ("limiters: [{ strategy: gcra, limit: 1, period: 1s }]", "a list"),
        ("limiters: nonsense", "the text \"nonsense\""),
        ("limiters: 5", "the number 5"),
        ("limiters: true", "true"),
    ] {
        let errors = Config::from_yaml(text).unwrap_err();
        let problem = format!("1:11: config.limiters: expected a map from names to limiters, found {found}");
        assert_eq!(errors.to_string(), problem, "{text}");
    }
}

#[test]
fn a_text_of_a_mebibyte_is_read_and_a_longer_one_is_not() {
    let text = |bytes: usize| format!("limiters: {{}}\n{}", "#".repeat(bytes - 13));
    assert!(Config::from_yaml(&text(MAX_CONFIG_BYTES)).is_ok());
    let errors = Config::from_yaml(&text(MAX_CONFIG_BYTES + 1)).unwrap_err();
    assert_eq!(errors.to_string(), "config: too large, at most 1048576 bytes are read");
}

#[test]
fn limiters_say_what_they_count() {
    let text = "limiters:
  a: { strategy: fixedWindow, limit: 1, period: 1s }
  b: { tokenBudget: { budget: 10, windowMs: 1000 } }
  c: { fleetBudget: { budget: 10, windowMs: 1000 } }
  d: { concurrency: { limit: 1 } }
http: { defaults: { headers: openai }, rules: [{ path: /, policies: [a, d] }, { path: /c, policy: c, headers: [draft, openai] }] }";
    let config = Config::from_yaml(text).unwrap();
    let units: Vec<_> = config.limiters.iter().map(LimiterSpec::unit).collect();
    assert_eq!(units, [Unit::Requests, Unit::Tokens, Unit::Tokens, Unit::Slots]);
    assert_eq!(config.http.rules[0].headers, HeaderSet::from(HeaderFamily::OpenAi));
    assert_eq!(config.http.rules[1].headers, HeaderSet::from_iter([HeaderFamily::Draft, HeaderFamily::OpenAi]));
}
