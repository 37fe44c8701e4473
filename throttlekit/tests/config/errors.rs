//! What is said about a configuration that is wrong: everything at once, each with its place.

use throttlekit::config::{
    Config, Format, HttpRule, KeySource, LimiterSpec, Position, Problem, QuotaPeriod, StrategySpec,
};

pub(super) fn errors(text: &str, format: Format) -> String {
    Config::parse(text, format).unwrap_err().to_string()
}

pub(super) fn assert_lines(text: &str, format: Format, expected: &[&str]) {
    let errors = errors(text, format);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines, expected, "\n{errors}");
}

/// One limiter with these fields, in one line of YAML.
pub(super) fn limiter(fields: &str) -> String {
    format!("limiters: {{ x: {{ {fields} }} }}")
}

/// What is wrong with a limiter that has these fields: paths below its own, sorted, each with its place.
pub(super) fn paths(fields: &str) -> Vec<String> {
    let errors = Config::from_yaml(&limiter(fields)).unwrap_err();
    let below = |problem: &Problem| {
        assert!(problem.position.is_some(), "{problem}");
        problem.path.strip_prefix("config.limiters[x].").unwrap().to_owned()
    };
    let mut paths: Vec<_> = errors.problems().iter().map(below).collect();
    paths.sort();
    paths
}

#[test]
fn a_field_that_nobody_knows_does_not_hide_a_value_that_is_out_of_range() {
    const GCRA: &str = "strategy: gcra, limit: 5, period: 1s";
    for (fields, value) in [
        ("strategy: gcra, limit: 5e-324, period: 1m, burst: 1, xx: 1".to_owned(), "limit"),
        (
            format!(
                "{GCRA}, xx: 1, maxKeys: 5, failMode: {{ local: {{ share: 1, xx: 1 }} }}, buckets: 3, prefix: \"a\\n\""
            ),
            "prefix",
        ),
        ("sketch: { limit: 5, windowMs: -1, xx: 1 }".to_owned(), "sketch.windowMs"),
        ("sketch: { limit: 5, windowMs: -1 }, strategy: gcra, xx: 1".to_owned(), "sketch.windowMs"),
        (format!("{GCRA}, screen: {{ epsilon: 2, xx: 1 }}"), "screen.epsilon"),
        (format!("{GCRA}, denyList: {{ ttlMs: -1, xx: 1 }}"), "denyList.ttlMs"),
        (format!("{GCRA}, twoTier: {{ batch: 0, xx: 1 }}"), "twoTier.batch"),
        (
            format!("{GCRA}, twoTier: {{ adaptive: {{ orderCost: -1, strandPenalty: 1, xx: 1 }} }}"),
            "twoTier.adaptive.orderCost",
        ),
        ("tokenBudget: { budget: -1, windowMs: 1, xx: 1 }".to_owned(), "tokenBudget.budget"),
        ("fleetBudget: { budget: 5, windowMs: 9, leased: { batch: 0, xx: 1 } }".to_owned(), "fleetBudget.leased.batch"),
        ("fairEscrow: { limit: -1, windowMs: 1, xx: 1 }".to_owned(), "fairEscrow.limit"),
        ("concurrency: { minLimit: 0, xx: 1 }".to_owned(), "concurrency.minLimit"),
        (
            "concurrency: { limit: 5, queue: { max: 1, timeoutMs: -1, xx: 1 } }".to_owned(),
            "concurrency.queue.timeoutMs",
        ),
    ] {
        let found = paths(&fields);
        assert!(found.iter().any(|path| path == value), "{fields}: {found:?}");
        assert!(found.iter().any(|path| path.ends_with("xx")), "{fields}: {found:?}");
    }
}

