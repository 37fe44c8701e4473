//! Header fields of a decision: the numbers, the families, the names.

use proptest::prelude::*;
use sfv::{BareItem, List, ListEntry, Parser};
use throttlekit::headers::{Field, FieldValue, HeaderFamily, HeaderSet, Headers, Unit};
use throttlekit::{Decision, MAX_SAFE};

const ALLOWED: Decision = Decision { allowed: true, limit: 100, remaining: 50, reset_at_ms: 30_000, retry_after_ms: 0 };
const DENIED: Decision =
    Decision { allowed: false, limit: 100, remaining: 0, reset_at_ms: 30_000, retry_after_ms: 2_400 };

fn lines(headers: &Headers, decision: Decision, now_ms: f64) -> Vec<String> {
    let mut lines = Vec::new();
    headers.for_each(&decision, now_ms, |field, value| lines.push(format!("{field}: {value}")));
    lines
}

fn all_families() -> HeaderSet {
    HeaderFamily::ALL.into_iter().collect()
}

#[test]
fn the_default_is_the_draft_family() {
    assert_eq!(
        lines(&Headers::default(), ALLOWED, 0.0),
        ["RateLimit-Limit: 100", "RateLimit-Remaining: 50", "RateLimit-Reset: 30"]
    );
}

#[test]
fn reset_is_a_span_rounded_up_and_never_negative() {
    for (now_ms, reset) in [(10_000.0, "20"), (40_000.0, "0"), (28_500.0, "2"), (29_999.0, "1"), (30_000.0, "0")] {
        let shown = lines(&Headers::default(), ALLOWED, now_ms);
        assert_eq!(shown[2], format!("RateLimit-Reset: {reset}"), "at {now_ms}");
    }
}

