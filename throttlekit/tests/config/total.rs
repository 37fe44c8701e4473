//! Reading is total: any text gives a configuration or errors whose places are in the text.

use std::time::Duration;

use proptest::prelude::*;
use throttlekit::config::{Config, ConfigErrors, Format};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Admit, Ask, BoxFuture, ManualClock, Runtime, TaskHandle};

const FORMATS: [Format; 3] = [Format::Yaml, Format::Json, Format::Toml];

const YAML: &str = "defaults: { prefix: tk }\nlimiters:\n  a: { strategy: gcra, limit: 5, period: 1m, burst: 9 }\n  \
                    b:\n    strategy: tokenBucket\n    capacity: 2.5\n    refillPerSec: 1e3 # fast\nhttp:\n  rules:\n    \
                    - { path: '/x/{id}', methods: [GET], policies: [a, b], key: { header: x-key } }\n";
const JSON: &str = "{\"limiters\": {\"a\": {\"strategy\": \"quota\", \"limit\": 5, \"resetCadence\": \"calendar-week\"},\n\
                    \"\\u00e9\": {\"strategy\": \"slidingWindow\", \"limit\": 1e2, \"period\": \"1h\", \"buckets\": 4}},\n\
                    \"http\": {\"rules\": [{\"path\": \"/\", \"policy\": \"a\", \"headers\": [\"draft\"]}]}}\n";
const TOML: &str = "[limiters.a]\nstrategy = 'slidingWindowLog'\nlimit = 5\nperiod = \"1.5s\"\n\n[limiters]\n\
                    b = { strategy = \"fixedWindow\", limit = 0x10, windowMs = 1_000 }\n\n[[http.rules]]\npath = \"/{*rest}\"\n\
                    policy = \"b\"\nkey.constant = 'all'\n";

/// What texts are likely to go wrong with.
const PIECES: [&str; 48] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "'",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "- ",
    "# ",
    "&a ",
    "*a",
    "!x ",
    "|\n",
    ">\n",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "? ",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "é",
    "\\u0000",
    "\\ud800",
    "\0",
    "=",
    ".",
    "[[",
    "]]",
    "\"\"\"",
    "'''",
    "0",
    "-1",
    "1e999",
    "nan",
    "null",
    "true",
    "limiters",
    "http: ",
    "a: ",
    "{a: ",
    "a.b.",
    "<<: ",
];

