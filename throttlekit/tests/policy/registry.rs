//! The registry: loading, deciding, and what a reload does to state and readers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use throttlekit::config::{Config, Format, LimiterSpec, StrategySpec};
use throttlekit::policy::{Fate, LoadOptions, Policies, Policy, PolicySet, ReloadReport, Rule};
use throttlekit::{Decision, Event, ManualClock, Observer};

fn load(text: &str) -> (Policies, ManualClock) {
    let clock = ManualClock::new(0.0);
    (Policies::load(text, LoadOptions::new().clock(clock.clone())).unwrap(), clock)
}

fn check(policies: &Policies, name: &str, key: &str) -> Decision {
    let policy = policies.get(name).unwrap();
    policy.limiter().unwrap().check(key, 1.0).now().unwrap().unwrap()
}

/// How many of `n` checks are allowed.
fn allowed(policies: &Policies, name: &str, n: usize) -> usize {
    (0..n).filter(|_| check(policies, name, "k").allowed).count()
}

/// A configuration with one limiter `x`.
fn one(fields: &str) -> String {
    format!("limiters: {{ x: {{ {fields} }} }}")
}

#[test]
fn policies_limit_by_name_and_do_not_meet() {
    let (policies, _) = load(
        "limiters:\n  \
         api: { strategy: gcra, limit: 3, period: 1m }\n  \
         uploads: { strategy: fixedWindow, limit: 2, period: 1s }\n  \
         monthly: { strategy: quota, limit: 5, resetCadence: calendar-month }",
    );
    assert_eq!(policies.names(), ["api", "uploads", "monthly"]);
    assert_eq!(allowed(&policies, "api", 4), 3);
    assert_eq!(allowed(&policies, "uploads", 4), 2, "the same key, another policy");
    assert_eq!(policies.get("monthly").unwrap().limiter().unwrap().limit(), 5);
    assert!(policies.get("other").is_none());
}

#[test]
fn a_text_that_starts_with_a_brace_is_json() {
    let text =
        r#"{"defaults": {"prefix": "tk"}, "limiters": {"api": {"strategy": "gcra", "limit": 10, "period": "1s"}}}"#;
    let (policies, _) = load(text);
    let api = policies.get("api").unwrap();
    assert_eq!((api.limiter().unwrap().strategy_name(), api.prefix()), ("gcra", "tk:api"));
    assert!(Policies::load(text, LoadOptions::new().format(Format::Toml)).is_err(), "told otherwise");
}

#[test]
fn every_strategy_is_built_under_its_name() {
    let (policies, _) = load(
        "limiters:\n  \
         a: { strategy: gcra, limit: 6, period: 1s }\n  \
         b: { strategy: gcra, limit: 6, period: 1s, exact: true }\n  \
         c: { strategy: tokenBucket, capacity: 10, refillPerSec: 5 }\n  \
         d: { strategy: fixedWindow, limit: 4, period: 2s }\n  \
         e: { strategy: slidingWindow, limit: 4, period: 2s, buckets: 4 }\n  \
         f: { strategy: slidingWindowLog, limit: 4, period: 2s }\n  \
         g: { strategy: quota, limit: 4, resetCadence: fixed, period: 2s }\n  \
         h: { strategy: quota, limit: 4, resetCadence: rolling, period: 2s }",
    );
    let set = policies.current();
    let described: Vec<_> = set
        .iter()
        .map(|policy| (policy.name(), policy.limiter().unwrap().strategy_name(), policy.limiter().unwrap().limit()))
        .collect();
    let expected = [
        ("a", "gcra", 6),
        ("b", "gcra", 6),
        ("c", "tokenBucket", 10),
        ("d", "fixedWindow", 4),
        ("e", "slidingWindow", 4),
        ("f", "slidingWindowLog", 4),
        ("g", "quota", 4),
        ("h", "quota", 4),
    ];
    assert_eq!(described, expected);
    for policy in set.iter() {
        let limit = policy.limiter().unwrap().limit();
        let fresh = policy.limiter().unwrap().check("k", 1.0).now().unwrap().unwrap();
        assert!(fresh.allowed && fresh.remaining == limit - 1, "{}: {fresh:?}", policy.name());
        assert!(!policy.limiter().unwrap().check("other", 1_000.0).now().unwrap().unwrap().allowed);
    }
}