#[test]
fn a_value_that_could_not_be_read_does_not_make_others_wrong() {
    for (fields, value) in [
        ("concurrency: { minLimit: x, maxLimit: 2 }", "concurrency.minLimit"),
        ("strategy: quota, limit: 5, resetCadence: monthly, offsetMinutes: 60, period: 1h", "resetCadence"),
        ("strategy: quota, limit: 5, resetCadence: 5, anchor: 60, periodMs: 1, buckets: 4", "resetCadence"),
    ] {
        assert_eq!(paths(fields), [value], "{fields}");
    }
}

#[test]
fn everything_is_reported_at_once() {
    let text = r#"version: 2
defaults: { prefx: tk }
stores: { main: redis }
limiters:
  api: { strategy: gcra, limit: -1, period: 5 M, burts: 5 }
  up:
    strategy: fixedwindow
    limit: "10"
    nonsens: 1
    federated: { mode: leased }
  bucket:
    strategy: tokenBucket
    capacity: 1e300
    refillPerSec: yes
    period: 1m
  tiny: { strategy: gcra, limit: 5e-324, period: 1m, burst: 1 }
  quick: { strategy: gcra, limit: 1000000, windowMs: 1000 }
  api: { strategy: gcra }
  none:
  b: { strategy: gcra, limit: 1, period: 1s, prefix: "quick:y", maxKeys: 0 }
http:
  defaults: { headers: drafts }
  rules:
    - { path: api, policy: apo }
    - { path: /a/:id, policies: [api, b, b, 5], methods: [get, PUT, GTE, PUT] }
    - { path: "/b/{x}", policy: b, key: { header: "X Y" } }
    - { path: "/b/{y}", policy: b, key: { hedaer: x }, cost: 0, failMode: opne, missing: 5 }
    - 7
    - { policy: b, headers: [draft, none] }
    - { path: /c, methods: [GET, POST], policy: b }
    - { path: /c, methods: [POST], policy: b, polcy: b }
    - { path: "/{", policy: b, key: {} }
    - { path: /d, policies: [], policy: [b], options: 1 }
"#;
    assert_lines(
        text,
        Format::Yaml,
        &[
            "1:10: config.version: must be 1 (found the number 2)",
            r#"2:13: config.defaults.prefx: unknown field, did you mean "prefix"?"#,
            r#"3:1: config.stores: the policy needs the server: this build does not run "stores""#,
            "5:33: config.limiters[api].limit: must be a finite number above 0 (found -1)",
            r#"5:45: config.limiters[api].period: "5 M" is not a duration: write a number of milliseconds, or a number with ms, s, m, h or d, such as 30s, 1m or 1h"#,
            r#"5:50: config.limiters[api].burts: unknown field, did you mean "burst"?"#,
            r#"7:15: config.limiters[up].strategy: unknown strategy "fixedwindow", did you mean "fixedWindow"?"#,
            "9:5: config.limiters[up].nonsens: unknown field, known are limit, period, periodMs, windowMs, burst, exact, capacity, refillPerSec, buckets, resetCadence, offsetMinutes, weekStartsOn, anchor, strategy, prefix, maxKeys, failMode, tokenBudget, fleetBudget, fairEscrow, ...",
            r#"10:5: config.limiters[up].federated: the policy needs the server: this build does not run "federated""#,
            "13:15: config.limiters[bucket].capacity: must be at most 9007199254740991 (found 1e300)",
            r#"14:19: config.limiters[bucket].refillPerSec: expected a number, found the text "yes""#,
            "15:5: config.limiters[bucket].period: not used by this strategy, only by: gcra, fixedWindow, slidingWindow, slidingWindowLog, quota (fixed, rolling)",
            "16:34: config.limiters[tiny].limit: must be at least periodMs / 9007199254740991 (found 5e-324)",
            "17:35: config.limiters[quick].limit: must leave at least 0.01 ms to a unit (periodMs / limit); for higher rates use `exact: true` or a token bucket (found 1000000)",
            "18:3: config.limiters[api]: given twice, first at line 5, column 3",
            "19:7: config.limiters[none]: expected a map, found nothing",
            "20:74: config.limiters[b].maxKeys: must be a whole number from 1 to 4294967296 (found 0)",
            r#"22:24: config.http.defaults.headers: unknown header family "drafts", did you mean "draft"?"#,
            r#"24:15: config.http.rules[0].path: must start with / (found "api")"#,
            r#"24:28: config.http.rules[0].policy: there is no limiter "apo", did you mean "api"?"#,
            r#"25:15: config.http.rules[1].path: a parameter is written {id}, not :id (found "/a/:id")"#,
            r#"25:42: config.http.rules[1].policies[2]: "b" is given twice"#,
            "25:45: config.http.rules[1].policies[3]: expected a text, found the number 5; a text that looks like something else needs quotes",
            r#"25:59: config.http.rules[1].methods[0]: unknown method "get", did you mean "GET"?"#,
            r#"25:69: config.http.rules[1].methods[2]: unknown method "GTE", did you mean "GET"?"#,
            "25:74: config.http.rules[1].methods[3]: PUT is given twice",
            r#"26:51: config.http.rules[2].key.header: "x y" is not the name of a header field in lower case"#,
            "27:15: config.http.rules[3].path: matches the same requests as the rule for /b/{x}",
            r#"27:43: config.http.rules[3].key.hedaer: unknown field, did you mean "header"?"#,
            "27:62: config.http.rules[3].cost: must be a finite number above 0 (found 0)",
            r#"27:75: config.http.rules[3].failMode: unknown fail mode "opne", did you mean "open"?"#,
            "27:90: config.http.rules[3].missing: expected a text, found the number 5; a text that looks like something else needs quotes",
            "28:7: config.http.rules[4]: expected a map, found the number 7",
            "29:7: config.http.rules[5].path: required",
            r#"29:29: config.http.rules[5].headers: unknown header family "none", known are draft, structured, legacy, openai"#,
            "31:15: config.http.rules[7].path: there is a rule for POST of /c already, config.http.rules[6]",
            r#"31:47: config.http.rules[7].polcy: unknown field, did you mean "policy"?"#,
            r#"32:15: config.http.rules[8].path: no valid pattern: parameters must be registered with a valid name (found "/{")"#,
            "32:32: config.http.rules[8].key: give one of header, query, cookie, pathParam, claim, constant, apiKey and all",
            "33:19: config.http.rules[9].policies: give either policy or policies, not both",
            "33:41: config.http.rules[9].policy: expected a text, found a list",
            "33:55: config.http.rules[9].options: expected true or false, found the number 1",
        ],
    );
}

