//! The examples in the guides mean what these say.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use std::fs;
use std::path::Path;

use throttlekit::FailMode;
use throttlekit::config::{Config, ConfigErrors, Format, KeySource, LimiterKind, ScreenSpec, StoreKind, StoreSpec};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The code blocks of a guide: language and text.
fn blocks(guide: &str) -> Vec<(String, String)> {
    blocks_of(&read(&format!("docs/{guide}")))
}

fn blocks_of(guide: &str) -> Vec<(String, String)> {
    // Every second part between fences is a block; its first line is the language.
    let inside = guide.split("```").skip(1).step_by(2);
    inside.map(|block| block.split_once('\n').map(|(kind, text)| (kind.to_owned(), text.to_owned())).unwrap()).collect()
}

/// As the guides have it, with an environment in which Redis is somewhere.
fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let env = |name: &str| match name {
        "REDIS_URL" => Some("redis://cache.internal".to_owned()),
        "API_KEY_SECRET" | "OLD_API_KEY_SECRET" => Some("sixteen bytes or more".to_owned()),
        _ => None,
    };
    Config::parse_with(text, Format::Yaml, &env)
}

#[test]
fn each_example_loads_or_has_the_errors_that_follow_it() {
    let blocks = blocks("config.md");
    let (mut loaded, mut refused) = (0, 0);
    for (index, (_, text)) in blocks.iter().enumerate().filter(|(_, (kind, _))| kind == "yaml") {
        match (parse(text), blocks.get(index + 1)) {
            (Err(errors), Some((kind, expected))) if kind == "text" => {
                let found: Vec<_> = errors.to_string().lines().map(|line| format!("throttle.yaml:{line}")).collect();
                assert_eq!(found, expected.lines().collect::<Vec<_>>());
                refused += 1;
            }
            (Err(errors), _) => panic!("{text}\n{errors}"),
            (Ok(_), _) => loaded += 1,
        }
    }
    assert_eq!((loaded, refused), (14, 1));
}

#[test]
fn the_examples_of_overload_load() {
    let examples: Vec<_> = blocks("overload.md").into_iter().filter(|(kind, _)| kind == "yaml").collect();
    let limiters: Vec<_> = examples.iter().map(|(_, text)| parse(text).unwrap().limiters.remove(0)).collect();
    let [screened, listed] = limiters.as_slice() else { panic!("two examples") };
    let mut shown = ScreenSpec::default();
    shown.threshold = Some(50.0);
    assert_eq!(screened.kind, LimiterKind::Screen(shown), "the guide shows the defaults");
    assert_eq!(listed.deny_list.map(|list| list.ttl_ms), Some(3_600_000.0));
}

#[test]
fn the_example_of_concurrency_loads() {
    let examples: Vec<_> = blocks("concurrency.md").into_iter().filter(|(kind, _)| kind == "yaml").collect();
    let [(_, text)] = examples.as_slice() else { panic!("one example") };
    parse(text).unwrap();
}

#[test]
fn the_examples_of_the_changelog_load() {
    // Where an example shows rules alone, these are what they name.
    let named = ["api", "requests", "flights", "tokens", "free", "pro", "month"];
    let named = named.map(|name| format!("  {name}: {{ strategy: gcra, limit: 1000, period: 1s }}\n")).concat();
    // They belong to entries of a list, and are as far to the right.
    let examples = blocks_of(&read("CHANGELOG.md").replace("\n  ", "\n"));
    let examples: Vec<_> = examples.into_iter().filter(|(kind, _)| kind == "yaml").map(|(_, text)| text).collect();
    assert!(examples.len() >= 6, "{examples:?}");
    for text in examples {
        let whole = if text.contains("limiters:") { text } else { format!("limiters:\n{named}{text}") };
        if let Err(errors) = parse(&whole) {
            panic!("{whole}\n{errors}");
        }
    }
}

#[test]
fn the_first_example_is_what_the_guide_is_about() {
    let (_, text) = blocks("config.md").into_iter().find(|(kind, _)| kind == "yaml").unwrap();
    let config = Config::from_yaml(&text).unwrap();
    let names: Vec<_> = config.limiters.iter().map(|limiter| limiter.name.as_str()).collect();
    assert_eq!(names, ["api", "uploads"]);
    assert_eq!(config.http.rules[1].policies, names);
}

