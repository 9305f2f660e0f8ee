//! What the scheduler charged a process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::BenchError;

/// CPU time of all living threads of this process, in nanoseconds as the scheduler counts them. The steadiest figure of all, if no thread ends between
/// two looks.
///
/// # Errors
/// [`BenchError::Io`] on a system without `/proc`.
pub fn cpu_time() -> Result<Duration, BenchError> {
    of(Path::new("/proc/self"))
}

/// The same of another process.
///
/// # Errors
/// [`BenchError::Io`] if it has ended.
pub fn cpu_time_of(process: u32) -> Result<Duration, BenchError> {
    of(&PathBuf::from(format!("/proc/{process}")))
}

fn of(process: &Path) -> Result<Duration, BenchError> {
    let tasks = process.join("task");
    let threads = std::fs::read_dir(&tasks).map_err(|error| BenchError::Io { path: tasks, error })?;
    // A thread that ends meanwhile has no file any more.
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(Duration::from_nanos(nanoseconds.sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_charged() {
        let before = cpu_time().unwrap();
        let mut sum = 0_u64;
        while cpu_time().unwrap() < before + Duration::from_millis(2) {
            (0..10_000_u64).for_each(|number| sum = std::hint::black_box(sum.wrapping_add(number)));
        }
        assert!(cpu_time_of(std::process::id()).unwrap() >= before);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(matches!(cpu_time_of(u32::MAX), Err(BenchError::Io { .. })));
    }
}