#[test]
fn json_has_the_same_places() {
    let text = r#"{
  "limiters": {
    "é": { "strategy": "gcra", "limit": "5", "period": "1m", "ürst": 1 },
    "b": { "strategy": "quota", "limit": 1, "resetCadence": "weekly", "limit": 2 },
    "c": { "strategy": "fixedWindow", "limit": 1 }
  }, "http": { "rules": [ { "path": "/x", "policy": "é" }, { "path": "/x", "policy": "d" } ] }
}"#;
    assert_lines(
        text,
        Format::Json,
        &[
            r#"3:41: config.limiters[é].limit: expected a number, found the text "5"; write it without quotes"#,
            "3:62: config.limiters[é].ürst: unknown field, known are denyList, advertise, prefix, maxKeys, failMode, concurrency, twoTier, screen, strategy, limit, period, periodMs, windowMs, exact, burst",
            r#"4:61: config.limiters[b].resetCadence: unknown cadence "weekly", known are calendar-month, calendar-week, calendar-day, fixed, rolling"#,
            "4:71: config.limiters[b].limit: given twice, first at line 4, column 33",
            "5:5: config.limiters[c].period: required: a duration such as 30s or 1m",
            "6:70: config.http.rules[1].path: there is a rule for all methods of /x already, config.http.rules[0]",
            r#"6:86: config.http.rules[1].policy: there is no limiter "d", known are é, b, c"#,
        ],
    );
}

