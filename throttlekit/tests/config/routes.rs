//! Which rule of the `http` section a request falls under.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use throttlekit::policy::{Policies, PolicySet};

/// Policies with these rules over one limiter `x`; each rule is the fields before `policy`.
fn rules(rules: &[&str]) -> Arc<PolicySet> {
    let rules: Vec<String> = rules.iter().map(|rule| format!("{{ {rule}, policy: x }}")).collect();
    let rules = rules.join(", ");
    let text = format!("limiters: {{ x: {{ strategy: gcra, limit: 1, period: 1s }} }}\nhttp: {{ rules: [{rules}] }}");
    Policies::from_yaml(&text).unwrap().current()
}

#[test]
fn the_most_specific_pattern_counts() {
    let set = rules(&["path: '/{*rest}'", "path: '/api/{id}'", "path: /api/me", "path: /", "path: '/api/{id}/x'"]);
    for (path, rule) in [
        ("/", Some(3)),
        ("/a", Some(0)),
        ("/api", Some(0)),
        ("/api/me", Some(2)),
        ("/api/you", Some(1)),
        ("/api/you/x", Some(4)),
        ("/api/you/y", Some(0)),
        ("/api/me/", Some(0)),
        ("", None),
        ("*", None),
    ] {
        assert_eq!(set.rule_for("GET", path), rule, "{path}");
    }
}

/// As in axum.
#[test]
fn a_wildcard_stands_for_something() {
    let set = rules(&["path: '/{*rest}'"]);
    assert_eq!((set.rule_for("GET", "/"), set.rule_for("GET", "/a")), (None, Some(0)));
    let set = rules(&["path: '/api/{*rest}'", "path: '/users/{id}'"]);
    for path in ["/api", "/api/", "/users", "/users/", "/users/1/"] {
        assert_eq!(set.rule_for("GET", path), None, "{path}");
    }
    assert_eq!((set.rule_for("GET", "/api/a/b"), set.rule_for("GET", "/users/1")), (Some(0), Some(1)));
}

#[test]
fn a_rule_that_leaves_a_method_out_does_not_hide_a_wider_one() {
    let set = rules(&["path: '/{*rest}'", "path: /a, methods: [GET]", "path: /a, methods: [POST]"]);
    assert_eq!(set.rule_for("GET", "/a"), Some(1));
    assert_eq!(set.rule_for("POST", "/a"), Some(2));
    assert_eq!(set.rule_for("DELETE", "/a"), Some(0));
    assert_eq!(set.rule_for("BREW", "/a"), Some(0));
    assert_eq!(set.rule_for("get", "/a"), Some(0), "methods are case-sensitive");
}

#[test]
fn a_rule_that_names_the_method_precedes_one_for_all() {
    let set = rules(&["path: /a", "path: /a, methods: [GET]"]);
    assert_eq!((set.rule_for("GET", "/a"), set.rule_for("PUT", "/a")), (Some(1), Some(0)));
}

#[test]
fn no_match_is_no_limit() {
    let set = rules(&["path: /a, methods: [GET]"]);
    assert_eq!((set.rule_for("POST", "/a"), set.rule_for("GET", "/b")), (None, None));
    assert_eq!(rules(&[]).rule_for("GET", "/"), None);
    // As with axum, the rest is not empty.
    let set = rules(&["path: '/{*rest}', methods: [GET]", "path: '/files/{*rest}', methods: [PUT]"]);
    assert_eq!((set.rule_for("GET", "/"), set.rule_for("PUT", "/files/")), (None, None));
}

/// Frameworks answer HEAD with the handler of GET; a limit on GET that HEAD passes by would be none.
#[test]
fn head_is_covered_by_get() {
    let set = rules(&["path: /a, methods: [GET]", "path: /b, methods: [GET]", "path: /b, methods: [HEAD]", "path: /c"]);
    assert_eq!(set.rule_for("HEAD", "/a"), Some(0));
    assert_eq!(set.rule_for("HEAD", "/b"), Some(2));
    assert_eq!(set.rule_for("HEAD", "/c"), Some(3));
}

#[test]
fn options_are_covered_only_where_asked() {
    let set = rules(&[
        "path: /silent",
        "path: /asked, options: true",
        "path: /named, methods: [OPTIONS]",
        "path: /get, methods: [GET], options: true",
    ]);
    assert_eq!(set.rule_for("OPTIONS", "/silent"), None);
    assert_eq!(set.rule_for("OPTIONS", "/asked"), Some(1));
    assert_eq!(set.rule_for("OPTIONS", "/named"), Some(2));
    assert_eq!(set.rule_for("OPTIONS", "/get"), Some(3));
    assert_eq!((set.rule_for("GET", "/named"), set.rule_for("POST", "/get")), (None, None));
}

#[test]
fn patterns_of_different_methods_may_differ_in_names() {
    let set = rules(&["path: '/a/{id}', methods: [GET]", "path: '/a/{name}', methods: [POST]"]);
    assert_eq!((set.rule_for("GET", "/a/1"), set.rule_for("POST", "/a/1")), (Some(0), Some(1)));
}

