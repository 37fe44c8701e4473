//! The blocks of sketches and deny lists: reading them, and what is wrong with them.

use throttlekit::config::{
    Config, DenyListSpec, Format, LimiterKind, LimiterSpec, ScreenSpec, SketchSize, SketchSpec, StrategySpec,
};

const WINDOW: &str = "strategy: fixedWindow, limit: 100, period: 1s";

/// The limiter `a` with these fields.
fn read(fields: &str) -> LimiterSpec {
    Config::from_yaml(&format!("limiters: {{ a: {{ {fields} }} }}")).unwrap().limiters[0].clone()
}

/// The only problem of a text: its path and its message. It has a place.
fn is_of(text: &str, path: &str, message: &str) {
    let errors = Config::from_yaml(text).unwrap_err();
    let found: Vec<_> = errors
        .problems()
        .iter()
        .map(|problem| {
            assert!(problem.position.is_some(), "{problem}");
            (problem.path.as_str(), problem.message.as_str())
        })
        .collect();
    assert_eq!(found, [(path, message)], "{text}");
}

/// The only problem of a limiter with these fields: its path below the limiter and its message.
fn is(fields: &str, path: &str, message: &str) {
    let path = if path.is_empty() { "config.limiters[a]".to_owned() } else { format!("config.limiters[a].{path}") };
    is_of(&format!("limiters: {{ a: {{ {fields} }} }}"), &path, message);
}

const YAML: &str = "
limiters:
  api:
    strategy: fixedWindow
    limit: 100
    period: 1s
    maxKeys: 500
    screen: { threshold: 20, epsilon: 0.01, delta: 0.1, shards: 2 }
    denyList: { denials: 50, windowMs: 1000, ttlMs: 5000, tracked: 10, places: 64 }
  flood: { sketch: { limit: 9.5, windowMs: 60000, sliding: true, width: 500, depth: 3, shards: 4 } }
";
const JSON: &str = r#"{ "limiters": {
    "api": { "strategy": "fixedWindow", "limit": 100, "windowMs": 1000, "maxKeys": 500,
        "screen": { "threshold": 20, "epsilon": 1e-2, "delta": 0.1, "shards": 2 },
        "denyList": { "denials": 50, "windowMs": 1000, "ttlMs": 5000, "tracked": 10, "places": 64 } },
    "flood": { "sketch": { "limit": 9.5, "windowMs": 6e4, "sliding": true, "width": 500, "depth": 3, "shards": 4 } } } }"#;
const TOML: &str = "
[limiters.api]
strategy = 'fixedWindow'
limit = 100
period = '1s'
maxKeys = 500
screen = { threshold = 20, epsilon = 0.01, delta = 0.1, shards = 2 }
denyList = { denials = 50, windowMs = 1000, ttlMs = 5000, tracked = 10, places = 64 }
[limiters.flood.sketch]
limit = 9.5
windowMs = 60_000
sliding = true
width = 500
depth = 3
shards = 4
";

#[test]
fn every_format_says_the_same() {
    let read = [(YAML, Format::Yaml), (JSON, Format::Json), (TOML, Format::Toml)]
        .map(|(text, format)| Config::parse(text, format).unwrap_or_else(|errors| panic!("{errors}")));
    assert_eq!(read[0], read[1]);
    assert_eq!(read[0], read[2]);

    let mut screen = ScreenSpec::default();
    (screen.threshold, screen.size, screen.shards) = (Some(20.0), SketchSize::Error { epsilon: 0.01, delta: 0.1 }, 2);
    let mut list = DenyListSpec::default();
    (list.denials, list.window_ms, list.ttl_ms, list.tracked, list.places) = (50, 1_000.0, 5_000.0, 10, 64);
    let mut api = LimiterSpec::new("api", StrategySpec::FixedWindow { limit: 100.0, window_ms: 1_000.0 });
    (api.kind, api.max_keys, api.deny_list) = (LimiterKind::Screen(screen), 500, Some(list));
    let mut flood = SketchSpec::new(9.5, 60_000.0);
    (flood.sliding, flood.size, flood.shards) = (true, SketchSize::Table { width: 500, depth: 3 }, 4);
    assert_eq!(read[0].limiters, [api, LimiterSpec::of_kind("flood", LimiterKind::Sketch(flood))]);
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(read(&format!("{WINDOW}, screen: {{}}")).kind, LimiterKind::Screen(ScreenSpec::default()));
    assert_eq!(read(&format!("{WINDOW}, denyList: {{}}")).deny_list, Some(DenyListSpec::default()));
    let sketch = read("sketch: { limit: 5, windowMs: 1000 }");
    assert_eq!(sketch.kind, LimiterKind::Sketch(SketchSpec::new(5.0, 1_000.0)));
    assert_eq!((read(WINDOW).kind, read(WINDOW).deny_list), (LimiterKind::Plain, None));
    let LimiterKind::Screen(screen) = read(&format!("{WINDOW}, screen: {{ delta: 0.5 }}")).kind else { panic!() };
    assert_eq!(screen.size, SketchSize::Error { epsilon: 0.001, delta: 0.5 });
}