/// A block with fields that are right: what opens it, the fields, and what closes it.
type Block = (&'static str, &'static [&'static str], &'static str);

const BLOCKS: [Block; 11] = [
    (
        "strategy: fixedWindow, limit: 9, period: 1s, twoTier: {",
        &[
            "mode: leased",
            "batch: 5",
            "lowWater: 2",
            "windowCoupled: true",
            "returnIdleAfterMs: 50",
            "grant: whole",
            "maxKeys: 7",
            "adaptive: { orderCost: 20, strandPenalty: 1 }",
        ],
        "}",
    ),
    ("strategy: gcra, limit: 9, period: 1s, twoTier: {", &["mode: cached-deny", "batch: 5", "maxKeys: 7"], "}"),
    (
        "strategy: slidingWindow, limit: 9, period: 1s, twoTier: { adaptive: {",
        &[
            "orderCost: 20",
            "strandPenalty: 1",
            "minSize: 2",
            "maxSize: 50",
            "initialSize: 9",
            "stepScale: 0.5",
            "epsilon: 0.1",
            "predictive: true",
        ],
        "} }",
    ),
    (
        "tokenBudget: {",
        &["budget: 9", "windowMs: 50", "maxDebt: 5", "carryDebt: true", "wholeDebits: true", "maxKeys: 7"],
        "}",
    ),
    ("fleetBudget: {", &["budget: 9", "windowMs: 50", "carryDebt: true", "prefix: x", "leased: { batch: 5 }"], "}"),
    (
        "fleetBudget: { budget: 9, windowMs: 50, leased: {",
        &["batch: 5", "lowWater: 2", "returnIdleAfterMs: 50", "grant: partial", "maxKeys: 7"],
        "} }",
    ),
    (
        "fairEscrow: {",
        &[
            "limit: 9",
            "windowMs: 50",
            "weights: { a: 2 }",
            "maxKeys: 7",
            "costRoom: true",
            "costRoomMaxKeys: 7",
            "costRoomRingSize: 7",
            "unit: x",
        ],
        "}",
    ),
    (
        "strategy: gcra, limit: 9, period: 1s, screen: {",
        &["threshold: 5", "epsilon: 0.1", "delta: 0.1", "shards: 2"],
        "}",
    ),
    ("strategy: quota, limit: 9, resetCadence: calendar-day, screen: {", &["width: 9, depth: 2", "shards: 1"], "}"),
    ("sketch: {", &["limit: 9", "windowMs: 50", "sliding: true", "epsilon: 0.1", "delta: 0.1", "shards: 2"], "}"),
    (
        "strategy: gcra, limit: 9, period: 1s, denyList: {",
        &["denials: 3", "windowMs: 50", "ttlMs: 50", "tracked: 7", "places: 64"],
        "}",
    ),
];

/// A rule with plans, as [`BLOCKS`].
const PLANS: [Block; 4] = [
    ("from: { claim: plan }, table: { pro: {", &["policy: a", "cost: 2", "priority: high"], "} }"),
    ("from: key, table: { pro: {", &["policies: [a]", "keys: [k, l]"], "} }"),
    ("", &["from: { trustedHeader: x-plan }", "table: { pro: { policy: a } }"], ""),
    ("table: { pro: { policy: a }, b: { policy: a } }, from: {", &["claim: plan"], "}"),
];

/// What the fuzz targets begin with.
const SEEDS: [(&str, Format); 5] = [
    (include_str!("../../../fuzz/seeds/config_yaml/plans.yaml"), Format::Yaml),
    (include_str!("../../../fuzz/seeds/config_yaml/sketches.yaml"), Format::Yaml),
    (include_str!("../../../fuzz/seeds/config_json/plans.json"), Format::Json),
    (include_str!("../../../fuzz/seeds/config_json/sketches.json"), Format::Json),
    (include_str!("../../../fuzz/seeds/config_toml/plans.toml"), Format::Toml),
];

/// What a field may be given instead.
const VALUES: [&str; 22] = [
    "",
    "x",
    "'5'",
    "true",
    "strict",
    "[]",
    "[1]",
    "{}",
    "{ a: 0 }",
    "{ batch: 0 }",
    "-1",
    "-0",
    "0",
    "0.5",
    "1",
    "1e300",
    "1e-300",
    "5e-324",
    ".nan",
    ".inf",
    "4294967296",
    "9007199254740991",
];

/// Runs nothing.
struct Idle;

impl Runtime for Idle {
    fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
        TaskHandle::new(|| {})
    }

    fn sleep(&self, _span: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

/// Every place is in the text, and every problem is one line.
fn assert_placed(text: &str, errors: &ConfigErrors) {
    assert!(!errors.problems().is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in errors.problems() {
        let position = problem.position.unwrap_or_else(|| panic!("{text:?}: {problem} has no place"));
        assert!((1..=lines.len()).contains(&position.line), "{text:?}: {problem}");
        let columns = lines[position.line - 1].chars().count() + 1;
        // A mark at the start is not counted by whoever reads, and YAML has line breaks of its own.
        assert!((1..=columns + 1).contains(&position.column), "{text:?}: {problem}: column {}", position.column);
        assert!(!problem.to_string().contains('\n'), "{text:?}: {problem}");
    }
}

fn assert_total(text: &str) {
    for format in FORMATS {
        let result = Config::parse(text, format);
        assert_eq!(result, Config::parse(text, format), "deterministic");
        match result {
            Err(errors) => assert_placed(text, &errors),
            Ok(config) => {
                // What loads also decides.
                let options = LoadOptions::new().clock(ManualClock::new(1_700_000_000_123.0)).runtime(Idle);
                let policies = Policies::from_config(config, options).unwrap();
                for policy in policies.current().iter() {
                    let decision = policy.admit().admit(&Ask::new("k")).now().unwrap().unwrap().decision;
                    assert_eq!(decision.allowed, decision.retry_after_ms == 0, "{text:?}");
                }
            }
        }
    }
}

/// A block is right, and total with another value in the place of one field or without it.
fn assert_field(block: Block, field: usize, value: Option<&str>, text: impl Fn(&str) -> String) {
    let (open, fields, close) = block;
    let with = |other: Option<String>| {
        let given = |(index, of): (usize, &&str)| if index == field { other.clone() } else { Some((*of).to_owned()) };
        let fields: Vec<_> = fields.iter().enumerate().filter_map(given).collect();
        text(&format!("{open} {} {close}", fields.join(", ")))
    };
    let (name, right) = fields[field].split_once(": ").expect("a name and a value");
    let text = with(Some(format!("{name}: {right}")));
    assert!(Config::from_yaml(&text).is_ok(), "{text}");
    assert_total(&with(value.map(|value| format!("{name}: {value}"))));
}

fn edit(text: &str, edits: &[(prop::sample::Index, usize, &str)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, removed, inserted) in edits {
        let at = at.index(chars.len() + 1);
        let end = (at + removed).min(chars.len());
        chars.splice(at..end, inserted.chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_any_text(text in "\\PC{0,80}") {
        assert_total(&text);
    }

    #[test]
    fn of_pieces_of_syntax(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
        assert_total(&pieces.concat());
    }

    #[test]
    fn of_texts_that_were_right(
        text in prop::sample::select(&[YAML, JSON, TOML][..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6_usize, prop::sample::select(&PIECES[..])), 1..4),
    ) {
        assert_total(&edit(text, &edits));
    }

    /// A number anywhere in the place of another is taken or refused, never misread.
    #[test]
    fn of_any_number(limit in any::<f64>(), period in any::<f64>(), burst in any::<f64>()) {
        let number = |value: f64| if value.is_finite() { value.to_string() } else { format!("{value:e}") };
        let [limit, period, burst] = [limit, period, burst].map(number);
        for (strategy, other) in [("gcra", "burst"), ("gcra, exact: true", "burst"), ("slidingWindow", "buckets"), ("slidingWindowLog", "maxKeys"), ("fixedWindow", "maxKeys")] {
            assert_total(&format!(
                "limiters: {{ a: {{ strategy: {strategy}, limit: {limit}, period: {period}, {other}: {burst} }} }}"
            ));
        }
        assert_total(&format!("limiters: {{ a: {{ strategy: tokenBucket, capacity: {limit}, refillPerSec: {period} }} }}"));
        assert_total(&format!(
            "limiters: {{ a: {{ strategy: quota, resetCadence: fixed, limit: {limit}, period: {period}, anchor: {burst} }} }}"
        ));
    }

    /// A field of a block that is something else is taken or refused, at its place.
    #[test]
    fn of_any_value_of_a_block(
        (block, field) in prop::sample::select(&BLOCKS[..])
            .prop_flat_map(|block| (Just(block), 0..block.1.len())),
        value in prop_oneof![
            prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
            any::<f64>().prop_map(|number| if number.is_finite() { number.to_string() } else { "0".to_owned() }),
        ],
        left_out in any::<bool>(),
    ) {
        let text = |block: &str| format!("limiters: {{ a: {{ {block} }} }}");
        assert_field(block, field, if left_out { None } else { Some(&value) }, text);
    }

    /// So is one of the plans of a rule.
    #[test]
    fn of_any_value_of_a_plan(
        (block, field) in prop::sample::select(&PLANS[..])
            .prop_flat_map(|block| (Just(block), 0..block.1.len())),
        value in prop::sample::select(&VALUES[..]),
        left_out in any::<bool>(),
    ) {
        let text = |block: &str| {
            let rule = format!("{{ path: /, policy: a, plans: {{ {block} }} }}");
            format!("limiters: {{ a: {{ strategy: gcra, limit: 9, period: 1s }} }}\nhttp: {{ rules: [{rule}] }}")
        };
        assert_field(block, field, if left_out { None } else { Some(value) }, text);
    }

    #[test]
    fn line_ends_have_no_meaning(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, prop::sample::select(&PIECES[..])), 0..3),
        text in prop::sample::select(&[(YAML, Format::Yaml), (JSON, Format::Json), (TOML, Format::Toml)][..]),
    ) {
        let (text, format) = (edit(text.0, &edits).replace('\r', ""), text.1);
        let other = Config::parse(&text.replace('\n', "\r\n"), format);
        match (Config::parse(&text, format), other) {
            (Ok(one), Ok(other)) => prop_assert_eq!(one, other),
            (Err(_), Err(_)) => {}
            (one, other) => prop_assert!(false, "{text:?}: {one:?} {other:?}"),
        }
    }
}

#[test]
fn the_seeds_of_the_fuzz_targets_are_right() {
    for (text, format) in SEEDS {
        Config::parse(text, format).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    }
}

#[test]
fn texts_that_nest_without_end_are_refused() {
    let yaml: Vec<String> = (0..300).map(|depth| format!("{}k:", " ".repeat(depth))).collect();
    let text = Config::from_yaml(&yaml.join("\n")).unwrap_err().to_string();
    assert_eq!(text, "65:65: config: nested too deep, at most 64 levels are allowed");
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{a: ", "}"), ("- ", "")] {
        for depth in [65, 300, 20_000] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for format in [Format::Yaml, Format::Json] {
                assert_placed(&text, &Config::parse(&text, format).unwrap_err());
            }
            let text = format!("a = {text}");
            assert_placed(&text, &Config::from_toml(&text).unwrap_err());
        }
    }
    // Dots and brackets multiply.
    let key = ["a"; 79].join(".");
    let nested = (0..78).fold("1".to_owned(), |inner, _| format!("{{{key} = {inner}}}"));
    for text in [format!("[{key}]\n{key} = {nested}"), format!("x = {nested}\nx = {nested}")] {
        assert_placed(&text, &Config::from_toml(&text).unwrap_err());
    }
    let key = ["a"; 17].join(".");
    let nested = (0..78).fold("1".to_owned(), |inner, _| format!("{{{key} = {inner}}}"));
    for text in [format!("[{key}]\n{key} = {nested}"), format!("x = {nested}\nx = {nested}")] {
        assert_placed(&text, &Config::from_toml(&text).unwrap_err());
    }
}

/// 64 levels are deep enough to be told what is wrong with them.
#[test]
fn texts_within_the_depth_are_read() {
    for format in FORMATS {
        let text = match format {
            Format::Toml => format!("limiters = {{}}\nx = {}{}", "[".repeat(62), "]".repeat(62)),
            _ => format!("{{\"limiters\": {{}}, \"x\": {}{}}}", "[".repeat(63), "]".repeat(63)),
        };
        let errors = Config::parse(&text, format).unwrap_err();
        assert_eq!(errors.problems()[0].path, "config.x", "{errors}");
    }
}

/// A name is part of the path of each field below it, so a long one would be written down thousands of times.
#[test]
fn long_names_do_not_multiply() {
    const FIELDS: usize = 2_000;
    let name = "n".repeat(100_000);
    let control = "\\u0001".repeat(256);
    let fields = (0..FIELDS).map(|n| format!("\"f{n}\": 0")).collect::<Vec<_>>().join(", ");
    for text in [
        format!("{{\"limiters\": {{\"{name}\": {{{fields}}}}}}}"),
        format!("{{\"limiters\": {{\"{control}\": {{{fields}}}}}}}"),
        format!(
            "{{\"limiters\": {{}}, \"http\": {{\"rules\": [{{\"path\": \"/\", \"plans\": {{\"from\": \"key\", \
             \"table\": {{\"{name}\": {{{fields}}}}}}}}}]}}}}"
        ),
        // What is known is listed with each word that is not.
        format!(
            "{{\"limiters\": {{\"{name}\": {{}}, \"{control}\": {{}}}}, \"http\": {{\"rules\": [{{\"path\": \"/\", \
             \"policies\": [{}]}}]}}}}",
            (0..FIELDS).map(|n| format!("\"p{n}\"")).collect::<Vec<_>>().join(", ")
        ),
    ] {
        let errors = Config::from_json(&text).unwrap_err();
        assert!(errors.problems().len() >= FIELDS);
        for problem in errors.problems() {
            assert!(problem.path.len() + problem.message.len() < 600, "{}", problem.path.len());
            assert!(!problem.to_string().contains(char::is_control));
        }
    }
    let text = format!("limiters: {{ {name}: {{ strategy: gcra, limit: 1, period: 1s }} }}");
    let expected = format!("1:13: config.limiters[{}...]: the name must have at most 256 bytes", "n".repeat(60));
    assert_eq!(Config::from_yaml(&text).unwrap_err().to_string(), expected);
}

/// How alike two words are takes as many steps as one is long times the other.
#[test]
fn long_words_are_compared_with_nothing() {
    let long = "n".repeat(400_000);
    let text = format!(
        "limiters: {{ {long}: {{ strategy: gcra, limit: 1, period: 1s }} }}\n\
         http: {{ rules: [{{ path: /, policy: m{long} }}] }}"
    );
    let errors = Config::from_yaml(&text).unwrap_err().to_string();
    let shown = "n".repeat(60);
    let unknown = format!("there is no limiter \"m{}...\", known are {shown}...", "n".repeat(59));
    assert!(errors.ends_with(&unknown), "{errors}");
}

/// What is found is not compared with all that was found: 1 MiB has room for 350,000 rules with two problems each.
#[test]
fn as_many_problems_are_told_as_there_are() {
    const RULES: usize = 10_000;
    let text = format!("{{\"limiters\": {{}}, \"http\": {{\"rules\": [{}]}}}}", vec!["{}"; RULES].join(","));
    let errors = Config::from_json(&text).unwrap_err();
    let told: std::collections::HashSet<_> = errors.problems().iter().collect();
    assert_eq!((errors.problems().len(), told.len()), (2 * RULES, 2 * RULES));
}
