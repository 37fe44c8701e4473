//! Runs that go to one node together.

use std::sync::Arc;

use redis::{Cmd, Pipeline};

use crate::link::{FIRST_KEY, ScriptRun};
use crate::script::Script;

/// Runs as one pipeline.
pub(crate) struct Batch {
    pipeline: Pipeline,
    scripts: Vec<Arc<Script>>,
    /// Whether each command has an `ASKING` before it.
    asking: bool,
}

impl Batch {
    /// The runs, in order.
    pub(crate) fn new(runs: Vec<ScriptRun>) -> Self {
        Self::with(runs, false)
    }

    /// The runs, each for a node that is about to take over its slot.
    pub(crate) fn asking(runs: Vec<ScriptRun>) -> Self {
        Self::with(runs, true)
    }

    fn with(runs: Vec<ScriptRun>, asking: bool) -> Self {
        let mut pipeline = Pipeline::with_capacity(runs.len() * (1 + usize::from(asking)));
        let mut scripts = Vec::with_capacity(runs.len());
        for run in runs {
            if asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(run.command);
            scripts.push(run.script);
        }
        Self { pipeline, scripts, asking }
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.scripts.len()
    }

    /// The commands that go over the wire.
    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// How many answers come before that of a run: those of its `ASKING`.
    pub(crate) fn skipped(&self) -> usize {
        usize::from(self.asking)
    }

    /// A copy of the run at `index`.
    pub(crate) fn run(&self, index: usize) -> Option<ScriptRun> {
        let command = self.pipeline.cmd_iter().nth(index * (1 + self.skipped()) + self.skipped())?;
        Some(ScriptRun { script: Arc::clone(self.scripts.get(index)?), command: command.clone() })
    }

    /// The runs at `indices` for a server that does not know their scripts. The first of each script carries its text
    /// if it is not `known`; the server keeps it, so that the digest does for those after it.
    pub(crate) fn with_sources(&self, indices: &[usize], every: bool) -> Self {
        let mut sent: Vec<*const Script> = Vec::new();
        let mut runs = Vec::with_capacity(indices.len());
        for run in indices.iter().filter_map(|&index| self.run(index)) {
            let script = Arc::as_ptr(&run.script);
            if every || !sent.contains(&script) {
                sent.push(script);
                runs.push(ScriptRun { command: run.with_source(), script: run.script });
            } else {
                runs.push(run);
            }
        }
        Self::with(runs, self.asking)
    }
}

impl ScriptRun {
    /// The same run as a command that carries the text.
    fn with_source(&self) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVAL").arg(self.script.text());
        for word in self.command.args_iter().skip(2) {
            if let redis::Arg::Simple(word) = word {
                command.arg(word);
            }
        }
        command
    }

    /// The first key, if there is one.
    pub(crate) fn first_key(&self) -> Option<&[u8]> {
        let mut words = self.command.args_iter().skip(FIRST_KEY - 1);
        match (words.next()?, words.next()?) {
            (redis::Arg::Simple(b"0"), _) => None,
            (_, redis::Arg::Simple(key)) => Some(key),
            _ => None,
        }
    }
}