#[test]
fn compatible_and_exact_gcra_are_told_apart() {
    let clock = ManualClock::new(1_700_000_000_000.0);
    let text = "limiters:\n  \
                compatible: { strategy: gcra, limit: 6, period: 1s }\n  \
                exact: { strategy: gcra, limit: 6, period: 1s, exact: true }";
    let policies = Policies::load(text, LoadOptions::new().clock(clock)).unwrap();
    assert_eq!(allowed(&policies, "compatible", 7), 5, "the sums of f64 round at this epoch");
    assert_eq!(allowed(&policies, "exact", 7), 6);
}

#[test]
fn a_bad_cost_is_an_error_and_never_an_admit() {
    let (policies, _) = load(&one("strategy: fixedWindow, limit: 2, period: 1s"));
    let limiter = policies.get("x").unwrap().limiter().unwrap().clone();
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        assert_eq!(limiter.check("k", cost).now().unwrap().unwrap_err().code(), "invalid_argument");
    }
    assert_eq!(allowed(&policies, "x", 3), 2);
}

#[test]
fn max_keys_bounds_the_table() {
    let (policies, _) = load(&one("strategy: fixedWindow, limit: 1, period: 1d, maxKeys: 4"));
    // With room for four of a hundred keys, the first ones must have been forgotten.
    let admitted = (0..2).map(|_| (0..100).filter(|n| check(&policies, "x", &n.to_string()).allowed).count());
    let admitted: Vec<_> = admitted.collect();
    assert_eq!(admitted[0], 100);
    assert!(admitted[1] >= 96, "{admitted:?}");
}

#[derive(Default)]
struct Seen(Mutex<Vec<(String, bool)>>);

impl Observer for Seen {
    fn observe(&self, event: &Event<'_>) {
        let allowed = event.result.is_ok_and(|decision| decision.allowed);
        self.0.lock().unwrap().push((event.policy.to_owned(), allowed));
    }
}

#[test]
fn the_observer_sees_each_decision_under_the_name_of_its_policy() {
    let seen = Arc::new(Seen::default());
    let text = "limiters: { a: { strategy: gcra, limit: 1, period: 1h }, b: { strategy: gcra, limit: 1, period: 1h } }";
    for options in [LoadOptions::new(), LoadOptions::new().clock(ManualClock::new(5.0))] {
        let policies = Policies::load(text, options.observer(seen.clone())).unwrap();
        check(&policies, "b", "k");
        check(&policies, "a", "k");
        check(&policies, "a", "k");
        let events = std::mem::take(&mut *seen.0.lock().unwrap());
        assert_eq!(events, [("b".to_owned(), true), ("a".to_owned(), true), ("a".to_owned(), false)]);
    }
}

#[test]
fn an_unchanged_policy_is_the_same_object() {
    let (policies, _) =
        load("limiters:\n  a: { strategy: gcra, limit: 2, period: 1m }\n  b: { strategy: gcra, limit: 1, period: 1m }");
    let before = policies.get("a").unwrap();
    assert_eq!(allowed(&policies, "a", 1), 1);
    // Other words, the same meaning; and another place in the order.
    let text = "limiters:\n  c: { strategy: gcra, limit: 1, period: 1s }\n  a: { strategy: gcra, limit: 2, windowMs: 60000, burst: 2 }";
    let report = policies.reload(text).unwrap();
    assert_eq!(
        report.policies,
        [("c".to_owned(), Fate::Added), ("a".to_owned(), Fate::Unchanged), ("b".to_owned(), Fate::Removed)]
    );
    assert_eq!(report.to_string(), "version 2\nc: added\nb: removed");
    assert!(Arc::ptr_eq(&before, &policies.get("a").unwrap()));
    assert_eq!(allowed(&policies, "a", 2), 1);
    assert_eq!((policies.names(), policies.version()), (vec!["c".to_owned(), "a".to_owned()], 2));
    assert!(policies.get("b").is_none());
}

#[test]
fn nothing_changed_is_no_new_version() {
    let text = one("strategy: gcra, limit: 2, period: 1m");
    let (policies, _) = load(&text);
    let before = policies.current();
    let report = policies.reload(&text).unwrap();
    assert_eq!((report.version, report.is_changed()), (1, false));
    assert_eq!(report.to_string(), "version 1: nothing changed");
    assert!(Arc::ptr_eq(&before, &policies.current()));
}

/// From one configuration to another after `n` checks: what the report says, and how many of ten checks pass then.
fn change(before: &str, n: usize, after: &str) -> (Fate, usize) {
    let (policies, clock) = load(&one(before));
    assert_eq!(allowed(&policies, "x", n), n, "{before}");
    clock.advance(100.0);
    let report = policies.reload(&one(after)).unwrap();
    (report.fate("x").unwrap(), allowed(&policies, "x", 10))
}

