//! What a policy tells clients of itself.

use throttlekit::config::{AdvertiseSpec, Config, Format};
use throttlekit::policy::{Fate, LoadOptions, Policies};

const YAML: &str = "
limiters:
  api: { strategy: gcra, limit: 100, period: 1m, burst: 20, advertise: { quota: 100, windowSeconds: 60 } }
  tokens: { tokenBudget: { budget: 9, windowMs: 1000 }, advertise: { windowSeconds: 999999999999999 } }
  flights: { concurrency: {}, advertise: { quota: 1 } }
  plain: { strategy: gcra, limit: 1, period: 1s, advertise: {} }
";
const JSON: &str = r#"{ "limiters": {
    "api": { "strategy": "gcra", "limit": 100, "period": "1m", "burst": 20,
        "advertise": { "quota": 100, "windowSeconds": 6e1 } },
    "tokens": { "tokenBudget": { "budget": 9, "windowMs": 1000 }, "advertise": { "windowSeconds": 999999999999999 } },
    "flights": { "concurrency": {}, "advertise": { "quota": 1 } },
    "plain": { "strategy": "gcra", "limit": 1, "period": "1s" } } }"#;
const TOML: &str = "
[limiters.api]
strategy = 'gcra'
limit = 100
period = '1m'
burst = 20
advertise = { quota = 100, windowSeconds = 60 }
[limiters.tokens]
tokenBudget = { budget = 9, windowMs = 1000 }
advertise.windowSeconds = 999_999_999_999_999
[limiters.flights]
concurrency = {}
[limiters.flights.advertise]
quota = 1
[limiters.plain]
strategy = 'gcra'
limit = 1
period = '1s'
";

#[test]
fn every_format_says_the_same() {
    let config = Config::from_yaml(YAML).unwrap();
    let advertised: Vec<_> =
        config.limiters.iter().map(|limiter| (limiter.advertise.quota, limiter.advertise.window_seconds)).collect();
    let expected = [(Some(100), Some(60)), (None, Some(999_999_999_999_999)), (Some(1), None), (None, None)];
    assert_eq!(advertised, expected);
    assert_eq!(Config::parse(JSON, Format::Json).unwrap(), config);
    assert_eq!(Config::parse(TOML, Format::Toml).unwrap(), config);
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let range = |found: &str| format!("must be a whole number from 1 to 999999999999999 (found {found})");
    for (block, path, message) in [
        ("{ quota: 0 }", ".quota", range("0")),
        ("{ quota: 2.5 }", ".quota", range("2.5")),
        ("{ windowSeconds: 1e15 }", ".windowSeconds", range("1000000000000000")),
        ("{ windowSeconds: -1 }", ".windowSeconds", range("-1")),
        ("{ windowSeconds: 1m }", ".windowSeconds", "expected a number, found the text \"1m\"".to_owned()),
        ("{ windowMs: 60000 }", ".windowMs", "unknown field, did you mean \"windowSeconds\"?".to_owned()),
        ("", "", "expected a map with quota or windowSeconds".to_owned()),
        ("100", "", "expected a map, found the number 100".to_owned()),
    ] {
        let text = format!("limiters: {{ a: {{ strategy: gcra, limit: 1, period: 1s, advertise: {block} }} }}");
        let errors = Config::from_yaml(&text).unwrap_err();
        let [problem] = errors.problems() else { panic!("{errors}") };
        assert!(problem.position.is_some(), "{problem}");
        let found = (problem.path.as_str(), problem.message.as_str());
        assert_eq!(found, (format!("config.limiters[a].advertise{path}").as_str(), message.as_str()), "{block}");
    }
}

#[test]
fn what_was_made_in_code_is_checked_too() {
    let mut config = Config::from_yaml(YAML).unwrap();
    let mut advertise = AdvertiseSpec::default();
    (advertise.quota, advertise.window_seconds) = (Some(0), Some(u64::MAX));
    config.limiters[0].advertise = advertise;
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "config.limiters[api].advertise.quota: must be a whole number from 1 to 999999999999999 (found 0)\n\
         config.limiters[api].advertise.windowSeconds: must be a whole number from 1 to 999999999999999 (found \
         18446744073709551615)"
    );
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let policies = Policies::load(YAML, LoadOptions::new()).unwrap();
    let check = || policies.get("plain").unwrap().limiter().unwrap().check("k", 1.0).now().unwrap().unwrap().allowed;
    assert!(check());
    let report = policies.reload(&YAML.replace("advertise: {}", "advertise: { quota: 7 }")).unwrap();
    let fates: Vec<_> = report.policies.iter().map(|(_, fate)| *fate).collect();
    assert_eq!(fates, [Fate::Unchanged, Fate::Unchanged, Fate::Unchanged, Fate::Kept]);
    assert!(!check());
    assert_eq!(policies.get("plain").unwrap().spec().advertise.quota, Some(7));
    let report = policies.reload(&YAML.replace("advertise: { quota: 1 }", "advertise: { quota: 2 }")).unwrap();
    assert_eq!((report.fate("flights"), report.fate("plain")), (Some(Fate::Kept), Some(Fate::Kept)));
}
