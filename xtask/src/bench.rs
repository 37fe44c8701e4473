//! The benchmark programs of the `bench` package.

use crate::process::run as run_program;
use crate::workspace::Workspace;
use crate::{Error, Options, packages, services};

/// Runs the named programs, or all of them in the order in which cargo lists them.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Error> {
    let programs = programs(workspace)?;
    if options.list {
        for name in &programs {
            println!("{name}");
        }
        return Ok(());
    }
    if let Some(unknown) = options.names.iter().find(|name| !programs.iter().any(|known| known == name)) {
        return Err(format!("no benchmark is called {unknown:?}; there are: {}", programs.join(", ")).into());
    }
    services::ensure(&services::ALL)?;
    packages::ensure(&workspace.target())?;
    packages::ensure_rivals(&workspace.target())?;
    let chosen =
        programs.iter().filter(|name| options.names.is_empty() || options.names.iter().any(|asked| asked == *name));
    for name in chosen {
        let mut command = workspace.cargo();
        command.args(["bench", "--package=bench", "--bench", name]);
        if options.quick {
            command.args(["--", "--quick"]);
        }
        run_program(&mut command)?;
    }
    Ok(())
}

fn programs(workspace: &Workspace) -> Result<Vec<&str>, Error> {
    let package = workspace.members().find(|package| package.name() == "bench").ok_or("there is no package `bench`")?;
    Ok(package.benches().collect())
}
