//! The examples in `docs/config.md` mean what the guide says.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use std::fs;
use std::path::Path;

use throttlekit::config::Config;

/// The code blocks of the guide: language and text.
fn blocks() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let guide = fs::read_to_string(path).unwrap();
    // Every second part between fences is a block; its first line is the language.
    let inside = guide.split("```").skip(1).step_by(2);
    inside.map(|block| block.split_once('\n').map(|(kind, text)| (kind.to_owned(), text.to_owned())).unwrap()).collect()
}

#[test]
fn each_example_loads_or_has_the_errors_that_follow_it() {
    let blocks = blocks();
    let (mut loaded, mut refused) = (0, 0);
    for (index, (_, text)) in blocks.iter().enumerate().filter(|(_, (kind, _))| kind == "yaml") {
        match (Config::from_yaml(text), blocks.get(index + 1)) {
            (Err(errors), Some((kind, expected))) if kind == "text" => {
                let found: Vec<_> = errors.to_string().lines().map(|line| format!("throttle.yaml:{line}")).collect();
                assert_eq!(found, expected.lines().collect::<Vec<_>>());
                refused += 1;
            }
            (Err(errors), _) => panic!("{text}\n{errors}"),
            (Ok(_), _) => loaded += 1,
        }
    }
    assert_eq!((loaded, refused), (2, 1));
}

#[test]
fn the_first_example_is_what_the_guide_is_about() {
    let (_, text) = blocks().into_iter().find(|(kind, _)| kind == "yaml").unwrap();
    let config = Config::from_yaml(&text).unwrap();
    let names: Vec<_> = config.limiters.iter().map(|limiter| limiter.name.as_str()).collect();
    assert_eq!(names, ["api", "uploads"]);
    assert_eq!(config.http.rules[1].policies, names);
}
