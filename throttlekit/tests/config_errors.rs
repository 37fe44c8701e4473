//! What is said about a configuration that is wrong: everything at once, each with its place.
#![cfg(feature = "config")]

use throttlekit::config::{Config, Format, HttpRule, KeySource, LimiterSpec, Position, QuotaPeriod, StrategySpec};

fn errors(text: &str, format: Format) -> String {
    Config::parse(text, format).unwrap_err().to_string()
}

fn assert_lines(text: &str, format: Format, expected: &[&str]) {
    let errors = errors(text, format);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines, expected, "\n{errors}");
}

/// One limiter with these fields, in one line of YAML.
fn limiter(fields: &str) -> String {
    format!("limiters: {{ x: {{ {fields} }} }}")
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
    twoTier: { mode: leased }
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
            r#"3:1: config.stores: this build does not know the block "stores""#,
            "5:33: config.limiters[api].limit: must be a finite number above 0 (found -1)",
            r#"5:45: config.limiters[api].period: "5 M" is not a duration: write a number of milliseconds, or a number with ms, s, m, h or d, such as 30s, 1m or 1h"#,
            r#"5:50: config.limiters[api].burts: unknown field, did you mean "burst"?"#,
            r#"7:15: config.limiters[up].strategy: unknown strategy "fixedwindow", did you mean "fixedWindow"?"#,
            "9:5: config.limiters[up].nonsens: unknown field, known are limit, period, periodMs, windowMs, burst, exact, capacity, refillPerSec, buckets, resetCadence, offsetMinutes, weekStartsOn, anchor, strategy, prefix, maxKeys",
            r#"10:5: config.limiters[up].twoTier: this build does not know the block "twoTier""#,
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
            r#"29:29: config.http.rules[5].headers: unknown header family "none", known are draft, structured, legacy"#,
            "31:15: config.http.rules[7].path: POST of /c already has a rule",
            r#"31:47: config.http.rules[7].polcy: unknown field, did you mean "policy"?"#,
            r#"32:15: config.http.rules[8].path: no valid pattern: parameters must be registered with a valid name (found "/{")"#,
            "32:32: config.http.rules[8].key: give either header or constant",
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
            r#"3:62: config.limiters[é].ürst: unknown field, known are prefix, maxKeys, strategy, limit, period, periodMs, windowMs, exact, burst"#,
            r#"4:61: config.limiters[b].resetCadence: unknown cadence "weekly", known are calendar-month, calendar-week, calendar-day, fixed, rolling"#,
            "4:71: config.limiters[b].limit: given twice, first at line 4, column 33",
            "5:5: config.limiters[c].period: required: a duration such as 30s or 1m",
            "6:70: config.http.rules[1].path: all methods of /x already has a rule",
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
            "7:1: config.limiters[a].offsetMinutes: not used by this strategy, only by: quota (calendar-month, calendar-week, calendar-day)",
            r"9:11: config.limiters[b\n]: the name must not contain control characters",
            r#"9:11: config.limiters[b\n].prefix: the prefix must not contain control characters (found "b\n")"#,
            r"11:9: config.limiters[b\n].limit: must be at most 100000 (found 100001)",
            "17:8: config.http.rules[0].cost: must be a number above 0 and at most 9007199254740991 (found 10000000000000000)",
        ],
    );
    let syntax = errors("a = \n[b\nc = 1\nc = 2", Format::Toml);
    assert!(syntax.lines().count() > 1 && syntax.starts_with("1:5: config: "), "all at once: {syntax}");
}
