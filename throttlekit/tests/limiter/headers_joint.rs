//! Header fields of several limits on one request.

use proptest::prelude::*;
use sfv::{BareItem, List, ListEntry, Parser};
use throttlekit::headers::{Field, HeaderFamily, HeaderSet, Headers, Unit, binding, for_each_joint};
use throttlekit::{Decision, MAX_SAFE};

fn allowed(remaining: u64, limit: u64) -> Decision {
    Decision { allowed: true, limit, remaining, reset_at_ms: 30_000, retry_after_ms: 0 }
}

fn denied(limit: u64, retry_after_ms: u64) -> Decision {
    Decision { allowed: false, limit, remaining: 0, reset_at_ms: 60_000, retry_after_ms }
}

fn lines(limits: &[(&Headers, Decision)], now_ms: f64) -> Vec<String> {
    let mut lines = Vec::new();
    for_each_joint(limits, now_ms, |field, value| lines.push(format!("{field}: {value}")));
    lines
}

fn all_families() -> HeaderSet {
    HeaderFamily::ALL.into_iter().collect()
}

#[test]
fn the_smallest_share_binds_while_all_allow() {
    assert_eq!(binding(&[]), None);
    assert_eq!(binding(&[allowed(5, 10), allowed(499, 1_000), allowed(9, 10)]), Some(1));
    assert_eq!(binding(&[allowed(5, 10), allowed(50, 100)]), Some(0), "the first of equals");
    assert_eq!(binding(&[allowed(1, 10), allowed(0, 0)]), Some(1), "a limit of 0 has nothing left");
    // Products that a word does not hold.
    assert_eq!(binding(&[allowed(MAX_SAFE, MAX_SAFE), allowed(MAX_SAFE - 1, MAX_SAFE)]), Some(1));
}

#[test]
fn a_denial_binds_whatever_is_left_elsewhere() {
    assert_eq!(binding(&[allowed(0, 10), denied(10, 1)]), Some(1));
    assert_eq!(
        binding(&[denied(10, 5), allowed(0, 10), denied(10, 700), denied(10, 700)]),
        Some(2),
        "the longest wait"
    );
}

#[test]
fn structured_fields_list_all_and_the_binding_one_first() {
    let structured = |name: &str| Headers::new(HeaderFamily::Structured).policy(name);
    let (a, b, c) = (structured("a").window_ms(1_000.0), structured("b"), structured("c").quota(7));
    let limits = [(&a, allowed(9, 10)), (&b, denied(100, 2_500)), (&c, allowed(1, 10))];
    assert_eq!(
        lines(&limits, 0.0),
        [
            r#"RateLimit: "b";r=0;t=60, "a";r=9;t=30, "c";r=1;t=30"#,
            r#"RateLimit-Policy: "b";q=100, "a";q=10;w=1, "c";q=7"#,
            "Retry-After: 3",
        ]
    );
}

#[test]
fn draft_and_legacy_show_the_binding_one() {
    let headers = Headers::new(HeaderSet::from_iter([HeaderFamily::Draft, HeaderFamily::Legacy]));
    let limits = [(&headers, allowed(9, 10)), (&headers, allowed(20, 100))];
    assert_eq!(
        lines(&limits, 10_000.0),
        [
            "RateLimit-Limit: 100",
            "RateLimit-Remaining: 20",
            "RateLimit-Reset: 20",
            "X-RateLimit-Limit: 100",
            "X-RateLimit-Remaining: 20",
            "X-RateLimit-Reset: 30",
        ]
    );
}

#[test]
fn openai_shows_requests_and_tokens_apart() {
    let headers = Headers::new(HeaderFamily::OpenAi);
    let tokens = headers.clone().unit(Unit::Tokens);
    let limits = [(&tokens, denied(100_000, 360_000)), (&headers, allowed(9, 10)), (&headers, allowed(3, 10))];
    assert_eq!(
        lines(&limits, 59_980.0),
        [
            "x-ratelimit-limit-requests: 10",
            "x-ratelimit-remaining-requests: 3",
            "x-ratelimit-reset-requests: 0s",
            "x-ratelimit-limit-tokens: 100000",
            "x-ratelimit-remaining-tokens: 0",
            "x-ratelimit-reset-tokens: 20ms",
            "Retry-After: 360",
            "retry-after-ms: 360000",
        ]
    );
    assert_eq!(lines(&limits[..1], 0.0).len(), 5, "no requests are counted, so none are shown");
    let slots = headers.clone().unit(Unit::Slots);
    let shown = lines(&[(&headers, allowed(9, 10)), (&slots, denied(4, 250))], 0.0);
    assert_eq!((shown.len(), &*shown[0]), (5, "x-ratelimit-limit-requests: 10"));
    assert_eq!(shown[3..], ["Retry-After: 1", "retry-after-ms: 250"]);
}

