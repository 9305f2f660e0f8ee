//! Standard output, with its reader possibly gone.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use crate::exit::Exit;

/// A terminal that does not say its size has that of the oldest.
const SIZE: (usize, usize) = (80, 24);

/// Writes all of it at once. A closed pipe ends the command quietly: whoever read it has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Exit::Good),
        Err(error) => Err(Exit::Failed(format!("standard output: {error}"))),
    }
}

/// Whether a person reads along.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns and lines of the terminal.
pub(crate) fn size() -> (usize, usize) {
    match terminal_size::terminal_size() {
        Some((terminal_size::Width(columns), terminal_size::Height(lines))) if columns > 0 && lines > 0 => {
            (columns.into(), lines.into())
        }
        _ => SIZE,
    }
}