/// A deny list is in front of any limit of units.
#[test]
fn a_deny_list_goes_with_every_kind() {
    for fields in [
        "strategy: gcra, limit: 5, period: 1s, concurrency: { limit: 2 }",
        "strategy: gcra, limit: 5, period: 1s, twoTier: { batch: 2 }",
        "strategy: gcra, limit: 5, period: 1s, screen: {}",
        "tokenBudget: { budget: 5, windowMs: 1000 }",
        "fleetBudget: { budget: 5, windowMs: 1000 }",
        "fairEscrow: { limit: 5, windowMs: 1000 }",
        "sketch: { limit: 5, windowMs: 1000 }",
    ] {
        assert_eq!(read(&format!("{fields}, denyList: {{ }}")).deny_list, Some(DenyListSpec::default()), "{fields}");
    }
    let slots = "concurrency: { limit: 2 }, denyList: {}";
    is(slots, "denyList", "not used without a limit of units, whose denials it counts");
}

#[test]
fn ranges_are_those_of_the_builders() {
    let screen =
        |block: &str, path: &str, message: &str| is(&format!("{WINDOW}, screen: {{ {block} }}"), path, message);
    let fraction = "must be a finite number above 0 and below 1";
    screen("threshold: 0", "screen.threshold", "must be above 0 and at most the limit, 100 (found 0)");
    screen("threshold: 101", "screen.threshold", "must be above 0 and at most the limit, 100 (found 101)");
    screen("epsilon: 0", "screen.epsilon", &format!("{fraction} (found 0)"));
    screen("delta: 1", "screen.delta", &format!("{fraction} (found 1)"));
    screen("shards: 0", "screen.shards", "must be a whole number from 1 to 4294967295 (found 0)");
    screen("shards: 1025", "screen.shards", "must be a whole number from 1 to 1,024 (found 1025)");
    screen("width: 0, depth: 5", "screen.width", "must be a whole number from 1 to 4294967295 (found 0)");
    screen("width: 5, depth: 711", "screen.depth", "must be a whole number from 1 to 710 (found 711)");
    screen(
        "width: 4294967295, depth: 5",
        "screen",
        "counters must be at most 268435456: choose fewer columns or rows (found 21474836475)",
    );
    screen(
        "epsilon: 1e-7, shards: 2",
        "screen",
        "counters must be at most 268435456 in all shards and parts: choose smaller sketches, or fewer shards (found \
         271828190)",
    );
    is(
        "strategy: fixedWindow, limit: 5000000000, period: 1s, screen: {}",
        "limit",
        "must be from 1 to 4294967295 behind a sketch (found 5000000000)",
    );
    is(
        &format!("{WINDOW}, maxKeys: 4294967296, screen: {{}}"),
        "maxKeys",
        "must be a whole number from 1 to 2^32 - 8 (found 4294967296)",
    );
    let sketch = |block: &str, path: &str, message: &str| is(&format!("sketch: {{ {block} }}"), path, message);
    sketch("limit: 5", "sketch.windowMs", "required");
    sketch("limit: -1, windowMs: 5", "sketch.limit", "must be a finite number above 0 (found -1)");
    sketch("limit: 5, windowMs: 0", "sketch.windowMs", "must be a finite number above 0 (found 0)");
    sketch("limit: 5, windowMs: 5, epsilon: 2", "sketch.epsilon", &format!("{fraction} (found 2)"));
    let list =
        |block: &str, path: &str, message: &str| is(&format!("{WINDOW}, denyList: {{ {block} }}"), path, message);
    list("denials: 0", "denyList.denials", "must be a whole number from 1 to 4294967295 (found 0)");
    list("windowMs: 0", "denyList.windowMs", "must be a finite number above 0 (found 0)");
    list("ttlMs: -5", "denyList.ttlMs", "must be a finite number above 0 (found -5)");
    list("tracked: 1000001", "denyList.tracked", "must be a whole number from 1 to 1000000 (found 1000001)");
    list("places: 16777217", "denyList.places", "must be a whole number from 1 to 16777216 (found 16777217)");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let either = "give either epsilon and delta, or width and depth";
    is(
        &format!("{WINDOW}, screen: {{ width: 5, depth: 5, delta: 0.5 }}"),
        "screen.width",
        &format!("not possible beside delta: {either}"),
    );
    is(&format!("{WINDOW}, screen: {{ width: 5 }}"), "screen.depth", "required");
    is(&format!("{WINDOW}, screen: {{ maxKeys: 5 }}"), "screen.maxKeys", "belongs beside the strategy");
    is("sketch: { limit: 5, windowMs: 5, maxKeys: 5 }", "sketch.maxKeys", "not used by a sketch, which keeps no keys");
    is(&format!("{WINDOW}, screen:"), "screen", "expected a map; {} takes the defaults");
    is(&format!("{WINDOW}, denyList:"), "denyList", "expected a map; {} takes the defaults");
    is(&format!("{WINDOW}, denylist: {{}}"), "denylist", "unknown field, did you mean \"denyList\"?");
    is("sketch:", "sketch", "expected a map with limit and windowMs");
    is("screen: {}", "strategy", "required");
    is(&format!("{WINDOW}, screen: {{ thresh: 5 }}"), "screen.thresh", "unknown field, did you mean \"threshold\"?");
    is(
        &format!("{WINDOW}, screen: {{}}, twoTier: {{ batch: 5 }}"),
        "screen",
        "not possible beside twoTier: a limiter has at most one of tokenBudget, fleetBudget, fairEscrow, sketch, \
         concurrency, twoTier, screen",
    );
    let sketch = "sketch: { limit: 5, windowMs: 5 }";
    is(&format!("strategy: gcra, {sketch}"), "strategy", "not used beside sketch");
    is(&format!("{sketch}, maxKeys: 5"), "maxKeys", "not used by a sketch, which keeps no keys");
    is(
        &format!("{WINDOW}, screen: {{}}, failMode: open"),
        "failMode",
        "not used beside screen, which keeps its keys in process",
    );
    is(
        "sketch: { limit: 5, windowMs: 5 }, prefix: x",
        "prefix",
        "not used beside sketch, which keeps its keys in process",
    );
}