#[test]
fn toml_has_the_same_places() {
    let text = r#"
[limiters.a]
strategy = "slidingWindow"
limit = 5
period = 1979-05-27T07:32:00Z
buckets = 2000
offsetMinutes = 30

[limiters."b\n"]
strategy = "slidingWindowLog"
limit = 100_001
windowMs = 1000

[[http.rules]]
path = "/{*rest}"
policy = "a"
cost = inf_
"#;
    assert_lines(
        &text.replace("cost = inf_\n", "cost = 1e16\n"),
        Format::Toml,
        &[
            "5:10: config.limiters[a].period: expected a duration such as 30s or 1m, or a number of milliseconds, found a date or time",
            "6:11: config.limiters[a].buckets: must be a whole number from 1 to 1000 (found 2000)",
            "7:1: config.limiters[a].offsetMinutes: not used by this strategy, only by: quota (calendar-month, calendar-week, calendar-day)",
            r"9:11: config.limiters[b\n]: the name must not contain control characters",
            r"11:9: config.limiters[b\n].limit: must be at most 100000 (found 100001)",
            "17:8: config.http.rules[0].cost: must be a number above 0 and at most 9007199254740991 (found 10000000000000000)",
        ],
    );
    let syntax = errors("a = \n[b\nc = 1\nc = 2", Format::Toml);
    assert!(syntax.lines().count() > 1 && syntax.starts_with("1:5: config: "), "all at once: {syntax}");
}

#[test]
fn yaml_that_does_not_parse_says_where() {
    for (text, expected) in [
        ("x: &a 1\ny: *a", "1:4: config: anchors (`&name`) are not supported; a text that starts with & needs quotes"),
        ("x: *a", "1:4: config: aliases (`*name`) are not supported; a text that starts with * needs quotes"),
        ("x: !!str 5", "1:4: config: tags (`!name`) are not supported; a text that starts with ! needs quotes"),
        ("a: 1\n---\nb: 2", "2:1: config: a second document is not supported"),
        ("a:\n\t- b", "2:2: config: tabs disallowed within this context (block indentation)"),
        ("? [a, b] : c", "1:3: config: a key must be a text, not a list or a map"),
        ("*a : c", "1:1: config: aliases (`*name`) are not supported; a text that starts with * needs quotes"),
        ("a: b: c", "1:5: config: mapping values are not allowed in this context"),
        ("a: 1\n   b: 2", "2:5: config: mapping values are not allowed in this context"),
        ("a:\n    b: 1\n  c: 2", "3:3: config: while parsing a block mapping, did not find expected key"),
        ("- x: 3", "1:1: config: expected a map at the top level, found a list"),
        (
            "limiters: {}\nhttp: { rules: [{ path: /, policies: a }] }",
            "2:38: config.http.rules[0].policies: expected a list, found the text \"a\"; put it in brackets",
        ),
        (
            "limiters:\n  a:\n    limit:5",
            "3:5: config.limiters[a]: expected a map, found the text \"limit:5\"; a field is written with a space behind its colon",
        ),
        (
            "limiters:\n  a: { limit: 5",
            "2:16: config: while parsing a flow mapping, did not find expected ',' or '}'; between { and } a text with \
             braces needs quotes",
        ),
        (
            "limiters: { a: { strategy: gcra, limit: 1, period: 1s } }\nhttp: { rules: [{ path: /, policy: a, costs: { a: 0, b: 1 } }] }",
            "2:51: config.http.rules[0].costs.a: must be a finite number above 0 (found 0)\n\
             2:57: config.http.rules[0].costs.b: there is no policy \"b\" here, known are a",
        ),
        ("missing-colon", "1:1: config: expected a map at the top level, found the text \"missing-colon\""),
        (
            "http:\n  rules:\n  - { path: /a/{id}, policy: a }",
            "3:16: config: while parsing a flow mapping, did not find expected ',' or '}'; between { and } a text with \
             braces needs quotes",
        ),
    ] {
        assert_eq!(errors(text, Format::Yaml), expected, "{text:?}");
        assert_eq!(errors(&text.replace('\n', "\r\n"), Format::Yaml), expected, "{text:?} with CRLF");
    }
}

