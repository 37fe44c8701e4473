//! The `concurrency` block of a limiter: reading it, and what is wrong with it.

use throttlekit::config::{ConcurrencySpec, Config, Format, KeyedSpec, LearntLimit, LimiterSpec, QueueSpec, SlotLimit};
use throttlekit::{Algorithm, Priority};

fn read(text: &str, format: Format) -> LimiterSpec {
    Config::parse(text, format).unwrap().limiters[0].clone()
}

fn yaml(block: &str) -> ConcurrencySpec {
    read(&format!("limiters: {{ a: {{ concurrency: {block} }} }}"), Format::Yaml).concurrency.unwrap()
}

/// Each problem of a block with its path below the block and its message.
fn problems(block: &str) -> Vec<(String, String)> {
    let text = format!("limiters: {{ a: {{ concurrency: {block} }} }}");
    let errors = Config::from_yaml(&text).unwrap_err();
    let problems = errors.problems().iter().map(|problem| {
        assert!(problem.position.is_some(), "{problem}");
        let path = problem.path.strip_prefix("config.limiters[a].concurrency").unwrap();
        (path.trim_start_matches('.').to_owned(), problem.message.clone())
    });
    problems.collect()
}

fn problem(block: &str) -> (String, String) {
    let mut all = problems(block);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn is(block: &str, path: &str, message: &str) {
    assert_eq!(problem(block), (path.to_owned(), message.to_owned()), "{block}");
}

#[test]
fn an_empty_block_takes_the_defaults() {
    let spec = yaml("{}");
    assert_eq!(spec, ConcurrencySpec::default());
    assert_eq!((spec.limit, spec.shadow), (SlotLimit::Learnt(LearntLimit::default()), false));
    let guard = spec.guard().build().unwrap();
    assert_eq!((guard.algorithm_name(), guard.limit()), ("steady", 4));
}

#[test]
fn a_limit_is_fixed() {
    let spec = yaml("{ limit: 64, shadow: true }");
    assert_eq!((spec.limit, spec.shadow), (SlotLimit::Fixed(64), true));
    assert_eq!(spec.guard().build().unwrap().algorithm_name(), "fixed");
    assert_eq!(yaml("{ limit: 16777215 }").limit, SlotLimit::Fixed(16_777_215));
}

#[test]
fn every_format_says_the_same() {
    let yaml = "
limiters:
  a:
    concurrency:
      algorithm: gradient2
      minLimit: 5
      maxLimit: 80.5
      initialLimit: 20
      rttWindow: 50
      smoothing: 0.5
      tolerance: 1.5
      recalibration: { intervalMs: 30000, probeLimit: 2, probeSamples: 7 }
";
    let json = r#"{ "limiters": { "a": { "concurrency": { "profile": "gradient2", "minLimit": 5, "maxLimit": 80.5,
        "initialLimit": 20, "rttWindow": 50, "smoothing": 0.5, "tolerance": 1.5,
        "recalibration": { "intervalMs": 30000, "probeLimit": 2, "probeSamples": 7 } } } } }"#;
    let toml = "
[limiters.a.concurrency]
algorithm = \"gradient2\"
minLimit = 5
maxLimit = 80.5
initialLimit = 20
rttWindow = 50
smoothing = 0.5
tolerance = 1.5
recalibration = { intervalMs = 30000, probeLimit = 2, probeSamples = 7 }
";
    let read = [read(yaml, Format::Yaml), read(json, Format::Json), read(toml, Format::Toml)];
    assert!(read[0] == read[1] && read[1] == read[2]);
    let Some(SlotLimit::Learnt(learnt)) = read[0].concurrency.as_ref().map(|spec| spec.limit) else { panic!("learnt") };
    assert_eq!((learnt.algorithm, learnt.min_limit, learnt.max_limit), (Algorithm::Gradient2, 5.0, 80.5));
    assert_eq!((learnt.initial_limit, learnt.rtt_window, learnt.smoothing), (Some(20.0), 50.0, 0.5));
    let recalibration = learnt.recalibration.unwrap();
    assert_eq!((recalibration.interval_ms, recalibration.probe_limit), (30_000.0, Some(2.0)));
    assert_eq!((recalibration.probe_samples, learnt.tolerance), (7.0, 1.5));
    assert_eq!(read[0].concurrency.as_ref().unwrap().guard().build().unwrap().limit(), 20);
}