/// Otherwise a client had a spelling that no rule knows, for each server that decodes paths.
#[test]
fn however_a_path_is_spelt_the_rule_is_the_same() {
    let set = rules(&[
        "path: /api/hello",
        "path: '/a b/{id}'",
        "path: /c%20d",
        "path: '/gr\u{fc}n'",
        "path: '/{{x}}/%7By%7d'",
    ]);
    for (path, rule) in [
        ("/api/%68ello", Some(0)),
        ("/%61%70%69/%68%65%6C%6c%6F", Some(0)),
        ("/a%20b/%2F", Some(1)),
        ("/c d", Some(2)),
        ("/%63%20d", Some(2)),
        ("/gr%C3%BCn", Some(3)),
        ("/gr%c3%bc%6e", Some(3)),
        ("/gr\u{fc}n", Some(3)),
        ("/{x}/{y}", Some(4)),
        ("/%7bx}/%7By%7D", Some(4)),
        // An encoded slash separates nothing, and what is decoded once is not decoded again.
        ("/api%2Fhello", None),
        ("/api%2fhello", None),
        ("/api/%2568ello", None),
        ("/api/hello%", None),
        ("/api/hello%2", None),
        ("/api/%zzhello", None),
        ("/api/hello%00", None),
        ("/api/hello%FF", None),
    ] {
        assert_eq!(set.rule_for("GET", path), rule, "{path}");
    }
}

#[test]
fn patterns_that_differ_in_spelling_alone_match_the_same_requests() {
    let text = "
limiters: { x: { strategy: gcra, limit: 1, period: 1s } }
http: { rules: [{ path: /api, policy: x }, { path: '/%61pi', policy: x }] }
";
    let errors = Policies::from_yaml(text).unwrap_err().to_string();
    assert!(errors.contains("matches the same requests as the rule for /api"), "{errors}");
}

#[test]
fn any_letters_may_be_encoded() {
    let set = rules(&["path: '/{*rest}'", "path: /api/hello", "path: '/api/{id}'"]);
    let segment = || prop_oneof![Just("api".to_owned()), Just("hello".to_owned()), "[ -$&-.0-~\u{e9}\u{1F600}]{1,6}"];
    proptest!(|(
        segments in proptest::collection::vec(segment(), 1..4),
        choices in proptest::collection::vec(any::<bool>(), 1..40),
    )| {
        let path = format!("/{}", segments.join("/"));
        let mut choices = choices.iter().cycle();
        let mut spelt = String::new();
        for byte in path.bytes() {
            if byte != b'/' && (!byte.is_ascii() || choices.next() == Some(&true)) {
                write!(spelt, "%{byte:02x}").unwrap();
            } else {
                spelt.push(char::from(byte));
            }
        }
        prop_assert_eq!(set.rule_for("GET", &spelt), set.rule_for("GET", &path), "{}", spelt);
    });
}

#[test]
fn rules_carry_their_policies() {
    let text = "
limiters:
  a: { strategy: gcra, limit: 1, period: 1s }
  b: { strategy: fixedWindow, limit: 1, period: 1s }
http:
  rules: [{ path: /, policies: [b, a] }]
";
    let set = Policies::from_yaml(text).unwrap().current();
    let rule = &set.rules()[0];
    let names: Vec<_> = rule.policies().iter().map(|policy| policy.name()).collect();
    assert_eq!((names, rule.spec().path.as_str()), (vec!["b", "a"], "/"));
    assert!(Arc::ptr_eq(&rule.policies()[1], set.get("a").unwrap()));
}

/// A rule that can never match would leave unlimited what it is about.
#[test]
fn a_pattern_that_no_request_can_have_is_refused() {
    for path in ["/x?y=1", "/x#y", "/{id?}", "/x\\t"] {
        let text = format!(
            "limiters: {{ x: {{ strategy: gcra, limit: 1, period: 1s }} }}\n\
             http: {{ rules: [{{ path: \"{path}\", policy: x }}] }}"
        );
        let errors = Policies::from_yaml(&text).unwrap_err().to_string();
        let expected =
            "config.http.rules[0].path: must be a path, without a query, a fragment or control characters (found ";
        assert!(errors.contains(expected), "{path}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn a_parameter_has_one_place_in_a_pattern() {
    for (path, name) in [("/{a}/{a}", "a"), ("/{id}/of/{other}/{*id}", "id")] {
        let text = format!(
            "limiters: {{ x: {{ strategy: gcra, limit: 1, period: 1s }} }}\n\
             http: {{ rules: [{{ path: '{path}', policy: x }}] }}"
        );
        let errors = Policies::from_yaml(&text).unwrap_err().to_string();
        let expected = format!("must name each parameter once; {{{name}}} is there twice (found \"{path}\")");
        assert!(errors.contains(&expected), "{path}: {errors}");
    }
    let text = "limiters: { x: { strategy: gcra, limit: 1, period: 1s } }\n\
                http: { rules: [{ path: '/{a}/{{a}}/{b}', policy: x }] }";
    assert!(Policies::from_yaml(text).is_ok(), "doubled braces are text");
}