#[test]
fn a_screen_needs_its_keys_in_memory() {
    let text =
        |fields: &str| format!("store: {{ redis: {{ url: redis://cache }} }}\nlimiters: {{ a: {{ {fields} }} }}\n");
    is_of(
        &text(&format!("{WINDOW}, screen: {{}}")),
        "config.limiters[a].screen",
        "not possible where the store is redis: other processes do not see what a sketch counts here; take sketch for a limit \
         of this process, or denyList to spare the store",
    );
    for fields in [format!("{WINDOW}, denyList: {{}}"), "sketch: { limit: 5, windowMs: 5 }".to_owned()] {
        assert!(Config::from_yaml(&text(&fields)).is_ok(), "{fields}");
    }
}

#[test]
fn rules_apply_them_beside_others_and_at_whole_costs() {
    let text = |policies: &str, cost: &str| {
        format!(
            "limiters:
  api: {{ {WINDOW}, denyList: {{}} }}
  more: {{ {WINDOW} }}
  behind: {{ {WINDOW}, screen: {{}} }}
  flood: {{ sketch: {{ limit: 5, windowMs: 5 }} }}
  slots: {{ concurrency: {{}} }}
http: {{ rules: [{{ path: /, policies: {policies}, cost: {cost} }}] }}
"
        )
    };
    for policies in ["[api, more]", "[behind, slots]", "[flood, slots]", "[api, more, slots]"] {
        assert!(Config::from_yaml(&text(policies, "2")).is_ok(), "{policies}");
    }
    for policies in ["[behind, api]", "[flood, api, more]"] {
        assert!(Config::from_yaml(&text(policies, "2")).is_ok(), "the others take units back: {policies}");
    }
    is_of(
        &text("[flood, api, behind]", "2"),
        "config.http.rules[0].policies[2]",
        "the screen \"behind\" cannot be charged all or none beside the sketch \"flood\", since neither takes units back: \
         give one of them a rule of its own",
    );
    is_of(
        &text("[flood]", "0.5"),
        "config.http.rules[0].cost",
        "must be a whole number for the sketch \"flood\" (found 0.5)",
    );
    assert!(Config::from_yaml(&text("[behind]", "0.5")).is_ok());
}

#[test]
fn what_was_made_in_code_is_checked_too() {
    let mut config = Config::from_yaml(&format!("limiters: {{ a: {{ {WINDOW}, screen: {{}} }} }}")).unwrap();
    let limiter = &mut config.limiters[0];
    let mut list = DenyListSpec::default();
    list.denials = 0;
    limiter.deny_list = Some(list);
    let LimiterKind::Screen(screen) = &mut limiter.kind else { panic!("it says screen") };
    screen.shards = 0;
    let problems = config.check().unwrap_err().to_string();
    let lines: Vec<_> = problems.lines().collect();
    assert_eq!(
        lines,
        [
            "config.limiters[a].screen.shards: must be a whole number from 1 to 1,024 (found 0)",
            "config.limiters[a].denyList.denials: must be a whole number of at least 1 (found 0)",
        ]
    );
    config.limiters[0].kind = LimiterKind::Screen(ScreenSpec::default());
    config.limiters[0].deny_list = None;
    config.limiters[0].strategy = None;
    let error = config.check().unwrap_err().to_string();
    assert_eq!(error, "config.limiters[a]: a strategy is required beside screen");
}