#[test]
fn structured_fields_carry_the_name_and_the_window() {
    let headers = Headers::new(HeaderFamily::Structured);
    assert_eq!(
        lines(&headers, ALLOWED, 0.0),
        [r#"RateLimit: "default";r=50;t=30"#, r#"RateLimit-Policy: "default";q=100"#]
    );
    assert_eq!(
        lines(&headers.policy("api").window_ms(60_000.0), ALLOWED, 0.0),
        [r#"RateLimit: "api";r=50;t=30"#, r#"RateLimit-Policy: "api";q=100;w=60"#]
    );
}

#[test]
fn quota_and_window_can_be_overridden() {
    let headers = Headers::new(HeaderFamily::Structured).window_ms(60_000.0).quota(6_000).window_seconds(3_600);
    assert_eq!(
        lines(&headers, ALLOWED, 0.0),
        [r#"RateLimit: "default";r=50;t=30"#, r#"RateLimit-Policy: "default";q=6000;w=3600"#]
    );
}

#[test]
fn windows_round_halves_up() {
    for (window_ms, seconds) in [(500.0, 1), (499.0, 0), (1_500.0, 2), (2_500.0, 3), (499.999_999_999_999_94, 0)] {
        let headers = Headers::new(HeaderFamily::Structured).window_ms(window_ms);
        assert_eq!(
            lines(&headers, ALLOWED, 0.0)[1],
            format!(r#"RateLimit-Policy: "default";q=100;w={seconds}"#),
            "{window_ms}"
        );
    }
    for window_ms in [f64::NAN, f64::INFINITY, -1.0] {
        let headers = Headers::new(HeaderFamily::Structured).window_ms(window_ms);
        assert_eq!(lines(&headers, ALLOWED, 0.0)[1], r#"RateLimit-Policy: "default";q=100"#, "{window_ms}");
    }
}

#[test]
fn legacy_reset_is_an_epoch() {
    assert_eq!(lines(&Headers::new(HeaderFamily::Legacy), ALLOWED, 10_000.0)[2], "X-RateLimit-Reset: 30");
    let both = Headers::new(HeaderSet::from_iter([HeaderFamily::Legacy, HeaderFamily::Draft]));
    let shown = lines(&both, ALLOWED, 25_000.0);
    assert_eq!((shown[2].as_str(), shown[5].as_str()), ("RateLimit-Reset: 5", "X-RateLimit-Reset: 30"));
    let partial = Decision { reset_at_ms: 30_001, ..ALLOWED };
    assert_eq!(lines(&both, partial, 0.0)[5], "X-RateLimit-Reset: 31");
}

#[test]
fn retry_after_stands_on_denials_only() {
    assert_eq!(lines(&Headers::new(HeaderSet::EMPTY), DENIED, 0.0), ["Retry-After: 3"]);
    assert!(lines(&Headers::new(HeaderSet::EMPTY), ALLOWED, 0.0).is_empty());
    for retry_after_ms in [0, 1, 999, 1_000] {
        let denied = Decision { retry_after_ms, ..DENIED };
        assert_eq!(lines(&Headers::new(HeaderSet::EMPTY), denied, 0.0), ["Retry-After: 1"], "{retry_after_ms}");
    }
    let later = Decision { retry_after_ms: 1_001, ..DENIED };
    assert_eq!(lines(&Headers::new(HeaderSet::EMPTY), later, 0.0), ["Retry-After: 2"]);
}

#[test]
fn none_is_silent_even_on_a_denial() {
    let headers = Headers::new(HeaderSet::NONE);
    assert!(lines(&headers, DENIED, 0.0).is_empty());
    assert!(lines(&headers, ALLOWED, 0.0).is_empty());
    assert!(HeaderSet::NONE.is_none() && !HeaderSet::EMPTY.is_none());
    assert_eq!(HeaderSet::NONE.with(HeaderFamily::Draft), HeaderSet::default());
}

#[test]
fn openai_fields_carry_the_unit() {
    let headers = Headers::new(HeaderFamily::OpenAi).unit(Unit::Tokens);
    let tokens =
        ["x-ratelimit-limit-tokens: 100", "x-ratelimit-remaining-tokens: 50", "x-ratelimit-reset-tokens: 29.5s"];
    assert_eq!(lines(&headers, ALLOWED, 500.0), tokens);
    assert_eq!(lines(&headers, ALLOWED, 29_999.5)[2], "x-ratelimit-reset-tokens: 1ms");
    assert_eq!(lines(&headers, ALLOWED, 31_000.0)[2], "x-ratelimit-reset-tokens: 0s");
    let denied = Decision { retry_after_ms: 0, ..DENIED };
    assert_eq!(lines(&headers, denied, 0.0)[3..], ["Retry-After: 1", "retry-after-ms: 1"]);
    assert_eq!(lines(&Headers::new(HeaderFamily::Draft), DENIED, 0.0)[3..], ["Retry-After: 3"]);
}

#[test]
fn spans_are_written_as_openai_writes_them() {
    for (ms, text) in [
        (0, "0s"),
        (1, "1ms"),
        (20, "20ms"),
        (999, "999ms"),
        (1_000, "1s"),
        (1_500, "1.5s"),
        (1_050, "1.05s"),
        (1_005, "1.005s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (3_600_000, "1h0m0s"),
        (85_656_648, "23h47m36.648s"),
        (u64::MAX, "5124095576030h25m51.615s"),
    ] {
        assert_eq!(FieldValue::Span { ms }.to_string(), text);
    }
}

#[test]
fn names_become_structured_strings() {
    for (name, shown) in [
        ("evil\r\nX-Injected: 1", r#""evilX-Injected: 1""#),
        ("a\"b", r#""a\"b""#),
        ("a\\b", r#""a\\b""#),
        ("\u{7f}x\0", r#""x""#),
        ("caf\u{e9}", r#""caf%C3%A9""#),
        ("", r#""""#),
    ] {
        assert_eq!(Headers::default().policy(name).quoted_policy(), shown, "{name:?}");
    }
}

#[test]
fn families_come_in_order() {
    let headers = Headers::new(all_families()).policy("p").window_ms(30_000.0);
    let eleven = [
        "RateLimit-Limit: 100",
        "RateLimit-Remaining: 50",
        "RateLimit-Reset: 30",
        r#"RateLimit: "p";r=50;t=30"#,
        r#"RateLimit-Policy: "p";q=100;w=30"#,
        "X-RateLimit-Limit: 100",
        "X-RateLimit-Remaining: 50",
        "X-RateLimit-Reset: 30",
        "x-ratelimit-limit-requests: 100",
        "x-ratelimit-remaining-requests: 50",
        "x-ratelimit-reset-requests: 30s",
    ];
    assert_eq!(lines(&headers, ALLOWED, 0.0), eleven);
    assert_eq!(lines(&headers, DENIED, 0.0)[11..], ["Retry-After: 3", "retry-after-ms: 2400"]);
}

#[test]
fn a_decision_without_a_limit_shows_none() {
    let headers = Headers::new(all_families());
    assert!(lines(&headers, Decision::ALLOW_FULL, 0.0).is_empty());
    let denied = Decision { allowed: false, retry_after_ms: 10, ..Decision::ALLOW_FULL };
    assert_eq!(lines(&headers, denied, 0.0), ["Retry-After: 1", "retry-after-ms: 10"]);
}

/// The string of the only item of a structured list, and its integer parameters.
fn parsed(value: &str) -> (String, Vec<(String, i64)>) {
    let list: List = Parser::new(value).parse().expect("a structured list");
    let [ListEntry::Item(item)] = list.as_slice() else { panic!("one item, not {value}") };
    let BareItem::String(name) = &item.bare_item else { panic!("a string, not {value}") };
    let number = |item: &BareItem| item.as_integer().map(i64::from).expect("an integer");
    let parameters = item.params.iter().map(|(key, item)| (key.as_str().to_owned(), number(item))).collect();
    (name.as_str().to_owned(), parameters)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_value_is_legal(
        name in any::<String>(),
        allowed in any::<bool>(),
        limit in 0..=MAX_SAFE,
        remaining in any::<u64>(),
        reset_at_ms in any::<i64>(),
        retry_after_ms in any::<u64>(),
        now_ms in -1e16..1e16_f64,
        window_ms in proptest::option::of(any::<f64>()),
    ) {
        let decision = Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms };
        let mut headers = Headers::new(all_families()).policy(&name);
        if let Some(window_ms) = window_ms {
            headers = headers.window_ms(window_ms);
        }
        let mut retry_after = None;
        headers.for_each(&decision, now_ms, |field, value| {
            let text = value.to_string();
            assert!(text.bytes().all(|byte| (0x20..0x7F).contains(&byte)), "{field}: {text:?}");
            match field {
                Field::RateLimit => {
                    let (_, parameters) = parsed(&text);
                    assert!(matches!(&parameters[..], [(r, left), (t, reset)]
                        if r == "r" && t == "t" && *left >= 0 && *reset >= 0));
                }
                Field::RateLimitPolicy => {
                    let (shown, parameters) = parsed(&text);
                    let plain: String = name.chars().filter(|c| matches!(c, ' '..='~')).collect();
                    if name.is_ascii() {
                        assert_eq!(shown, plain);
                    }
                    assert_eq!(parameters[0].0, "q");
                }
                Field::RetryAfter => retry_after = Some(text.parse::<u64>().expect("a number")),
                Field::XRateLimitResetRequests => assert!(text.ends_with('s'), "{text}"),
                _ => {
                    text.parse::<i64>().expect("a number");
                }
            }
        });
        prop_assert_eq!(retry_after.is_some(), !allowed);
        prop_assert!(retry_after.is_none_or(|seconds| seconds >= 1));
    }
}