#[test]
fn state_is_kept_where_it_means_the_same() {
    // 3 of 4 are used; the new limit of 6 leaves 3 of them, minus or plus what 100 ms are worth.
    for (before, after) in [
        ("strategy: gcra, limit: 4, period: 4h", "strategy: gcra, limit: 4, period: 4h, burst: 6"),
        (
            "strategy: gcra, limit: 4, period: 4h, exact: true",
            "strategy: gcra, limit: 4, period: 4h, exact: true, burst: 6",
        ),
        ("strategy: fixedWindow, limit: 4, period: 1h", "strategy: fixedWindow, limit: 6, period: 60m"),
        ("strategy: slidingWindow, limit: 4, period: 1h", "strategy: slidingWindow, limit: 6, period: 1h, buckets: 10"),
        ("strategy: slidingWindowLog, limit: 4, period: 1h", "strategy: slidingWindowLog, limit: 6, period: 2h"),
        (
            "strategy: quota, limit: 4, resetCadence: calendar-day",
            "strategy: quota, limit: 6, resetCadence: calendar-day",
        ),
        (
            "strategy: quota, limit: 4, resetCadence: rolling, period: 1h",
            "strategy: quota, limit: 6, resetCadence: rolling, period: 1h",
        ),
    ] {
        assert_eq!(change(before, 3, after), (Fate::Kept, 3), "{before} -> {after}");
    }
    // A bucket holds what it held: 1 token, and 100 ms at the new rate of 10 a second give one more.
    let bucket = "strategy: tokenBucket, capacity: 4, refillPerSec: 0.001";
    assert_eq!(change(bucket, 3, "strategy: tokenBucket, capacity: 9, refillPerSec: 10"), (Fate::Kept, 2));
    assert_eq!(change(bucket, 0, "strategy: tokenBucket, capacity: 2, refillPerSec: 0.001"), (Fate::Kept, 2));
}

#[test]
fn state_starts_afresh_where_it_would_mean_something_else() {
    for (before, after, why, fresh) in [
        (
            "strategy: gcra, limit: 4, period: 4h",
            "strategy: gcra, limit: 4, period: 4h, exact: true",
            "the strategy changed",
            4,
        ),
        (
            "strategy: gcra, limit: 4, period: 4h",
            "strategy: fixedWindow, limit: 4, period: 4h",
            "the strategy changed",
            4,
        ),
        (
            "strategy: gcra, limit: 4, period: 4h, exact: true",
            "strategy: gcra, limit: 5, period: 4h, exact: true",
            "an exact limiter counts time in units of its limit",
            5,
        ),
        (
            "strategy: fixedWindow, limit: 4, period: 1h",
            "strategy: fixedWindow, limit: 4, period: 2h",
            "the window changed",
            4,
        ),
        (
            "strategy: slidingWindow, limit: 4, period: 1h",
            "strategy: slidingWindow, limit: 4, period: 1h, buckets: 5",
            "the window changed",
            4,
        ),
        (
            "strategy: quota, limit: 4, resetCadence: calendar-day",
            "strategy: quota, limit: 4, resetCadence: calendar-day, offsetMinutes: 60",
            "the period changed",
            4,
        ),
        (
            "strategy: quota, limit: 4, resetCadence: fixed, period: 1h",
            "strategy: quota, limit: 4, resetCadence: rolling, period: 1h",
            "the period changed",
            4,
        ),
        (
            "strategy: fixedWindow, limit: 4, period: 1h",
            "strategy: fixedWindow, limit: 4, period: 1h, prefix: y",
            "the prefix changed",
            4,
        ),
        (
            "strategy: fixedWindow, limit: 4, period: 1h",
            "strategy: fixedWindow, limit: 4, period: 1h, maxKeys: 10",
            "maxKeys changed",
            4,
        ),
    ] {
        assert_eq!(change(before, 3, after), (Fate::Reset(why), fresh), "{before} -> {after}");
    }
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let (policies, _) = load(&one("strategy: fixedWindow, limit: 2, period: 1h"));
    let before = policies.current();
    assert_eq!(allowed(&policies, "x", 1), 1);
    for text in ["", "limiters: [", &one("strategy: fixedWindow, limit: 0, period: 1h"), "limiters: {}\nhttp: 5"] {
        assert!(policies.reload(text).is_err(), "{text}");
    }
    let mut config = Config::default();
    config.limiters.push(LimiterSpec::new("", StrategySpec::FixedWindow { limit: 1.0, window_ms: 1.0 }));
    assert!(policies.reload_config(config).is_err());
    let errors = policies.reload_file().unwrap_err();
    assert_eq!(errors.to_string(), "config: these policies were not loaded from a file");
    assert!(Arc::ptr_eq(&before, &policies.current()));
    assert_eq!((policies.version(), allowed(&policies, "x", 2)), (1, 1));
}

