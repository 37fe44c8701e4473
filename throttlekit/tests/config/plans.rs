//! The plans of rules: reading them, what is wrong with them, and which policies they stand for.

use throttlekit::config::{Config, Format, HttpRule, PlanSource, PlanSpec, PlansSpec};
use throttlekit::policy::{Fate, LoadOptions, Policies, RuleLimit};
use throttlekit::{Admit, Ask, ManualClock, Priority};

const LIMITERS: &str = "limiters:
  free: { strategy: fixedWindow, limit: 1, period: 1h }
  pro: { strategy: fixedWindow, limit: 3, period: 1h }
  month: { strategy: fixedWindow, limit: 2, period: 1h }
  tokens: { tokenBudget: { budget: 10, windowMs: 1000 } }
  fair: { fairEscrow: { limit: 10, windowMs: 1000 } }
  log: { strategy: slidingWindowLog, limit: 3, period: 1h }
";

fn read(http: &str) -> Vec<HttpRule> {
    Config::from_yaml(&format!("{LIMITERS}http: {http}\n")).unwrap().http.rules
}

/// The plans of a rule with this block.
fn plans(block: &str) -> PlansSpec {
    read(&format!("{{ rules: [{{ path: /, policy: free, plans: {block} }}] }}")).remove(0).plans.unwrap()
}

/// What is wrong with a rule that has these options, without the start of each path. Everything has a place.
fn errors(options: &str) -> Vec<String> {
    let text = format!("{LIMITERS}http: {{ rules: [{{ path: /, policy: free, {options} }}] }}\n");
    let env = |_: &str| Some("sixteen bytes or more".to_owned());
    let errors = Config::parse_with(&text, Format::Yaml, &env).unwrap_err();
    let shown = |problem: &throttlekit::config::Problem| {
        assert_eq!(problem.position.map(|at| at.line), Some(8), "{problem}");
        let path = problem.path.strip_prefix("config.http.rules[0]").unwrap();
        format!("{path}: {}", problem.message)
    };
    errors.problems().iter().map(shown).collect()
}

#[test]
fn a_rule_has_a_table_of_plans() {
    let mut expected = PlansSpec::new(PlanSource::Claim("plan".to_owned()));
    let mut whole = PlanSpec::new("a b", ["pro", "month"]);
    (whole.cost, whole.priority) = (Some(0.5), Some(Priority::High));
    expected.table = vec![PlanSpec::new("pro", ["pro"]), whole];
    let table = "{ pro: { policy: pro }, a b: { policies: [pro, month], cost: 0.5, priority: high } }";
    assert_eq!(plans(&format!("{{ from: {{ claim: plan }}, table: {table} }}")), expected);
    expected.from = PlanSource::TrustedHeader("x-plan".to_owned());
    assert_eq!(plans(&format!("{{ from: {{ trustedHeader: X-Plan }}, table: {table} }}")), expected);
}

#[test]
fn every_format_says_the_same() {
    let yaml = Config::from_yaml(
        "limiters: { a: { strategy: gcra, limit: 1, period: 1s } }
http:
  rules: [{ path: /, policy: a, plans: { from: key, table: { pro: { policy: a, keys: [k, '7'] } } } }]\n",
    );
    let json = Config::from_json(
        r#"{ "limiters": { "a": { "strategy": "gcra", "limit": 1, "periodMs": 1000 } }, "http": { "rules": [{ "path": "/",
        "policies": ["a"], "plans": { "from": "key", "table": { "pro": { "policies": ["a"], "keys": ["k", "7"] } } } }] } }"#,
    );
    let toml = Config::from_toml(
        "limiters.a = { strategy = 'gcra', limit = 1, period = '1s' }
[[http.rules]]
path = '/'
policy = 'a'
plans.from = 'key'
plans.table.pro = { policy = 'a', keys = ['k', '7'] }\n",
    );
    assert_eq!(yaml.clone().unwrap(), json.unwrap());
    assert_eq!(yaml.unwrap(), toml.unwrap());
}

#[test]
fn a_plan_has_what_it_does_not_say_from_its_rule() {
    let rule = read(
        "{ rules: [{ path: /x, policy: free, cost: 2, priority: low, shadow: true, plans: { from: key, table: {
            one: { policy: pro, keys: [a] }, two: { policy: month, cost: 1, priority: critical, keys: [b] } } } }] }",
    )
    .remove(0);
    let [one, two] = &*rule.plans.as_ref().unwrap().table else { panic!("two plans") };
    let mut expected = rule.clone();
    (expected.policies, expected.plans) = (vec!["pro".to_owned()], None);
    assert_eq!(rule.under(one), expected);
    (expected.policies, expected.cost, expected.priority) = (vec!["month".to_owned()], 1.0, Priority::Critical);
    assert_eq!(rule.under(two), expected);
}