#[test]
fn json_is_strict() {
    for (text, expected) in [
        ("", "1:1: config: EOF while parsing a value"),
        ("{\"limiters\": {},}", "1:17: config: key must be a string"),
        ("{\"limiters\": {}} {}", "1:18: config: trailing characters"),
        ("{limiters: {}}", "1:2: config: key must be a string"),
        ("// note\n{}", "1:1: config: expected value"),
        ("{\"limiters\":\n {\"é\": 1e999}}", "2:8: config.limiters[é]: expected a map, found the number inf"),
        ("{\"limiters\":\n {\"é\": \"\\ud800\"}}", "2:8: config: unexpected end of hex escape"),
        ("{\"a\": 01}", "1:8: config: invalid number"),
        ("[]", "1:1: config: expected a map at the top level, found a list"),
    ] {
        assert_eq!(errors(text, Format::Json), expected, "{text:?}");
    }
}

#[test]
fn names_that_appear_twice_are_refused_in_every_format() {
    let yaml =
        "limiters:\n  a: { strategy: gcra, limit: 1, period: 1s }\n  a: { strategy: gcra, limit: 1, period: 1s }";
    assert_eq!(errors(yaml, Format::Yaml), "3:3: config.limiters[a]: given twice, first at line 2, column 3");
    let json = r#"{"limiters": {"a": {"strategy": "gcra", "limit": 1, "period": 1}, "\u0061": {}}}"#;
    assert_eq!(errors(json, Format::Json), "1:67: config.limiters[a]: given twice, first at line 1, column 15");
    let toml = "[limiters.a]\nstrategy = 'gcra'\nlimit = 1\nperiod = 1\n[limiters.a]";
    assert_eq!(errors(toml, Format::Toml), "5:11: config: duplicate key");
    let top = "limiters: {}\nlimiters: {}";
    assert_eq!(errors(top, Format::Yaml), "2:1: config.limiters: given twice, first at line 1, column 1");
}

#[test]
fn fields_of_other_strategies_are_no_typos() {
    let text = errors(&limiter("strategy: fixedWindow, limit: 1, period: 1s, burst: 2, weekStartsOn: 1"), Format::Yaml);
    assert_eq!(
        text,
        "1:63: config.limiters[x].burst: not used by this strategy, only by: gcra\n\
         1:73: config.limiters[x].weekStartsOn: not used by this strategy, only by: quota (calendar-week)"
    );
    for block in ["federatedFairEscrow", "distributedConcurrency", "federated"] {
        let text = errors(&limiter(&format!("strategy: gcra, limit: 1, period: 1s, {block}: {{}}")), Format::Yaml);
        assert_eq!(
            text,
            format!(
                "1:56: config.limiters[x].{block}: the policy needs the server: this build does not run \"{block}\""
            )
        );
    }
}

