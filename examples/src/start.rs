//! How every example starts: its options, and what becomes of an error.

use std::error::Error;
use std::process::ExitCode;

/// Runs the example called `name` with its options. `None` in their place asks for help, which is `usage`; wrong ones end
/// it with status 2, an error with status 1.
pub(crate) async fn start<O>(
    name: &str,
    usage: &str,
    options: Result<Option<O>, lexopt::Error>,
    run: impl AsyncFnOnce(O) -> Result<(), Box<dyn Error>>,
) -> ExitCode {
    let options = match options {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{usage}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{name}: {error}\n\n{usage}");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Of several lines, such as the problems of a file, each begins with its place.
            let error = error.to_string();
            eprintln!("{name}:{}{error}", if error.contains('\n') { '\n' } else { ' ' });
            ExitCode::FAILURE
        }
    }
}
