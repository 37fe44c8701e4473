//! The example of metrics runs. What it measures is a matter of time, which no test decides by.

use std::process::{Command, Output};

fn metrics(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_metrics")).args(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_the_service_says_of_itself_is_printed() {
    let (code, output, errors) = metrics(&["--quick"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let value = |series: &str| -> f64 {
        let line = output.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in {output}")).parse().expect("a number")
    };
    assert!(value("throttlekit_allowed_total{policy=\"work\"}") > 0.0);
    assert_eq!(value("throttlekit_guard_limit{guard=\"work\"}"), 8.0);
    let count = value("throttlekit_decision_latency_seconds_count{policy=\"work\"}");
    let denied = value("throttlekit_denied_total{policy=\"work\"}");
    assert_eq!(count, value("throttlekit_allowed_total{policy=\"work\"}") + denied);
}

#[test]
fn a_mistake_is_a_clear_error() {
    let (code, _, errors) = metrics(&["--slow"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("invalid option '--slow'") && errors.contains("Usage:"), "{errors}");
    assert_eq!(metrics(&["--help"]).0, Some(0));
}