#[test]
fn rules_change_together_with_policies() {
    let text = |rules: &str| format!("{}\nhttp: {{ rules: [{rules}] }}", one("strategy: gcra, limit: 2, period: 1h"));
    let (policies, _) = load(&text("{ path: /a, policy: x }"));
    let before = policies.current();
    let report = policies.reload(&text("{ path: /b, policy: x }")).unwrap();
    assert_eq!((report.http_changed, report.fate("x"), report.version), (true, Some(Fate::Unchanged), 2));
    assert_eq!(report.to_string(), "version 2\nhttp: changed");
    let after = policies.current();
    assert_eq!((before.rule_for("GET", "/a"), before.rule_for("GET", "/b")), (Some(0), None));
    assert_eq!((after.rule_for("GET", "/a"), after.rule_for("GET", "/b")), (None, Some(0)));
    assert!(Arc::ptr_eq(&after.rules()[0].policies()[0], &policies.get("x").unwrap()));
}

/// Readers see the limiter and the rules of one and the same configuration, and versions never go back.
#[test]
fn readers_never_see_half_a_reload() {
    const RELOADS: u64 = 200;
    let text = |n: u64| {
        format!(
            "limiters: {{ x: {{ strategy: fixedWindow, limit: {n}, period: 1h }} }}\n\
             http: {{ rules: [{{ path: /{n}, policy: x }}] }}"
        )
    };
    let policies = Policies::from_yaml(&text(1)).unwrap();
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let version = policies.version();
                    let set = policies.current();
                    assert!(set.version() >= version && set.version() >= last);
                    last = set.version();
                    let limit = set.get("x").unwrap().limiter().unwrap().limit();
                    assert_eq!(limit, set.version());
                    assert_eq!(set.rule_for("GET", &format!("/{limit}")), Some(0));
                    assert_eq!(set.rules()[0].policies()[0].limiter().unwrap().limit(), limit);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 2..=RELOADS {
            assert_eq!(policies.reload(&text(n)).unwrap().version, n);
        }
        while reads.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(policies.version(), RELOADS);
}

/// Checks that go on during reloads which keep state admit exactly what one limiter would.
#[test]
fn reloads_lose_no_count() {
    const LIMIT: usize = 1_000;
    let limiter = one(&format!("strategy: fixedWindow, limit: {LIMIT}, period: 1d"));
    let with_rule = |n: usize| format!("{limiter}\nhttp: {{ rules: [{{ path: /{n}, policy: x }}] }}");
    let (policies, _) = load(&with_rule(0));
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                admitted.fetch_add(allowed(&policies, "x", LIMIT) as u64, Ordering::Relaxed);
            });
        }
        for n in 1..50 {
            policies.reload(&with_rule(n)).unwrap();
        }
    });
    assert_eq!(admitted.into_inner(), LIMIT as u64);
}

/// A directory of its own below the target folder, removed at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_read_again_on_demand() {
    let folder = Folder::new("reload");
    let file = folder.write("limits.toml", "[limiters.x]\nstrategy = 'fixedWindow'\nlimit = 2\nperiod = '1h'\n");
    let policies = Policies::load_file(&file).unwrap();
    assert!(!policies.reload_file().unwrap().is_changed());
    folder.write("limits.toml", "[limiters.x]\nstrategy = 'fixedWindow'\nlimit = 3\nperiod = '1h'\n");
    assert_eq!(policies.reload_file().unwrap().fate("x"), Some(Fate::Kept));
    folder.write("limits.toml", "[limiters.x]\nstrategy = 'fixedWindow'\nlimit = 0\nperiod = '1h'\n");
    let errors = policies.reload_file().unwrap_err();
    assert_eq!(errors.file(), file.to_str());
    assert!(errors.to_string().starts_with(&format!("{}:3:9: config.limiters[x].limit: ", file.display())), "{errors}");
    std::fs::remove_file(&file).unwrap();
    assert!(policies.reload_file().is_err());
    assert_eq!(policies.get("x").unwrap().limiter().unwrap().limit(), 3);
    // A text replaces it too, in the format of the file.
    let text = "[limiters.x]\nstrategy = 'fixedWindow'\nlimit = 4\nperiod = '1h'\n";
    assert_eq!(policies.reload(text).unwrap().fate("x"), Some(Fate::Kept));
    // JSON may stand where YAML is expected, tabs and all.
    let file = folder.write("limits.yaml", "limiters: { x: { strategy: fixedWindow, limit: 2, period: 1h } }");
    let policies = Policies::load_file(&file).unwrap();
    let json = "{\n\t\"limiters\": {\n\t\t\"x\": {\"strategy\": \"fixedWindow\", \"limit\": 3, \"period\": \"1h\"}}}";
    assert_eq!(policies.reload(json).unwrap().fate("x"), Some(Fate::Kept));
    folder.write("limits.yaml", json);
    assert!(!policies.reload_file().unwrap().is_changed());
}

