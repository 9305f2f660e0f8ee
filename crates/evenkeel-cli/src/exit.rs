//! How the command ends.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

/// See the essay of the crate for what the codes mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Good,
    /// Some endpoint is not, or there is none.
    Bad,
    /// The command, the target or the output is of no use, for this reason.
    Failed(String),
    /// Ended by a signal before it knew.
    Interrupted,
}

impl Exit {
    /// The exit code, after a word on standard error if there is something to say.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Good => ExitCode::SUCCESS,
            Self::Bad => ExitCode::from(1),
            Self::Failed(reason) => {
                eprintln!("evenkeel: {}", crate::text::clean(&reason));
                ExitCode::from(2)
            }
            // 128 + SIGINT, as shells have it.
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

/// An error with what lies behind it, where it does not say that itself.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}