#[test]
fn prefixes_must_not_meet() {
    let limiters = |prefixes: &[Option<&str>]| {
        let lines = prefixes.iter().enumerate().map(|(n, prefix)| {
            let prefix = prefix.map_or(String::new(), |prefix| format!(", prefix: '{prefix}'"));
            format!("  l{n}: {{ strategy: fixedWindow, limit: 1, period: 1s{prefix} }}\n")
        });
        format!("limiters:\n{}", lines.collect::<String>())
    };
    for good in [&[Some("tk"), Some("tkb")][..], &[Some("")], &[Some("a:b"), Some("a:c")], &[None, Some("l")]] {
        assert!(Config::from_yaml(&limiters(good)).is_ok(), "{good:?}");
    }
    for bad in [
        &[Some("tk"), Some("tk")][..],
        &[Some("tk"), Some("tk:api")],
        &[Some("tk:api"), Some("tk")],
        &[Some("l1"), None],
        &[Some(""), None],
        &[None, Some("")],
    ] {
        let text = errors(&limiters(bad), Format::Yaml);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("3:") && text.contains("config.limiters[l1]"), "{bad:?}\n{text}");
    }
    let namespace = format!("defaults: {{ prefix: tk }}\n{}", limiters(&[None, Some("tk:l0")]));
    assert_eq!(
        errors(&namespace, Format::Yaml),
        "4:62: config.limiters[l1].prefix: the prefix \"tk:l0\" of the stored keys collides with \"tk:l0\" of limiter \
         \"l0\": one must not equal the other or continue it with a colon, and an empty one must be alone"
    );
    let unclean = format!("defaults: {{ prefix: \"t\\n\" }}\n{}", limiters(&[None, None, Some("x")]));
    assert_eq!(
        errors(&unclean, Format::Yaml),
        r#"1:21: config.defaults.prefix: the prefix must not contain control characters (found "t\n")"#,
        "once, and not for each limiter"
    );
    let shared = format!(
        "defaults: {{ prefix: tk }}\ncompat: {{ sharedDefaultsPrefix: true }}\n{}",
        limiters(&[None, None, Some("tk:x")])
    );
    assert!(errors(&shared, Format::Yaml).starts_with("6:62: config.limiters[l2].prefix: "));
    let nameless = |prefixes: &[Option<&str>]| {
        format!("defaults: {{ prefix: '' }}\ncompat: {{ sharedDefaultsPrefix: true }}\n{}", limiters(prefixes))
    };
    assert!(Config::from_yaml(&nameless(&[None])).is_ok());
    let text = errors(&nameless(&[None, None]), Format::Yaml);
    assert!(text.starts_with("5:3: config.limiters[l1].prefix: the prefix \"\" of the stored keys collides"), "{text}");
}

#[test]
fn a_default_prefix_that_is_shared_is_there() {
    let text = |defaults: &str| format!("{defaults}compat: {{ sharedDefaultsPrefix: true }}\nlimiters: {{}}");
    assert_eq!(
        errors(&text(""), Format::Yaml),
        "1:33: config.compat.sharedDefaultsPrefix: must be false without `defaults.prefix`, which limiters would share \
         (found true)"
    );
    assert!(Config::from_yaml(&text("defaults: { prefix: tk }\n")).is_ok());
    let wrong = errors(&text("defaults: { prefix: 5 }\n"), Format::Yaml);
    assert!(wrong.starts_with("1:21: config.defaults.prefix: expected a text") && !wrong.contains('\n'), "{wrong}");
}

#[test]
fn policies_of_a_rule_do_not_share_a_record() {
    let text = |store: &str, compat: bool, rule: &str| {
        format!(
            "store: {store}\ndefaults: {{ prefix: tk }}\ncompat: {{ sharedDefaultsPrefix: {compat} }}\nlimiters:\n  \
             a: {{ strategy: fixedWindow, limit: 1, period: 1m }}\n  \
             b: {{ strategy: gcra, limit: 1, period: 1m }}\n  \
             exact: {{ strategy: gcra, limit: 1, period: 1m, exact: true }}\n  \
             own: {{ strategy: gcra, limit: 1, period: 1m, prefix: own }}\n  \
             fleet: {{ fleetBudget: {{ budget: 5, windowMs: 1 }} }}\n  \
             process: {{ tokenBudget: {{ budget: 5, windowMs: 1 }} }}\n\
             http:\n  rules:\n    - {{ path: /, {rule} }}\n"
        )
    };
    let redis = "{ redis: { url: redis://cache } }";
    let refused = |one: &str, other: &str| {
        format!(
            "the {one} and the {other} could keep keys under one name in the store, since both have the default prefix and \
             `sharedDefaultsPrefix` is true: give one of them a prefix, or a rule of its own"
        )
    };
    for (rule, path, message) in [
        ("policies: [a, b]", "13:32: config.http.rules[0].policies[1]", refused("gcra \"b\"", "fixedWindow \"a\"")),
        (
            "policies: [own, fleet, b]",
            "13:41: config.http.rules[0].policies[2]",
            refused("gcra \"b\"", "fleetBudget \"fleet\""),
        ),
        (
            "policy: a, plans: { from: { claim: plan }, table: { pro: { policies: [a, b] } } }",
            "13:91: config.http.rules[0].plans.table.pro.policies[1]",
            refused("gcra \"b\"", "fixedWindow \"a\""),
        ),
        // `exact:k` is a key that a client may have.
        ("policies: [exact, b]", "13:36: config.http.rules[0].policies[1]", refused("gcra \"b\"", "gcra \"exact\"")),
    ] {
        assert_eq!(errors(&text(redis, true, rule), Format::Yaml), format!("{path}: {message}"), "{rule}");
        Config::from_yaml(&text(redis, false, rule)).unwrap();
        Config::from_yaml(&text("memory", true, rule)).unwrap();
    }
    Config::from_yaml(&text(redis, true, "policies: [exact, own, process]")).unwrap();
}