#[test]
fn the_name_of_a_file_tells_its_format() {
    let folder = Folder::new("formats");
    let json = r#"{"limiters": {"x": {"strategy": "gcra", "limit": 1, "period": "1s"}}}"#;
    let yaml = "limiters: { x: { strategy: gcra, limit: 1, period: 1s } }";
    let toml = "[limiters]\nx = { strategy = 'gcra', limit = 1, period = '1s' }";
    for (name, text) in [
        ("a.yaml", yaml),
        ("a.YML", yaml),
        ("a.json", json),
        ("a.toml", toml),
        ("a.conf", yaml),
        ("b.conf", json),
        ("b.yaml", json),
    ] {
        let file = folder.write(name, text);
        assert_eq!(Config::load_file(&file).unwrap(), Config::from_yaml(yaml).unwrap(), "{name}");
    }
    let file = folder.write("c.toml", yaml);
    assert!(Policies::load_file(&file).is_err());
    assert!(Policies::load_file_with(&file, LoadOptions::new().format(Format::Yaml)).is_ok(), "told otherwise");

    let file = folder.write("c.conf", toml);
    let guessed = "; read as Yaml, since the name of the file ends in none of .yaml, .yml, .json and .toml";
    assert!(Policies::load_file(&file).unwrap_err().to_string().ends_with(guessed));
    let options = LoadOptions::new().format(Format::Yaml);
    let told = Policies::load_file_with(&file, options).unwrap_err().to_string();
    assert!(!told.contains(guessed), "it was no guess: {told}");
    let file = folder.write("d.yaml", "{limiters: {}}");
    let text = Policies::load_file(&file).unwrap_err().to_string();
    let expected = "1:2: config: key must be a string; read as Json, since the text begins with {";
    assert_eq!(text, format!("{}:{expected}", file.display()));
}

#[test]
fn a_file_that_cannot_be_read_is_a_clear_error() {
    let folder = Folder::new("unreadable");
    let missing = folder.0.join("missing.yaml");
    let text = Policies::load_file(&missing).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}: config: cannot read the file: ", missing.display())), "{text}");
    let text = Policies::load_file(&folder.0).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}: config: cannot read the file: ", folder.0.display())), "{text}");
    let binary = folder.write("binary.yaml", b"limiters: {}\n# \xc3\xa9 \xff");
    let text = Policies::load_file(&binary).unwrap_err().to_string();
    assert_eq!(text, format!("{}:2:5: config: not UTF-8", binary.display()));
    let large = folder.write("large.yaml", vec![b'#'; (1 << 20) + 1]);
    let text = Policies::load_file(&large).unwrap_err().to_string();
    assert_eq!(text, format!("{}: config: too large, at most 1048576 bytes are read", large.display()));
}

#[test]
fn the_types_can_be_shared_and_shown() {
    fn check<T: Send + Sync + std::fmt::Debug>() {}
    check::<Policies>();
    check::<PolicySet>();
    check::<Policy>();
    check::<Rule>();
    check::<ReloadReport>();
    check::<LoadOptions>();
}

#[test]
fn memory_that_is_not_there_is_a_problem_of_its_limiter() {
    let text = "limiters: { big: { strategy: tokenBucket, capacity: 1, refillPerSec: 1, maxKeys: 4294967296 } }";
    // A system that promises 200 GB to anyone makes the registry; none may abort.
    if let Err(errors) = Policies::from_yaml(text) {
        let expected = "config.limiters[big].maxKeys: must be small enough for the memory to be reserved";
        assert_eq!(errors.to_string(), format!("{expected} (found 4294967296)"));
    }
}