#[test]
fn retry_after_is_the_longest_wait() {
    let (empty, none) = (Headers::new(HeaderSet::EMPTY), Headers::new(HeaderSet::NONE));
    assert_eq!(lines(&[(&empty, denied(10, 1)), (&empty, denied(1, 2_001))], 0.0), ["Retry-After: 3"]);
    assert_eq!(lines(&[(&empty, denied(10, 1)), (&none, denied(1, 2_001))], 0.0), ["Retry-After: 1"]);
    assert!(lines(&[(&none, denied(10, 1)), (&empty, allowed(1, 2))], 0.0).is_empty());
    assert!(lines(&[], 0.0).is_empty());
}

#[test]
fn what_has_no_limit_to_show_is_left_out() {
    let all = Headers::new(all_families());
    assert!(lines(&[(&all, Decision::ALLOW_FULL), (&all, Decision::ALLOW_FULL)], 0.0).is_empty());
    let shown = lines(&[(&all, Decision::ALLOW_FULL), (&all, allowed(3, 10))], 0.0);
    assert_eq!((shown.len(), &*shown[3]), (11, r#"RateLimit: "default";r=3;t=30"#));
}

/// The names and the first parameters of the items of a structured list.
fn parsed(value: &str) -> Vec<(String, i64)> {
    let list: List = Parser::new(value).parse().expect("a structured list");
    let item = |entry: &ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("an item in {value}") };
        let BareItem::String(name) = &item.bare_item else { panic!("a string in {value}") };
        let (_, first) = item.params.iter().next().expect("a parameter");
        (name.as_str().to_owned(), i64::from(first.as_integer().expect("an integer")))
    };
    list.iter().map(item).collect()
}

prop_compose! {
    fn any_decision()(
        allowed in any::<bool>(),
        limit in 0..=MAX_SAFE,
        remaining in any::<u64>(),
        reset_at_ms in any::<i64>(),
        wait in any::<u64>(),
    ) -> Decision {
        Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms: if allowed { 0 } else { wait } }
    }
}

proptest! {
    #[test]
    fn one_limit_shows_what_it_shows_alone(decision in any_decision(), families in 0..16_usize, now_ms in -1e16..1e16_f64) {
        let set = HeaderFamily::ALL.into_iter().enumerate().filter(|(bit, _)| families & (1 << bit) != 0);
        let headers = Headers::new(set.map(|(_, family)| family).collect::<HeaderSet>()).policy("one");
        let mut alone = Vec::new();
        headers.for_each(&decision, now_ms, |field, value| alone.push(format!("{field}: {value}")));
        prop_assert_eq!(lines(&[(&headers, decision)], now_ms), alone);
    }

    #[test]
    fn lists_hold_each_policy_once(decisions in prop::collection::vec(any_decision(), 1..6), now_ms in -1e16..1e16_f64) {
        let names: Vec<String> = (0..decisions.len()).map(|index| format!("p{index}")).collect();
        let headers: Vec<Headers> = names.iter().map(|name| Headers::new(all_families()).policy(name)).collect();
        let limits: Vec<_> = headers.iter().zip(decisions.iter().copied()).collect();
        let with_limit = || decisions.iter().enumerate().filter(|(_, decision)| decision.has_limit());
        for_each_joint(&limits, now_ms, |field, value| {
            let text = value.to_string();
            if matches!(field, Field::RateLimit | Field::RateLimitPolicy) {
                let items = parsed(&text);
                let first = binding(with_limit().map(|(_, decision)| decision)).expect("it is shown");
                let (first, decision) = with_limit().nth(first).expect("it was found");
                assert_eq!(items[0].0, names[first]);
                if field == Field::RateLimit {
                    assert_eq!(items[0].1.unsigned_abs(), decision.remaining.min(999_999_999_999_999));
                }
                let mut shown: Vec<_> = items.into_iter().map(|(name, _)| name).collect();
                assert!(shown[1..].is_sorted(), "the others in their order");
                shown.sort();
                assert_eq!(shown, with_limit().map(|(index, _)| names[index].clone()).collect::<Vec<_>>());
            }
        });
    }
}
