//! The blocks that make a limiter of another kind than a plain one: reading them, and what is wrong with them.

use throttlekit::config::{
    AdaptiveSpec, BudgetSpec, Config, FairEscrowSpec, FleetBudgetSpec, Format, LeaseSpec, LimiterKind, LimiterSpec,
    StrategySpec, TwoTierSpec,
};
use throttlekit::lease::{GrantForm, Mode};
use throttlekit::{FailMode, Share};

const WINDOW: &str = "strategy: fixedWindow, limit: 100, period: 1s";

/// The limiter `a` with these fields.
fn read(fields: &str) -> LimiterSpec {
    Config::from_yaml(&format!("limiters: {{ a: {{ {fields} }} }}")).unwrap().limiters[0].clone()
}

fn tiers(block: &str) -> TwoTierSpec {
    match read(&format!("{WINDOW}, twoTier: {block}")).kind {
        LimiterKind::TwoTier(spec) => spec,
        other => panic!("{other:?}"),
    }
}

/// The only problem of a limiter with these fields: its path below the limiter and its message. It has a place.
fn is(fields: &str, path: &str, message: &str) {
    let errors = Config::from_yaml(&format!("limiters: {{ a: {{ {fields} }} }}")).unwrap_err();
    let found: Vec<_> = errors
        .problems()
        .iter()
        .map(|problem| {
            assert!(problem.position.is_some(), "{problem}");
            let path = problem.path.strip_prefix("config.limiters[a]").unwrap();
            (path.trim_start_matches('.'), problem.message.as_str())
        })
        .collect();
    assert_eq!(found, [(path, message)], "{fields}");
}

const YAML: &str = "
limiters:
  api:
    strategy: fixedWindow
    limit: 100
    period: 1s
    twoTier:
      batch: 5
      lowWater: 2
      windowCoupled: true
      returnIdleAfterMs: 1500
      grant: whole
      maxKeys: 1000
      adaptive: { orderCost: 20, strandPenalty: 0.5, minSize: 2, maxSize: 50, initialSize: 9, stepScale: 0.7, epsilon: 1e-6 }
  tokens: { tokenBudget: { budget: 1000, windowMs: 60000, maxDebt: 10, carryDebt: true, wholeDebits: true, maxKeys: 7 } }
  fleet:
    failMode: { local: { share: 0.5 } }
    fleetBudget: { budget: 1000, windowMs: 60000, prefix: spent, leased: { batch: 100 } }
  fair:
    fairEscrow:
      limit: 90
      windowMs: 1000
      weights: { gold: 3, 'a b': 0.5 }
      maxKeys: 8
      costRoom: false
      costRoomMaxKeys: 5
      costRoomRingSize: 6
      unit: tokens
";
const JSON: &str = r#"{ "limiters": {
        "api": { "strategy": "fixedWindow", "limit": 100, "windowMs": 1000, "twoTier": { "mode": "leased", "batch": 5,
            "lowWater": 2, "windowCoupled": true, "returnIdleAfterMs": 1500, "grant": "whole", "maxKeys": 1000,
            "adaptive": { "orderCost": 20, "strandPenalty": 0.5, "minSize": 2, "maxSize": 50, "initialSize": 9,
                "stepScale": 0.7, "epsilon": 1e-6, "predictive": false } } },
        "tokens": { "tokenBudget": { "budget": 1000, "windowMs": 6e4, "maxDebt": 10, "carryDebt": true,
            "wholeDebits": true, "maxKeys": 7 } },
        "fleet": { "fleetBudget": { "budget": 1000, "windowMs": 60000, "prefix": "spent", "leased": { "batch": 100 } },
            "failMode": { "local": { "share": 0.5 } } },
        "fair": { "fairEscrow": { "limit": 90, "windowMs": 1000, "weights": { "gold": 3, "a b": 0.5 }, "maxKeys": 8,
            "costRoom": false, "costRoomMaxKeys": 5, "costRoomRingSize": 6, "unit": "tokens" } } } }"#;
