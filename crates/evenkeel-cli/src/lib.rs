//! The `evenkeel` command, for people who operate what others call.
//!
//! - `evenkeel watch TARGET` shows the endpoints a target resolves to, as they change.
//! - `evenkeel check TARGET` connects to each endpoint, asks its health, and says by its exit code whether all are well.
//!
//! It resolves as a channel does, with the same resolvers, so what it shows is what a program sees. It makes no calls but health checks and
//! changes nothing. What a registry says is shown with control characters replaced, so that it cannot command the terminal.
//!
//! Exit codes: 0 all is well (or a watch was ended), 1 some endpoint is not well or there is none, 2 the command or the target
//! makes no sense or cannot be resolved, 130 a check was interrupted.
//!
//! This library exists for its tests and promises no API beyond [`main`]; use the `evenkeel` crate in programs.
#![forbid(unsafe_code)]

mod args;
mod check;
mod duration;
mod exit;
mod out;
mod seek;
mod signals;
mod table;
mod text;
mod watch;

use std::process::ExitCode;

use exit::Exit;

/// Runs the command with the process's arguments, standard output and standard error.
pub fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(error) => {
            // Help and version go to standard output with code 0, the rest to standard error with code 2. A closed pipe changes neither.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::Failed(format!("no runtime: {error}")).report(),
    };
    let exit = runtime.block_on(async {
        match command {
            args::Command::Watch(args) => watch::run(&args).await,
            args::Command::Check(args) => check::run(args).await,
        }
    });
    // A look-up that hangs in the system must not keep the command from ending.
    runtime.shutdown_background();
    exit.report()
}
