//! What did not hold.

use std::fmt;

/// One case that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The name of the case.
    pub case: &'static str,
    /// What happened, and what was expected.
    pub message: String,
}

/// The cases that failed, of those that were run. Its `Debug` form is its `Display` form, so that a test that unwraps it
/// shows it readably.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Report {
    failures: Vec<Failure>,
    cases: usize,
}

impl Report {
    /// The failures, in the order of the cases; at least one.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    pub(super) fn add(&mut self, case: &'static str, outcome: Result<(), String>) {
        self.cases += 1;
        if let Err(message) = outcome {
            self.failures.push(Failure { case, message });
        }
    }

    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.failures.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} cases failed", self.failures.len(), self.cases)?;
        for Failure { case, message } in &self.failures {
            write!(f, "\n- {case}: {message}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}
