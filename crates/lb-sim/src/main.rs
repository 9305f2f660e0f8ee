//! The `lb-sim` command; everything is in the library beside it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_sim::cli::main(std::env::args_os())
}