#[test]
fn tenants_a_queue_and_priorities_are_read() {
    let spec = yaml(
        "{ limit: 9, queue: { max: 50, timeoutMs: 250 }, \
         keyed: { maxKeys: 100, maxPerKey: 4, activeMs: 5000, weights: { paid: 3, 'a b': 0.5 } } }",
    );
    let keyed = spec.keyed.unwrap();
    assert_eq!((keyed.max_keys, keyed.max_per_key, keyed.active_ms), (100, Some(4), 5_000.0));
    assert_eq!(keyed.weights, [("paid".to_owned(), 3.0), ("a b".to_owned(), 0.5)]);
    assert_eq!(spec.queue, Some(QueueSpec::new(50, 250.0)));

    let spec = yaml("{ keyed: {}, priorities: { high: 0.9, low: 0.25 } }");
    assert_eq!((spec.keyed, spec.queue), (Some(KeyedSpec::default()), None));
    assert_eq!(spec.priorities, [Some(0.25), None, Some(0.9), None]);
    let rule = |text: &str| {
        let text =
            format!("limiters: {{ a: {{ concurrency: {{}} }} }}\nhttp: {{ rules: [{{ path: /, policy: a{text} }}] }}");
        Config::from_yaml(&text).map(|config| config.http.rules[0].priority).map_err(|errors| errors.to_string())
    };
    assert_eq!((rule(""), rule(", priority: critical")), (Ok(Priority::Normal), Ok(Priority::Critical)));
    let error = rule(", priority: hihg").unwrap_err();
    assert!(
        error.ends_with(r#"config.http.rules[0].priority: unknown priority "hihg", did you mean "high"?"#),
        "{error}"
    );
}

#[test]
fn it_stands_alone_or_beside_a_strategy() {
    let text =
        "limiters: { a: { concurrency: {} }, b: { strategy: gcra, limit: 5, period: 1s, concurrency: { limit: 3 } } }";
    let config = Config::from_yaml(text).unwrap();
    let has = |limiter: &LimiterSpec| (limiter.strategy.is_some(), limiter.concurrency.is_some());
    assert_eq!(config.limiters.iter().map(has).collect::<Vec<_>>(), [(false, true), (true, true)]);

    let alone =
        "limiters: { a: { concurrency: {}, limit: 5, prefix: x, maxKeys: 3, failMode: closed, federated: {} } }";
    assert_eq!(
        Config::from_yaml(alone).unwrap_err().to_string(),
        "1:35: config.limiters[a].limit: not used without a strategy\n\
         1:53: config.limiters[a].prefix: not used without a strategy\n\
         1:65: config.limiters[a].maxKeys: not used without a strategy\n\
         1:78: config.limiters[a].failMode: not used without a strategy\n\
         1:86: config.limiters[a].federated: the policy needs the server: this build does not run \"federated\""
    );
    // Without keys there is nothing to collide with.
    let prefixes = "limiters: { a: { concurrency: {} }, b: { strategy: gcra, limit: 5, period: 1s, prefix: a } }";
    assert!(Config::from_yaml(prefixes).is_ok());
    let error = Config::from_yaml("limiters: { a: {} }").unwrap_err();
    assert_eq!(error.to_string(), "1:13: config.limiters[a].strategy: required");
    let null = Config::from_yaml("limiters: { a: { concurrency: } }").unwrap_err().to_string();
    assert!(null.contains("config.limiters[a].concurrency: expected a map; {} takes the defaults"), "{null}");
    assert_eq!(problem("5").1, "expected a map, found the number 5");
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    is("{ minLmit: 5 }", "minLmit", r#"unknown field, did you mean "minLimit"?"#);
    is("{ profile: stedy }", "profile", r#"unknown profile "stedy", did you mean "steady"?"#);
    is("{ algorithm: steady }", "algorithm", r#"unknown algorithm "steady", known are gradient2, aimd"#);
    is("{ profile: aimd, algorithm: aimd }", "algorithm", "give either profile or algorithm, not both");
    is("{ limit: 0 }", "limit", "must be a whole number from 1 to 16777215 (found 0)");
    is("{ limit: 2.5 }", "limit", "must be a whole number from 1 to 16777215 (found 2.5)");
    is("{ limit: 5, minLimit: 2 }", "minLimit", "not used beside limit, which is fixed");
    is("{ limit: 5, tolerance: 2 }", "tolerance", "not used beside limit, which is fixed");
    is("{ smoothing: 0.5 }", "smoothing", "not used by this profile, only by: gradient2");
    is("{ profile: gradient2, backoffRatio: 0.9 }", "backoffRatio", "not used by this profile, only by: aimd");
    is("{ recalibration: {} }", "recalibration", "not used by this profile, only by: gradient2, aimd");
    is("{ minLimit: 0.5 }", "minLimit", "must be a finite number from 1 (found 0.5)");
    is("{ minLimit: 9, maxLimit: 5 }", "maxLimit", "must be a finite number from minLimit, 9 (found 5)");
    is("{ minLimit: 600 }", "minLimit", "maxLimit must be a finite number from minLimit, 600 (found 512)");
    is("{ initialLimit: 3 }", "initialLimit", "must be a finite number from 4 (found 3)");
    is("{ maxLimit: yes }", "maxLimit", "expected a number, found the text \"yes\"");
    is("{ shadow: 1 }", "shadow", "expected true or false, found the number 1");
    let gradient = |fields: &str| format!("{{ profile: gradient2, {fields} }}");
    is(&gradient("smoothing: 1.5"), "smoothing", "must be at most 1 (found 1.5)");
    is(&gradient("rttWindow: 0"), "rttWindow", "must be a finite number above 0 (found 0)");
    is(&gradient("tolerance: 0.5"), "tolerance", "must be a finite number from 1 (found 0.5)");
    is("{ profile: aimd, backoffRatio: 1 }", "backoffRatio", "must be from 0.5 and below 1 (found 1)");
    let probes = |fields: &str| gradient(&format!("recalibration: {{ {fields} }}"));
    let path = |name: &str| format!("recalibration.{name}");
    is(&probes("intervalMs: 0"), &path("intervalMs"), "must be a finite number above 0 (found 0)");
    is(&probes("probeLimit: 600"), &path("probeLimit"), "must be at most 512 (found 600)");
    is(&probes("probeSamples: 0.5"), &path("probeSamples"), "must be a finite number from 1 (found 0.5)");
    is(&probes("probes: 5"), &path("probes"), "unknown field, known are intervalMs, probeLimit, probeSamples");
    is("{ keyed: { maxKeys: 0 } }", "keyed.maxKeys", "must be a whole number from 1 to 16777215 (found 0)");
    is("{ keyed: { activeMs: 0 } }", "keyed.activeMs", "must be a number above 0, at most 9007199254740991 (found 0)");
    is("{ keyed: { weights: { a: x } } }", "keyed.weights.a", "expected a number, found the text \"x\"");
    is("{ keyed: { weights: { a: 0 } } }", "keyed.weights", "must be a number from 0.001 to 1000000 (found 0)");
    is("{ keyed: { wieghts: {} } }", "keyed.wieghts", r#"unknown field, did you mean "weights"?"#);
    is("{ queue: { max: 5 } }", "queue.timeoutMs", "required");
    is("{ queue: { max: 0, timeoutMs: 1 } }", "queue.max", "must be a whole number from 1 to 16777215 (found 0)");
    is(
        "{ queue: { max: 5, timeoutMs: 0 } }",
        "queue.timeoutMs",
        "must be a number above 0, at most 9007199254740991 (found 0)",
    );
    is("{ priorities: { lwo: 0.5 } }", "priorities.lwo", r#"unknown field, did you mean "low"?"#);
    is("{ priorities: { low: 2 } }", "priorities.low", "must be a number from 0.001 to 1 (found 2)");
    let queued = "{ queue: { max: 5, timeoutMs: 1 }, priorities: { low: 0.5 } }";
    is(queued, "priorities.low", "must not be given with a queue, which orders by priority (found 0.5)");
    // All at once, and of what could not be read nothing is said.
    let several = problems("{ profile: nothing, smoothing: 5, shadwo: true }");
    assert_eq!(several.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["profile", "shadwo"]);
}

#[test]
fn a_configuration_made_in_code_is_checked_too() {
    let mut config = Config::default();
    let learnt = LearntLimit::default();
    let mut spec = ConcurrencySpec::new(SlotLimit::Learnt(learnt));
    config.limiters.push(LimiterSpec::of_slots("a", spec.clone()));
    config.check().unwrap();
    spec.limit = SlotLimit::Fixed(0);
    config.limiters.push(LimiterSpec::of_slots("b", spec));
    let mut nothing = config.limiters[0].clone();
    (nothing.name, nothing.concurrency) = ("c".to_owned(), None);
    config.limiters.push(nothing);
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "config.limiters[b].concurrency.limit: must be a whole number from 1 to 16777215 (found 0)\n\
         config.limiters[c]: a strategy or concurrency is required"
    );
}