#[test]
fn the_examples_of_keys_trust_and_hash_as_they_say() {
    let examples = blocks("keys.md").into_iter().filter(|(kind, _)| kind == "yaml").map(|(_, text)| text);
    let examples: Vec<_> = examples.map(|text| parse(&text).unwrap()).collect();
    let [proxied, rotated] = examples.as_slice() else { panic!("two examples") };

    let [login, api] = proxied.http.rules.as_slice() else { panic!("two rules") };
    assert_eq!(login.key, KeySource::ClientIp);
    let client = api.client_ip.build().unwrap();
    let found = client.resolve(Some([10, 0, 0, 1].into()), [&b"6.6.6.6, 198.51.100.7, 10.0.0.5"[..]]);
    assert_eq!(found, Some([198, 51, 100, 7].into()));
    let KeySource::ApiKey(key) = &rotated.http.rules[0].key else { panic!("it says apiKey") };
    assert_eq!(key.hasher().unwrap().all("sk-1").count(), 2);
}

#[test]
fn the_examples_of_outages_are_the_defaults_and_modes_that_they_show() {
    let examples = blocks("outages.md").into_iter().filter(|(kind, _)| kind == "yaml").map(|(_, text)| text);
    let examples: Vec<_> = examples.map(|text| parse(&text).unwrap()).collect();
    let [modes, store] = examples.as_slice() else { panic!("two examples") };

    let named: Vec<_> = modes.limiters.iter().map(|limiter| limiter.fail_mode.as_str()).collect();
    assert_eq!(named, ["local", "closed"]);
    assert_eq!(modes.http.rules[2].fail_mode, Some(FailMode::Open));

    assert_eq!(store.store.kind(), StoreKind::Redis);
    assert_eq!(store.store, StoreSpec::new(store.store.backend.clone()), "the guide shows the defaults");
}

/// The front page shows the files of the quickstart and the gateway but for some of their comments, and lines to put into the
/// first.
#[test]
fn the_front_page_shows_the_files_of_the_quickstart_and_the_gateway() {
    let blocks = blocks("../README.md");
    let examples: Vec<_> = blocks.iter().filter(|(kind, _)| kind == "yaml").map(|(_, text)| text).collect();
    let [quickstart, store, gateway] = examples.as_slice() else { panic!("three examples") };
    let file = read("examples/throttle.yaml");
    assert_eq!(parse(quickstart).unwrap(), parse(&file).unwrap());
    let strangers: Vec<_> = quickstart.lines().filter(|shown| !file.lines().any(|line| line == *shown)).collect();
    assert!(strangers.is_empty(), "not in the file: {strangers:?}");
    assert!(file.contains(store.trim()), "the file has the line that the page says to change it to");
    let file = read("examples/llm-gateway.yaml");
    assert_eq!(parse(gateway).unwrap(), parse(&file).unwrap());
}

/// Also those that are commented out.
#[test]
fn stores_that_are_shown_are_ones_that_a_file_can_name() {
    let examples = blocks("stores.md").into_iter().filter(|(kind, _)| kind == "yaml").map(|(_, text)| text);
    let quickstart = read("examples/throttle.yaml");
    let commented = quickstart.lines().filter_map(|line| line.strip_prefix("# store:"));
    let mut kinds = Vec::new();
    for text in examples.flat_map(|text| text.split("\n# ").map(str::to_owned).collect::<Vec<_>>()) {
        kinds.push(parse(&format!("limiters: {{}}\n{text}")).unwrap().store.kind().as_str());
    }
    assert_eq!(kinds, ["memory", "redis", "postgres", "dynamodb", "dynamodb"]);
    let kinds: Vec<_> = commented
        .map(|store| parse(&format!("limiters: {{}}\nstore:{store}")).unwrap().store.kind().as_str())
        .collect();
    assert_eq!(kinds, ["redis", "postgres", "dynamodb"]);
}
