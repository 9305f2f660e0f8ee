//! One error for everything that can go wrong in a developer's tool: a sentence for the person who typed the command.

use std::fmt::{self, Display};

/// What went wrong, outermost attempt first.
#[derive(Debug)]
pub(crate) struct Error(String);

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was being attempted when an error came.
pub(crate) trait Context<T> {
    fn context(self, attempt: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, attempt: impl Display) -> Result<T> {
        self.map_err(|error| Error(format!("{attempt}: {error}")))
    }
}