const TOML: &str = "
[limiters.api]
strategy = 'fixedWindow'
limit = 100
period = '1s'
[limiters.api.twoTier]
batch = 5
lowWater = 2
windowCoupled = true
returnIdleAfterMs = 1500
grant = 'whole'
maxKeys = 1000
adaptive = { orderCost = 20, strandPenalty = 0.5, minSize = 2, maxSize = 50, initialSize = 9, stepScale = 0.7, epsilon = 1e-6 }
[limiters.tokens]
tokenBudget = { budget = 1000, windowMs = 60000, maxDebt = 10, carryDebt = true, wholeDebits = true, maxKeys = 7 }
[limiters.fleet]
failMode.local.share = 0.5
fleetBudget = { budget = 1000, windowMs = 60000, prefix = 'spent', leased = { batch = 100 } }
[limiters.fair.fairEscrow]
limit = 90
windowMs = 1000
weights = { gold = 3, 'a b' = 0.5 }
maxKeys = 8
costRoom = false
costRoomMaxKeys = 5
costRoomRingSize = 6
unit = 'tokens'
";

#[test]
fn every_format_says_the_same() {
    let read = [(YAML, Format::Yaml), (JSON, Format::Json), (TOML, Format::Toml)]
        .map(|(text, format)| Config::parse(text, format).unwrap_or_else(|errors| panic!("{errors}")));
    assert_eq!(read[0], read[1]);
    assert_eq!(read[0], read[2]);

    let mut adaptive = AdaptiveSpec::new(20.0, 0.5);
    (adaptive.min_size, adaptive.max_size, adaptive.initial_size) = (2.0, 50.0, Some(9.0));
    (adaptive.step_scale, adaptive.epsilon) = (Some(0.7), 1e-6);
    let mut tiers = TwoTierSpec::new(Mode::Leased);
    tiers.window_coupled = true;
    (tiers.lease.batch, tiers.lease.low_water, tiers.lease.return_idle_after_ms) = (Some(5.0), 2.0, Some(1_500.0));
    (tiers.lease.grant, tiers.lease.max_keys, tiers.lease.adaptive) = (GrantForm::Whole, 1_000, Some(adaptive));
    let window = StrategySpec::FixedWindow { limit: 100.0, window_ms: 1_000.0 };

    let mut tokens = BudgetSpec::new(1_000.0, 60_000.0);
    (tokens.max_debt, tokens.carry_debt, tokens.whole_debits, tokens.max_keys) = (Some(10.0), true, true, 7);

    let mut fleet = FleetBudgetSpec::new(BudgetSpec::new(1_000.0, 60_000.0));
    let mut lease = LeaseSpec::default();
    lease.batch = Some(100.0);
    fleet.leased = Some(lease);
    let mut fleet = LimiterSpec::of_kind("fleet", LimiterKind::FleetBudget(fleet));
    fleet.prefix = Some("spent".to_owned());
    fleet.fail_mode = FailMode::Local(Share::new(0.5).unwrap());

    let mut fair = FairEscrowSpec::new(90.0, 1_000.0);
    fair.weights = vec![("gold".to_owned(), 3.0), ("a b".to_owned(), 0.5)];
    (fair.max_keys, fair.cost_room, fair.cost_room_max_keys, fair.cost_room_ring_size) = (8, false, 5, 6);
    fair.unit = "tokens".to_owned();

    let expected = [
        LimiterSpec::in_tiers("api", window, tiers),
        LimiterSpec::of_kind("tokens", LimiterKind::TokenBudget(tokens)),
        fleet,
        LimiterSpec::of_kind("fair", LimiterKind::FairEscrow(fair)),
    ];
    assert_eq!(read[0].limiters, expected);
    let names: Vec<_> = expected.iter().map(|limiter| limiter.kind.name()).collect();
    assert_eq!(names, ["twoTier", "tokenBudget", "fleetBudget", "fairEscrow"]);
    assert_eq!(read[0].effective_prefix(&read[0].limiters[2]), "spent");
}

#[test]
fn what_is_left_out_has_defaults() {
    let spec = tiers("{ batch: 5 }");
    assert_eq!((spec.mode, spec.window_coupled, spec.lease.low_water), (Mode::Leased, false, 0.0));
    assert_eq!(
        (spec.lease.grant, spec.lease.return_idle_after_ms, spec.lease.max_keys),
        (GrantForm::Partial, None, 100_000)
    );
    assert_eq!(tiers("{ mode: strict }").mode, Mode::Strict);
    assert!(
        tiers("{ adaptive: { orderCost: 20, strandPenalty: 1, predictive: true } }").lease.adaptive.unwrap().predictive
    );

    let LimiterKind::TokenBudget(budget) = read("tokenBudget: { budget: 5, windowMs: 9 }").kind else {
        panic!("a budget")
    };
    assert_eq!(
        (budget.max_debt, budget.carry_debt, budget.whole_debits, budget.max_keys),
        (None, false, false, 100_000)
    );

    let LimiterKind::FairEscrow(fair) = read("fairEscrow: { limit: 5, windowMs: 9 }").kind else { panic!("shares") };
    assert_eq!(
        (fair.max_keys, fair.cost_room, fair.cost_room_max_keys, fair.cost_room_ring_size),
        (100_000, true, 64, 16)
    );
    assert_eq!((fair.unit.as_str(), fair.weights.len()), ("units (cost)", 0));
}

