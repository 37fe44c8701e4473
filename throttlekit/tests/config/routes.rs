//! Which rule of the `http` section a request falls under.

use std::sync::Arc;

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
