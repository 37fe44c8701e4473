//! What is wrong with a configuration: all of it at once.

use std::error::Error as StdError;
use std::fmt;

use super::node::shown_name;
use super::source::Format;
use super::spec::LimiterSpec;
use super::store::StoreKind;
use crate::error::BuildError;

/// A place in a text. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    pub(super) fn new(line: usize, column: usize) -> Self {
        Self { line, column }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Problem {
    /// What it is about, such as `config.limiters[api].burst`; `config` for the text as a whole.
    pub path: String,
    /// Where it is; `None` for a configuration that was not read from a text.
    pub position: Option<Position>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Problem {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        "config_invalid"
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Everything that is wrong with a configuration, in the order of the text. Never empty.
///
/// `Display` writes one line for each problem:
///
/// ```
/// use throttlekit::config::Config;
///
/// let text = "limiters:\n  api: { strategy: gcra, limit: 5, period: 1m, burts: 9 }\n";
/// let errors = Config::from_yaml(text).unwrap_err();
/// assert_eq!(
///     errors.to_string(),
///     r#"2:48: config.limiters[api].burts: unknown field, did you mean "burst"?"#,
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: Option<String>,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// `problems` must not be empty.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.position);
        Self { file: None, problems }
    }

    /// One problem with the text as a whole, or with what should have been one.
    pub(crate) fn single(position: Option<Position>, message: impl Into<String>) -> Self {
        Self::new(vec![Problem { path: "config".to_owned(), position, message: message.into() }])
    }

    /// What turned out when a limiter was made, such as memory that the system does not reserve.
    pub(crate) fn refused(limiter: &LimiterSpec, error: &BuildError) -> Self {
        let option = error.option();
        // The options of strategies are named after these; the others are below a block.
        let by_strategy = || option.rsplit('.').next().unwrap_or_default().to_owned();
        let option = limiter.kind.path_of(option).unwrap_or_else(by_strategy);
        let path = format!("config.limiters[{}].{option}", shown_name(&limiter.name));
        let found = error.value().map_or_else(String::new, |value| format!(" (found {value})"));
        Self::new(vec![Problem { path, position: None, message: format!("{}{found}", error.allowed()) }])
    }

    /// A rule whose policies cannot decide together.
    pub(crate) fn refused_rule(index: usize, error: &BuildError) -> Self {
        let found = error.value().map_or_else(String::new, |value| format!(" (found {value})"));
        let path = format!("config.http.rules[{index}].policies");
        Self::new(vec![Problem { path, position: None, message: format!("{}{found}", error.allowed()) }])
    }

    /// A configuration without rules, in place of one that has `current` of them.
    pub(crate) fn no_rules(current: usize) -> Self {
        let (path, are) = ("config.http.rules".to_owned(), if current == 1 { "is" } else { "are" });
        let message = format!(
            "at least one rule is required, since there {are} {current} now and without any nothing would be limited (found \
             none); `shadow: true` in http.defaults lets every request pass"
        );
        Self::new(vec![Problem { path, position: None, message }])
    }

    /// A store that cannot be opened, because of one of its options or for a reason of its own.
    pub(crate) fn refused_store(kind: StoreKind, option: Option<&str>, message: String) -> Self {
        let option = option.map_or_else(String::new, |option| format!(".{option}"));
        Self::new(vec![Problem { path: format!("config.store.{}{option}", kind.as_str()), position: None, message }])
    }

    /// Of a text whose format was guessed: what is wrong with it as a whole may be that.
    pub(super) fn of_guessed(mut self, format: Format, why: &str) -> Self {
        let guessed = format!("; read as {format:?}, since {why}");
        for problem in self.problems.iter_mut().filter(|problem| problem.path == "config") {
            problem.message.push_str(&guessed);
        }
        self
    }

    pub(crate) fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        "config_invalid"
    }

    /// The file, as it was named.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &self.file {
                Some(file) if problem.position.is_some() => write!(f, "{file}:{problem}")?,
                Some(file) => write!(f, "{file}: {problem}")?,
                None => write!(f, "{problem}")?,
            }
        }
        Ok(())
    }
}

impl StdError for ConfigErrors {}
