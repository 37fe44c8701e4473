//! The example of an overloaded server runs. What it measures is a matter of time, which no test decides by.

use std::process::{Command, Output};

fn overload(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_overload")).args(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn both_servers_are_tallied_in_each_phase() {
    let (code, output, errors) = overload(&["--quick"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let lines: Vec<&str> =
        output.lines().filter(|line| line.starts_with("| none") || line.starts_with("| steady")).collect();
    assert_eq!(lines.len(), 6, "{output}");
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 9, "{line}");
        // Without a limit nothing is refused, and there is none to show.
        let limited = cells[0] == "steady";
        assert_eq!(cells[8].parse::<u32>().is_ok(), limited, "{line}");
        assert!(limited || cells[4] == "0", "{line}");
    }
}

#[test]
fn a_mistake_is_a_clear_error() {
    let (code, _, errors) = overload(&["--slow"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("invalid option '--slow'") && errors.contains("Usage:"), "{errors}");
    assert_eq!(overload(&["--help"]).0, Some(0));
}
