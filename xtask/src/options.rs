//! What was asked for, and whether the task takes it.

use std::num::NonZero;

use lexopt::{Arg, Error, Parser, ValueExt};

/// The command line.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) task: Option<String>,
    pub(crate) names: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) list: bool,
    /// A fuzz target that is given no second runs without end.
    pub(crate) seconds: Option<NonZero<u32>>,
}

impl Options {
    /// Reads it. What the task would ignore is an error: whoever wrote it waits for something else than what would run.
    pub(crate) fn parse(mut parser: Parser) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut given = Vec::new();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(task) if options.task.is_none() => options.task = Some(task.string()?),
                Arg::Value(name) => {
                    options.names.push(name.string()?);
                    given.push("NAME..");
                }
                Arg::Long("quick") => {
                    options.quick = true;
                    given.push("--quick");
                }
                Arg::Long("list") => {
                    options.list = true;
                    given.push("--list");
                }
                Arg::Long("seconds") => {
                    options.seconds = Some(parser.value()?.parse()?);
                    given.push("--seconds");
                }
                Arg::Short('h') | Arg::Long("help") => {
                    return Ok(Self { task: Some("help".to_owned()), ..Self::default() });
                }
                other => return Err(other.unexpected()),
            }
        }
        let task = options.task.as_deref().unwrap_or("help");
        // That a task is unknown is told by whoever looks for it.
        let Some(taken) = taken_by(task) else { return Ok(options) };
        match given.iter().find(|part| !taken.contains(part)) {
            None => Ok(options),
            Some(part) if taken.is_empty() => Err(format!("{task} takes nothing, and no {part}").into()),
            Some(part) => Err(format!("{task} takes {}, and no {part}", taken.join(", ")).into()),
        }
    }
}

/// The parts of the command line that a task heeds; `None` if there is no such task.
fn taken_by(task: &str) -> Option<&'static [&'static str]> {
    Some(match task {
        "test" | "services" | "api" | "loom" | "miri" | "help" => &[],
        "bench" => &["NAME..", "--quick", "--list"],
        "ci" => &["NAME..", "--list"],
        "fuzz" => &["--seconds"],
        // The path of a description.
        "print-api" => &["NAME.."],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use lexopt::Parser;

    use super::Options;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(Parser::from_args(line.split_whitespace())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_task_takes_what_it_heeds() {
        let bench = parse("bench check --quick door").unwrap();
        assert_eq!((bench.names, bench.quick), (vec!["check".to_owned(), "door".to_owned()], true));
        assert!(parse("ci --list").unwrap().list);
        assert_eq!(parse("fuzz --seconds 60").unwrap().seconds.unwrap().get(), 60);
        assert_eq!(parse("").unwrap().task, None);
        assert_eq!(parse("tset limiter").unwrap().task.as_deref(), Some("tset"));
        assert_eq!(parse("test --help").unwrap().task.as_deref(), Some("help"));
    }

    #[test]
    fn what_a_task_would_ignore_is_refused() {
        for (line, says) in [
            ("test limiter", "test takes nothing, and no NAME.."),
            ("test --list", "test takes nothing, and no --list"),
            ("loom x", "loom takes nothing, and no NAME.."),
            ("api x", "api takes nothing, and no NAME.."),
            ("fuzz duration", "fuzz takes --seconds, and no NAME.."),
            ("ci --quick", "ci takes NAME.., --list, and no --quick"),
            ("bench --seconds 3", "bench takes NAME.., --quick, --list, and no --seconds"),
        ] {
            assert_eq!(parse(line).unwrap_err(), says, "{line}");
        }
    }

    #[test]
    fn a_fuzz_target_runs_for_a_second_at_least() {
        for seconds in ["0", "-1", "x", "99999999999"] {
            let error = parse(&format!("fuzz --seconds={seconds}")).unwrap_err();
            assert!(error.contains(seconds), "{error}");
        }
    }
}