#[test]
fn a_configuration_made_in_code_is_checked_too() {
    let mut config = Config::default();
    let window = StrategySpec::FixedWindow { limit: 1.0, window_ms: 1_000.0 };
    config.limiters.push(LimiterSpec::new("a", window));
    config.limiters.push(LimiterSpec::new("a", window));
    config.limiters.push(LimiterSpec::new("n".repeat(300), window));
    config
        .limiters
        .push(LimiterSpec::new("g", StrategySpec::Gcra { limit: f64::NAN, period_ms: 1.0, burst: 1.0, exact: false }));
    let period = QuotaPeriod::CalendarWeek { offset_minutes: 0, week_starts_on: 9 };
    config.limiters.push(LimiterSpec::new("q", StrategySpec::Quota { limit: 1.0, period }));
    config.limiters[4].max_keys = 0;
    let bucket = StrategySpec::TokenBucket { capacity: 1e300, refill_per_sec: -0.5 };
    config.limiters.push(LimiterSpec::new("b", bucket));
    let mut rule = HttpRule::new("/", [""; 0]);
    rule.key = KeySource::Constant(String::new());
    rule.cost = f64::NAN;
    config.http.rules.push(rule);

    let errors = config.check().unwrap_err();
    assert!(errors.problems().iter().all(|problem| problem.position.is_none()));
    assert!(errors.problems().iter().all(|problem| problem.code() == "config_invalid"));
    let long = format!("{}...", "n".repeat(60));
    let expected = [
        "config.limiters[a]: there is another limiter of this name".to_owned(),
        format!("config.limiters[{long}]: the name must have at most 256 bytes"),
        "config.limiters[g].limit: must be a finite number above 0 (found NaN)".to_owned(),
        "config.limiters[q].maxKeys: must be a whole number from 1 to 4294967296 (found 0)".to_owned(),
        "config.limiters[q].weekStartsOn: must be from 0 (Sunday) to 6 (Saturday) (found 9)".to_owned(),
        "config.limiters[b].capacity: must be at most 9007199254740991 (found 1e300)".to_owned(),
        "config.limiters[b].refillPerSec: must be a finite number above 0 (found -0.5)".to_owned(),
        "config.http.rules[0].key.constant: must not be empty".to_owned(),
        "config.http.rules[0].policies: at least one policy is required".to_owned(),
        "config.http.rules[0].cost: must be a number above 0 and at most 9007199254740991 (found NaN)".to_owned(),
    ];
    let text = errors.to_string();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn errors_are_data() {
    let errors = Config::from_yaml("limiters: { a: 5 }").unwrap_err();
    assert_eq!((errors.code(), errors.file(), errors.problems().len()), ("config_invalid", None, 1));
    let problem = &errors.problems()[0];
    let Position { line, column, .. } = problem.position.unwrap();
    assert_eq!((line, column), (1, 16));
    assert_eq!(problem.path, "config.limiters[a]");
    assert_eq!(problem.message, "expected a map, found the number 5");
}