#[test]
fn defaults_have_plans_which_a_rule_replaces_or_drops() {
    let rules = read(
        "{ defaults: { plans: { from: { claim: plan }, table: { pro: { policy: pro } } } }, rules: [
            { path: /a, policy: free },
            { path: /b, policy: free, plans: none },
            { path: /c, policy: free, plans: { from: { claim: tier }, table: { more: { policy: month } } } }] }",
    );
    let names = |rule: &HttpRule| {
        rule.plans.iter().flat_map(|plans| &plans.table).map(|plan| plan.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(rules.iter().map(names).collect::<Vec<_>>(), [vec!["pro"], vec![], vec!["more"]]);
}

#[test]
fn what_is_wrong_with_plans_is_said_where_it_is() {
    let from = |from: &str| format!("plans: {{ from: {from}, table: {{ pro: {{ policy: pro }} }} }}");
    let table = |table: &str| format!("plans: {{ from: {{ claim: plan }}, table: {table} }}");
    let keys = |keys: &str| format!("plans: {{ from: key, table: {{ pro: {{ policy: pro, keys: {keys} }} }} }}");
    let forms = "expected none, or a map with from and table, found";
    let one = "give one of claim and trustedHeader";
    let unsafe_header = "not possible, since a client could choose his plan: call it trustedHeader if something in front of \
                         the limit sets the field on every request, in place of what the client sends";
    for (options, expected) in [
        ("plans: some".to_owned(), format!(".plans: {forms} the text \"some\"")),
        ("plans: [1]".to_owned(), format!(".plans: {forms} a list")),
        ("plans: { table: { pro: { policy: pro } } }".to_owned(), ".plans.from: required".to_owned()),
        ("plans: { from: { claim: plan } }".to_owned(), ".plans.table: required".to_owned()),
        (from("header"), ".plans.from: expected key, or a map such as { claim: NAME }, found the text \"header\"".to_owned()),
        (from("{}"), format!(".plans.from: {one}")),
        (from("{ claim: a, trustedHeader: b }"), format!(".plans.from.trustedHeader: {one}, not both")),
        (from("{ header: x-plan }"), format!(".plans.from.header: {unsafe_header}")),
        (from("{ claims: a }"), ".plans.from.claims: unknown field, did you mean \"claim\"?".to_owned()),
        (from("{ claim: '' }"), ".plans.from.claim: must not be empty".to_owned()),
        (
            from("{ trustedHeader: 'a b' }"),
            ".plans.from.trustedHeader: must be the name of a header field in lower case (found \"a b\")".to_owned(),
        ),
        (table("{}"), ".plans.table: at least one plan is required".to_owned()),
        (table("[]"), ".plans.table: expected a map, found a list".to_owned()),
        (table("{ pro: }"), ".plans.table.pro: expected a map, found nothing".to_owned()),
        (table("{ pro: {} }"), ".plans.table.pro.policies: at least one policy is required".to_owned()),
        (table("{ '': { policy: pro } }"), ".plans.table.: the name must not be empty".to_owned()),
        (
            table("{ pro: { policy: por } }"),
            ".plans.table.pro.policy: there is no limiter \"por\", did you mean \"pro\"?".to_owned(),
        ),
        (
            table("{ pro: { policies: [pro, pro] } }"),
            ".plans.table.pro.policies[1]: \"pro\" is given twice".to_owned(),
        ),
        (
            table("{ pro: { policies: [fair, tokens, log] } }"),
            ".plans.table.pro.policies[2]: the slidingWindowLog \"log\" cannot be charged all or none beside the fairEscrow \
             \"fair\", since neither takes units back: give one of them a rule of its own"
                .to_owned(),
        ),
        (
            table("{ pro: { policy: tokens, costs: { tokens: 0.5 } } }"),
            ".plans.table.pro.costs.tokens: must be a whole number for the tokenBudget \"tokens\" (found 0.5)".to_owned(),
        ),
        (
            table("{ pro: { policy: pro, costs: { free: 2 } } }"),
            ".plans.table.pro.costs.free: there is no policy \"free\" here, known are pro".to_owned(),
        ),
        (
            table("{ pro: { policy: tokens, cost: 0.5 } }"),
            ".plans.table.pro.cost: must be a whole number for the tokenBudget \"tokens\" (found 0.5)".to_owned(),
        ),
        (
            table("{ pro: { policy: pro, cost: 0 } }"),
            ".plans.table.pro.cost: must be a number above 0 and at most 9007199254740991 (found 0)".to_owned(),
        ),
        (
            table("{ pro: { policy: pro, keys: [a] } }"),
            ".plans.table.pro.keys: not used unless plans are found by `from: key`".to_owned(),
        ),
        (
            table("{ pro: { policy: pro, path: / } }"),
            ".plans.table.pro.path: unknown field, known are policy, policies, cost, costs, priority, keys".to_owned(),
        ),
        (keys("[]"), ".plans.table.pro.keys: keys are required where plans are found by key".to_owned()),
        (keys("[a, '']"), ".plans.table.pro.keys[1]: must have 1 to 512 bytes".to_owned()),
        (keys("[a, 5]"), ".plans.table.pro.keys[1]: expected a text in quotes, found a number".to_owned()),
        (keys("[a, b, a]"), ".plans.table.pro.keys[2]: is a key of the plan \"pro\" already".to_owned()),
    ] {
        assert_eq!(errors(&options), [expected], "{options}");
    }
}

#[test]
fn a_source_that_is_wrong_hides_nothing_in_the_table() {
    let table = "table: { pro: { policy: por, cost: 0 }, two: { policies: [fair, 7, log], keys: [a] }, '': 5 }";
    let rest = [
        ".plans.table.: expected a map, found the number 5",
        ".plans.table.pro.cost: must be a number above 0 and at most 9007199254740991 (found 0)",
        ".plans.table.pro.policy: there is no limiter \"por\", did you mean \"pro\"?",
        ".plans.table.two.policies[1]: expected a text, found the number 7; a text that looks like something else needs quotes",
        ".plans.table.two.policies[2]: the slidingWindowLog \"log\" cannot be charged all or none beside the fairEscrow \
         \"fair\", since neither takes units back: give one of them a rule of its own",
    ];
    for (from, expected) in [
        ("", ".plans.from: required"),
        ("from: keys, ", ".plans.from: expected key, or a map such as { claim: NAME }, found the text \"keys\""),
        ("from: { claims: a }, ", ".plans.from.claims: unknown field, did you mean \"claim\"?"),
        (
            "from: { claim: 5 }, ",
            ".plans.from.claim: expected a text, found the number 5; a text that looks like something else needs quotes",
        ),
    ] {
        let mut found = errors(&format!("plans: {{ {from}{table} }}"));
        found.sort();
        // That plans have keys, or lack them, is right or wrong by the source.
        assert_eq!(found, [&[expected][..], &rest].concat(), "{from}");
    }
}

#[test]
fn an_api_key_in_the_place_of_its_hash_is_refused_and_not_shown() {
    let hash = "0123456789abcdef".repeat(4);
    let rule = |key: &str, truncated: bool| {
        format!(
            "key: {{ apiKey: {{ bearer: true, keyId: 2026-11, secret: '${{SECRET}}', truncated: {truncated} }} }}, \
             plans: {{ from: key, table: {{ pro: {{ policy: pro, keys: ['{key}'] }} }} }}"
        )
    };
    for key in
        ["sk-1234".to_owned(), hash.clone(), format!("2026-10:{hash}"), format!("2026-11:{}", hash.to_uppercase())]
    {
        let found = errors(&rule(&key, false));
        let expected = ".plans.table.pro.keys[0]: must be an API key as requests count under it: the key id, a colon and 64 \
                        hex digits in lower case, which is what `KeyHasher::hash` gives";
        assert_eq!(found, [expected]);
    }
    let env = |_: &str| Some("sixteen bytes or more".to_owned());
    let (half, _) = hash.split_at(32);
    for (key, truncated) in [(&*hash, false), (half, true)] {
        let rule = rule(&format!("2026-11:{key}"), truncated);
        let text = format!("{LIMITERS}http: {{ rules: [{{ path: /, policy: free, {rule} }}] }}\n");
        let config = Config::parse_with(&text, Format::Yaml, &env).unwrap();
        assert!(!format!("{config:?}").contains(half), "no output shows a key");
    }
}

#[test]
fn plans_may_be_called_as_secrets_are() {
    let read = plans("{ from: { claim: plan }, table: { secret: { policy: pro }, keys: { policy: pro } } }");
    assert_eq!(read.table, [PlanSpec::new("secret", ["pro"]), PlanSpec::new("keys", ["pro"])]);
}

#[test]
fn what_is_wrong_with_plans_of_the_defaults_is_said_once() {
    let text = format!(
        "{LIMITERS}http: {{ defaults: {{ plans: {{ from: {{ claim: plan }}, table: {{ pro: {{ policy: por }} }} }} }}, \
         rules: [{{ path: /a, policy: free }}, {{ path: /b, policy: free }}] }}\n"
    );
    let errors = Config::from_yaml(&text).unwrap_err().to_string();
    let expected = "config.http.defaults.plans.table.pro.policy: there is no limiter \"por\", did you mean \"pro\"?";
    assert_eq!(errors.split_once(' ').unwrap().1, expected);
}

#[test]
fn plans_that_were_made_in_code_are_checked_too() {
    let mut config = Config::from_yaml(LIMITERS).unwrap();
    let mut rule = HttpRule::new("/", ["free"]);
    let mut plans = PlansSpec::new(PlanSource::TrustedHeader("X-Plan".to_owned()));
    plans.table = vec![PlanSpec::new("pro", ["pro"]), PlanSpec::new("pro", ["por"])];
    rule.plans = Some(plans);
    config.http.rules = vec![rule];
    let errors = config.check().unwrap_err().to_string();
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(
        lines,
        [
            "config.http.rules[0].plans.from.trustedHeader: must be the name of a header field in lower case (found \
             \"X-Plan\")",
            "config.http.rules[0].plans.table.pro: there is another plan of this name",
            "config.http.rules[0].plans.table.pro.policies[0]: there is no limiter \"por\", did you mean \"pro\"?",
        ]
    );
}

const RULES: &str = "http:
  rules:
    - path: /
      policy: free
      plans: { from: { claim: plan }, table: { pro: { policies: [pro, month] }, free: { policy: free } } }
";

#[test]
fn each_plan_is_a_rule_over_its_policies() {
    let options = LoadOptions::new().clock(ManualClock::new(0.0));
    let policies = Policies::load(&format!("{LIMITERS}{RULES}"), options).unwrap();
    let set = policies.current();
    let rule = &set.rules()[0];
    let plans: Vec<_> = rule.plans().collect();
    assert_eq!(plans.iter().map(|(name, _)| &***name).collect::<Vec<_>>(), ["pro", "free"]);
    let [(_, pro), (_, free)] = *plans else { panic!("two plans") };
    assert_eq!((pro.policies().len(), pro.plans().len()), (2, 0));
    let RuleLimit::Joint(joint) = pro.limit() else { panic!("two limits") };
    let allowed = || joint.admit(&Ask::new("k")).now().unwrap().unwrap().decision.allowed;
    assert_eq!([allowed(), allowed(), allowed()], [true, true, false], "all or none");
    let left = policies.get("pro").unwrap().limiter().unwrap().peek("k").now().unwrap().unwrap().remaining;
    assert_eq!(left, 1, "the denied request took nothing");
    // A plan of the rule's own policy counts where the rule does.
    let (RuleLimit::One(one), RuleLimit::One(other)) = (rule.limit(), free.limit()) else { panic!("one limit each") };
    assert!(one.check("k", 1.0).now().unwrap().unwrap().allowed);
    assert!(!other.check("k", 1.0).now().unwrap().unwrap().allowed);
}

#[test]
fn a_reload_of_plans_keeps_what_their_policies_counted() {
    let policies =
        Policies::load(&format!("{LIMITERS}{RULES}"), LoadOptions::new().clock(ManualClock::new(0.0))).unwrap();
    let count = || {
        let set = policies.current();
        let (_, plan) = set.rules()[0].plans().next().unwrap();
        let RuleLimit::One(limiter) = plan.limit() else { return None };
        Some(limiter.check("k", 1.0).now().unwrap().unwrap().remaining)
    };
    assert_eq!(count(), None, "two limits together");
    let changed = format!("{LIMITERS}{}", RULES.replace("policies: [pro, month]", "policy: pro"));
    let report = policies.reload(&changed).unwrap();
    assert!(report.http_changed && report.policies.iter().all(|(_, fate)| *fate == Fate::Unchanged));
    assert_eq!(count(), Some(2));
    let renamed = changed.replace("table: { pro:", "table: { gold:");
    policies.reload(&renamed).unwrap();
    assert_eq!(count(), Some(1), "what was counted stays with the policy, whatever the plan is called");
    assert_eq!(policies.reload(&renamed).unwrap().version, policies.version(), "nothing changed");
    assert!(policies.reload(&changed.replace("policy: pro", "policy: por")).is_err());
    assert_eq!(count(), Some(0));
}
