//! The benchmark programs of the `bench` package.

use crate::process::run as run_program;
use crate::workspace::Workspace;
use crate::{Error, Options, packages, services};

/// Runs the named programs, or all of them in the order in which cargo lists them.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Error> {
    let programs = programs(workspace)?;
    if options.list {
        for (_, name) in &programs {
            println!("{name}");
        }
        return Ok(());
    }
    if let Some(unknown) = options.names.iter().find(|name| !programs.iter().any(|(_, known)| known == name)) {
        let known: Vec<_> = programs.iter().map(|(_, name)| *name).collect();
        return Err(format!("no benchmark is called {unknown:?}; there are: {}", known.join(", ")).into());
    }
    services::ensure(&services::ALL)?;
    packages::ensure(&workspace.target())?;
    packages::ensure_rivals(&workspace.target())?;
    let chosen =
        programs.iter().filter(|(_, name)| options.names.is_empty() || options.names.iter().any(|asked| asked == name));
    for (kind, name) in chosen {
        let mut command = workspace.cargo();
        match kind {
            Kind::Program => command.args(["run", "--package=bench", "--profile=bench", "--bin", name]),
            Kind::Bench => command.args(["bench", "--package=bench", "--bench", name]),
        };
        if options.quick {
            command.args(["--", "--quick"]);
        }
        run_program(&mut command)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Program,
    Bench,
}

fn programs(workspace: &Workspace) -> Result<Vec<(Kind, &str)>, Error> {
    let package = workspace.members().find(|package| package.name() == "bench").ok_or("there is no package `bench`")?;
    let bins = package.programs("bin").map(|name| (Kind::Program, name));
    let benches = package.programs("bench").map(|name| (Kind::Bench, name));
    Ok(bins.chain(benches).collect())
}