/// A file may change its mode and keep the rest.
#[test]
fn other_modes_leave_the_keys_of_leases_unread() {
    for mode in ["strict", "cached-deny"] {
        let block = format!("{{ mode: {mode}, batch: x, lowWater: -1, windowCoupled: 5, returnIdleAfterMs: 0 }}");
        assert_eq!(tiers(&block).lease, LeaseSpec::default());
        let only = format!("not used in mode {mode}, only in: leased");
        is(&format!("{WINDOW}, twoTier: {{ mode: {mode}, grant: whole }}"), "twoTier.grant", &only);
        is(&format!("{WINDOW}, twoTier: {{ mode: {mode}, adaptive: {{}} }}"), "twoTier.adaptive", &only);
    }
    assert_eq!(tiers("{ mode: cached-deny, maxKeys: 9 }").lease.max_keys, 9);
    let message = "not used in mode strict, only in: cached-deny, leased";
    is(&format!("{WINDOW}, twoTier: {{ mode: strict, maxKeys: 9 }}"), "twoTier.maxKeys", message);
}

#[test]
fn what_is_wrong_with_tiers_is_said_at_its_place() {
    let wrong = |block: &str, path: &str, message: &str| {
        is(&format!("{WINDOW}, twoTier: {{ {block} }}"), &format!("twoTier{path}"), message);
    };
    wrong("", "", "batch required in mode leased, unless `adaptive` or a sizer says how much to lease");
    wrong("mode: lease", ".mode", r#"unknown mode "lease", did you mean "leased"?"#);
    wrong("mode: lease, batch: x, grant: 5", ".mode", r#"unknown mode "lease", did you mean "leased"?"#);
    wrong("btach: 5, batch: 5", ".btach", r#"unknown field, did you mean "batch"?"#);
    let known = "mode, windowCoupled, batch, lowWater, returnIdleAfterMs, grant, maxKeys, adaptive";
    wrong("shards: 5, batch: 5", ".shards", &format!("unknown field, known are {known}"));
    let range =
        |found: &str| format!("must be a finite number of at least 1 and at most 9007199254740991 (found {found})");
    wrong("batch: 0.5", ".batch", &range("0.5"));
    wrong("batch: five", ".batch", "expected a number, found the text \"five\"");
    let low = "must be a finite number from 0 to 9007199254740991 (found -1)";
    wrong("batch: 5, lowWater: -1", ".lowWater", low);
    let idle = "must be a finite number above 0 and at most 9007199254740991 (found 0)";
    wrong("batch: 5, returnIdleAfterMs: 0", ".returnIdleAfterMs", idle);
    wrong("batch: 5, windowCoupled: 1", ".windowCoupled", "expected true or false, found the number 1");
    wrong("batch: 5, grant: all", ".grant", "unknown form of grants \"all\", known are partial, whole");
    wrong("batch: 5, maxKeys: 0", ".maxKeys", "must be a whole number from 1 to 4294967296 (found 0)");
    wrong("batch: 5, adaptive:", ".adaptive", "expected a map with orderCost and strandPenalty");
    let learnt = |fields: &str, path: &str, message: &str| {
        wrong(&format!("adaptive: {{ {fields} }}"), &format!(".adaptive{path}"), message);
    };
    let costs = |fields: &str| format!("orderCost: 20, strandPenalty: 1, {fields}");
    learnt("orderCost: 20", ".strandPenalty", "required");
    learnt("strandPenalty: 1", ".orderCost", "required");
    let above = |found: &str| format!("must be a finite number above 0 (found {found})");
    learnt("orderCost: 0, strandPenalty: 1", ".orderCost", &above("0"));
    learnt("orderCost: 1, strandPenalty: -1", ".strandPenalty", &above("-1"));
    learnt(&costs("minSize: 0"), ".minSize", "must be a finite number of at least 1 (found 0)");
    learnt(&costs("maxSize: 0.5"), ".maxSize", "must be a finite number of at least minSize (1) (found 0.5)");
    learnt(&costs("initialSize: 0"), ".initialSize", "must be a finite number of at least 1 (found 0)");
    learnt(&costs("stepScale: 0"), ".stepScale", &above("0"));
    learnt(&costs("epsilon: 0"), ".epsilon", &above("0"));
    learnt(&costs("predictive: last"), ".predictive", "expected true or false, found the text \"last\"");
    learnt(&costs("predictive: true, stepScale: 0"), ".stepScale", &above("0"));
    learnt(&costs("minsize: 1"), ".minsize", r#"unknown field, did you mean "minSize"?"#);
    // What is given twice over, or missing around it.
    is("twoTier: { batch: 5 }", "strategy", "required");
    is(&format!("{WINDOW}, twoTier: 5"), "twoTier", "expected a map, found the number 5");
    let null = "expected a map with batch, adaptive or another mode than leased";
    is(&format!("{WINDOW}, twoTier:"), "twoTier", null);
}

#[test]
fn coupling_needs_windows_that_all_share() {
    for (strategy, name) in [
        ("strategy: gcra, limit: 5, period: 1s", "gcra"),
        ("strategy: tokenBucket, capacity: 5, refillPerSec: 1", "tokenBucket"),
        ("strategy: slidingWindow, limit: 5, period: 1s", "slidingWindow"),
        ("strategy: slidingWindowLog, limit: 5, period: 1s", "slidingWindowLog"),
    ] {
        let message = format!(
            "must be false for {name}, which has no windows that all keys share; a fixed window or a quota has (found true)"
        );
        let fields = format!("{strategy}, twoTier: {{ batch: 5, windowCoupled: true }}");
        is(&fields, "twoTier.windowCoupled", &message);
        read(&format!("{strategy}, twoTier: {{ batch: 5, windowCoupled: false }}"));
    }
    read("strategy: quota, limit: 5, resetCadence: calendar-month, twoTier: { batch: 5, windowCoupled: true }");
}

#[test]
fn what_is_wrong_with_budgets_is_said_at_its_place() {
    for block in ["tokenBudget", "fleetBudget"] {
        let wrong = |fields: &str, path: &str, message: &str| {
            is(&format!("{block}: {{ {fields} }}"), &format!("{block}{path}"), message);
        };
        wrong("budget: 5", ".windowMs", "required");
        wrong("windowMs: 5", ".budget", "required");
        wrong("budget: 0, windowMs: 5", ".budget", "must be a finite number >= 1 (found 0)");
        wrong("budget: 5, windowMs: 0", ".windowMs", "must be a finite number above 0 (found 0)");
        wrong("budget: 5, windowMs: 1m", ".windowMs", "expected a number, found the text \"1m\"");
        wrong("budget: .inf, windowMs: 1", ".budget", "must be a finite number (found inf)");
        let debt = "must be a number from 0 to 9007199254740986 (found -1)";
        wrong("budget: 5, windowMs: 1, maxDebt: -1", ".maxDebt", debt);
        wrong("budget: 5, windowMs: 1, carryDebt: 1", ".carryDebt", "expected true or false, found the number 1");
        wrong("budget: 5, windowMs: 1, wholeDebits: 1", ".wholeDebits", "expected true or false, found the number 1");
        let keys = "must be a whole number from 1 to 4294967296 (found 1.5)";
        wrong("budget: 5, windowMs: 1, maxKeys: 1.5", ".maxKeys", keys);
        wrong("budget: 5, windowMs: 1, budgte: 1", ".budgte", r#"unknown field, did you mean "budget"?"#);
        is(&format!("{block}: 5"), block, "expected a map, found the number 5");
        is(&format!("{block}:"), block, "expected a map with budget and windowMs");
        let good = format!("{block}: {{ budget: 5, windowMs: 1 }}");
        is(&format!("{good}, strategy: gcra"), "strategy", &format!("not used beside {block}"));
        is(&format!("{good}, limit: 5"), "limit", &format!("not used beside {block}"));
        is(&format!("{good}, maxKeys: 5"), "maxKeys", &format!("belongs into {block}"));
    }
    let process = "not used beside tokenBudget, which keeps its keys in process";
    is("tokenBudget: { budget: 5, windowMs: 1 }, prefix: x", "prefix", process);
    is("tokenBudget: { budget: 5, windowMs: 1 }, failMode: open", "failMode", process);
    is("fleetBudget: { budget: 5, windowMs: 1 }, prefix: x", "prefix", "belongs into fleetBudget");

    let leased = |fields: &str, path: &str, message: &str| {
        let block = format!("fleetBudget: {{ budget: 5, windowMs: 1, {fields} }}");
        is(&block, &format!("fleetBudget.{path}"), message);
    };
    let no_size = "batch required in mode leased, unless `adaptive` or a sizer says how much to lease";
    leased("leased: {}", "leased", no_size);
    leased("leased:", "leased", "expected a map with batch or adaptive");
    leased("leased: { batch: 5, windowCoupled: true }", "leased.windowCoupled", "not used by leases of a budget");
    leased("leased: { batch: 5, mode: strict }", "leased.mode", "not used by leases of a budget");
    leased(
        "leased: { adaptive: { orderCost: 0, strandPenalty: 1 } }",
        "leased.adaptive.orderCost",
        "must be a finite number above 0 (found 0)",
    );
    let whole = "not used beside leased, where debits are always whole";
    leased("wholeDebits: false, leased: { batch: 5 }", "wholeDebits", whole);
}

#[test]
fn what_is_wrong_with_shares_is_said_at_its_place() {
    let wrong = |fields: &str, path: &str, message: &str| {
        is(&format!("fairEscrow: {{ {fields} }}"), &format!("fairEscrow{path}"), message);
    };
    let with = |fields: &str| format!("limit: 5, windowMs: 9, {fields}");
    let whole = |most: u64, found: &str| format!("must be a whole number from 1 to {most} (found {found})");
    wrong("limit: 5", ".windowMs", "required");
    wrong("windowMs: 5", ".limit", "required");
    wrong("limit: 0.5, windowMs: 9", ".limit", "must be at least 1 (found 0.5)");
    wrong("limit: 5, windowMs: -9", ".windowMs", "must be a finite number above 0 (found -9)");
    wrong(&with("weights: { a: 0 }"), ".weights.a", "must be a finite number above 0 (found 0)");
    wrong(&with("weights: { a: x }"), ".weights.a", "expected a number, found the text \"x\"");
    wrong(&with("weights: 5"), ".weights", "expected a map, found the number 5");
    wrong(&with("maxKeys: 0"), ".maxKeys", &whole(1 << 32, "0"));
    wrong(&with("costRoom: maybe"), ".costRoom", "expected true or false, found the text \"maybe\"");
    wrong(&with("costRoomMaxKeys: 0"), ".costRoomMaxKeys", &whole(u64::from(u32::MAX), "0"));
    wrong(&with("costRoomRingSize: 0"), ".costRoomRingSize", &whole(u64::from(u32::MAX), "0"));
    let text = "expected a text, found the number 5; a text that looks like something else needs quotes";
    wrong(&with("unit: 5"), ".unit", text);
    wrong(&with("wieghts: {}"), ".wieghts", r#"unknown field, did you mean "weights"?"#);
    is("fairEscrow:", "fairEscrow", "expected a map with limit and windowMs");
    let process = "not used beside fairEscrow, which keeps its keys in process";
    is("fairEscrow: { limit: 5, windowMs: 9 }, failMode: closed", "failMode", process);
}

/// One clear error, whatever else is in the limiter.
#[test]
fn blocks_exclude_each_other() {
    const BLOCKS: [&str; 7] =
        ["tokenBudget", "fleetBudget", "fairEscrow", "sketch", "concurrency", "twoTier", "screen"];
    for (index, second) in BLOCKS.iter().enumerate() {
        for first in &BLOCKS[..index] {
            let message = format!("not possible beside {first}: a limiter has at most one of {}", BLOCKS.join(", "));
            is(&format!("{first}: {{}}, {second}: 5, burts: 7"), second, &message);
            is(&format!("strategy: gcra, {second}:, {first}:"), second, &message);
        }
    }
}

/// The second one of a rule, by what is wrong with it; `Ok` if the rule is right.
fn rule(limiters: &str, rule: &str) -> Result<(), String> {
    let text = format!("limiters:\n{limiters}\nhttp: {{ rules: [{{ path: /, {rule} }}] }}\n");
    Config::from_yaml(&text).map(drop).map_err(|errors| {
        let problems: Vec<_> =
            errors.problems().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        assert!(errors.problems().iter().all(|problem| problem.position.is_some()), "{errors}");
        problems.join("\n").replace("config.http.rules[0].", "")
    })
}

const LIMITERS: &str = "  api: { strategy: gcra, limit: 5, period: 1s }
  log: { strategy: slidingWindowLog, limit: 5, period: 1s }
  logs: { strategy: slidingWindowLog, limit: 9, period: 1m }
  slots: { concurrency: {} }
  tiers: { strategy: gcra, limit: 5, period: 1s, twoTier: { mode: strict } }
  tierLog: { strategy: slidingWindowLog, limit: 5, period: 1s, twoTier: { batch: 2 } }
  tokens: { tokenBudget: { budget: 5, windowMs: 1 } }
  fleet: { fleetBudget: { budget: 5, windowMs: 1 } }
  leased: { fleetBudget: { budget: 5, windowMs: 1, leased: { batch: 2 } } }
  fair: { fairEscrow: { limit: 5, windowMs: 9 } }";

#[test]
fn what_takes_units_back_is_charged_with_anything() {
    let stored = format!("{LIMITERS}\nstore: {{ redis: {{ url: redis://cache }} }}");
    for limiters in [LIMITERS, &stored] {
        for name in ["api", "log", "tiers", "tokens", "fleet", "leased", "fair"] {
            for policies in [format!("[{name}]"), format!("[{name}, slots]")] {
                assert_eq!(rule(limiters, &format!("policies: {policies}")), Ok(()));
            }
            for other in ["api", "tokens", "fleet", "tiers", "leased"].into_iter().filter(|other| *other != name) {
                assert_eq!(rule(limiters, &format!("policies: [{name}, slots, {other}]")), Ok(()));
            }
        }
        assert_eq!(rule(limiters, "policies: [log, logs, tokens, api, fleet]"), Ok(()), "one place holds both");
    }
}

#[test]
fn of_two_that_take_no_units_back_one_has_a_rule_of_its_own() {
    let refused = |index: usize, one: &str, other: &str| {
        Err(format!(
            "policies[{index}]: the {one} cannot be charged all or none beside the {other}, since neither takes units back: \
             give one of them a rule of its own"
        ))
    };
    let (tiers, fair, log) = ("twoTier \"tierLog\"", "fairEscrow \"fair\"", "slidingWindowLog \"log\"");
    assert_eq!(rule(LIMITERS, "policies: [tierLog, fair]"), refused(1, fair, tiers));
    assert_eq!(rule(LIMITERS, "policies: [api, tierLog, tokens, log]"), refused(3, log, tiers));
    assert_eq!(rule(LIMITERS, "policies: [log, slots, fair]"), refused(2, fair, log));
}

#[test]
fn a_store_that_could_not_be_read_makes_no_other_problem() {
    for store in ["7", "redsi", "{}", "{ redis: 7 }", "{ redis: }", "{ memory: {}, redis: { url: redis://cache } }"] {
        let unread = format!("{LIMITERS}\nstore: {store}");
        let errors = rule(&unread, "policies: [api, fleet]").unwrap_err();
        assert!(errors.starts_with("config.store") && errors.lines().count() == 1, "{store}: {errors}");
    }
}

#[test]
fn a_policy_may_cost_something_else() {
    assert_eq!(rule(LIMITERS, "policies: [api, tokens], costs: { tokens: 3, api: 0.5 }"), Ok(()));
    assert_eq!(rule(LIMITERS, "policies: [api, tokens], cost: 0.5, costs: { tokens: 3 }"), Ok(()));
    for (rest, problem) in [
        ("costs: { token: 3 }", "costs.token: there is no policy \"token\" here, did you mean \"tokens\"?"),
        ("costs: { fleet: 3 }", "costs.fleet: there is no policy \"fleet\" here, known are api, tokens, slots"),
        ("costs: { slots: 3 }", "costs.slots: not used: \"slots\" limits no units"),
        ("costs: { tokens: 1.5 }", "costs.tokens: must be a whole number for the tokenBudget \"tokens\" (found 1.5)"),
        ("cost: 1.5, costs: { api: 2 }", "cost: must be a whole number for the tokenBudget \"tokens\" (found 1.5)"),
        ("costs: { tokens: 0 }", "costs.tokens: must be a finite number above 0 (found 0)"),
        (
            "costs: { tokens: 1e300 }",
            "costs.tokens: must be a number above 0 and at most 9007199254740991 (found 1e300)",
        ),
        ("costs: { tokens: many }", "costs.tokens: expected a number, found the text \"many\""),
        ("costs: 5", "costs: expected a map, found the number 5"),
    ] {
        assert_eq!(rule(LIMITERS, &format!("policies: [api, tokens, slots], {rest}")), Err(problem.to_owned()));
    }
}

#[test]
fn budgets_count_whole_units() {
    for (name, kind) in [("tokens", "tokenBudget"), ("leased", "fleetBudget")] {
        let message = format!("cost: must be a whole number for the {kind} \"{name}\" (found 1.5)");
        assert_eq!(rule(LIMITERS, &format!("policy: {name}, cost: 1.5")), Err(message));
        assert_eq!(rule(LIMITERS, &format!("policy: {name}, cost: 3")), Ok(()));
    }
    assert_eq!(rule(LIMITERS, "policy: fair, cost: 1.5"), Ok(()));
}

#[test]
fn keys_that_are_stored_do_not_collide() {
    let text = |fleet: &str| {
        format!(
            "limiters: {{ a: {{ strategy: gcra, limit: 5, period: 1s, prefix: x }}, b: {{ fleetBudget: {fleet} }} }}"
        )
    };
    let errors = Config::from_yaml(&text("{ budget: 5, windowMs: 1, prefix: 'x:y' }")).unwrap_err();
    let [problem] = errors.problems() else { panic!("{errors}") };
    assert_eq!(problem.path, "config.limiters[b].fleetBudget.prefix", "{errors}");
    assert_eq!(problem.position.map(|at| (at.line, at.column)), Some((1, 121)));
    Config::from_yaml(&text("{ budget: 5, windowMs: 1 }")).unwrap();
    // What is in process is stored nowhere.
    let text = "limiters: { a: { strategy: gcra, limit: 5, period: 1s, prefix: b }, b: { tokenBudget: { budget: 5, windowMs: 1 } } }";
    Config::from_yaml(text).unwrap();
}

#[test]
fn a_configuration_made_in_code_is_checked_too() {
    let mut config = Config::default();
    let window = StrategySpec::FixedWindow { limit: 5.0, window_ms: 1_000.0 };
    config.limiters.push(LimiterSpec::in_tiers("tiers", window, TwoTierSpec::default()));
    let mut without = LimiterSpec::in_tiers("without", window, TwoTierSpec::new(Mode::Strict));
    without.strategy = None;
    config.limiters.push(without);
    let mut budget = BudgetSpec::new(5.0, 1.0);
    budget.max_keys = 0;
    config.limiters.push(LimiterSpec::of_kind("tokens", LimiterKind::TokenBudget(budget)));
    let fleet = FleetBudgetSpec::new(BudgetSpec::new(5.0, f64::NAN));
    config.limiters.push(LimiterSpec::of_kind("fleet", LimiterKind::FleetBudget(fleet)));
    let mut fair = FairEscrowSpec::new(5.0, 1_000.0);
    fair.weights = vec![("x".to_owned(), -1.0)];
    config.limiters.push(LimiterSpec::of_kind("fair", LimiterKind::FairEscrow(fair)));
    let mut shown = FairEscrowSpec::new(5.0, 1_000.0);
    shown.cost_room_ring_size = 0;
    config.limiters.push(LimiterSpec::of_kind("shown", LimiterKind::FairEscrow(shown)));
    let mut both = LimiterSpec::of_kind("both", LimiterKind::TokenBudget(BudgetSpec::new(5.0, 1.0)));
    both.strategy = Some(window);
    config.limiters.push(both);
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "config.limiters[tiers].twoTier.batch: required in mode leased, unless `adaptive` or a sizer says how much to \
         lease\n\
         config.limiters[without]: a strategy is required beside twoTier\n\
         config.limiters[tokens].tokenBudget.maxKeys: must be a whole number from 1 to 4294967296 (found 0)\n\
         config.limiters[fleet].fleetBudget.windowMs: must be a finite number above 0 (found NaN)\n\
         config.limiters[fair].fairEscrow.weights: must be a finite number above 0 for the tenant `x` (found -1)\n\
         config.limiters[shown].fairEscrow.costRoomRingSize: must be a whole number above 0 (found 0)\n\
         config.limiters[both]: tokenBudget is not possible beside a strategy"
    );
}
