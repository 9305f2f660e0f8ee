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

/// CPU time of all processes that this one started and that have ended and were waited for, with those that they started in turn: what a build
/// took, whatever else the machine did. In steps of 10 ms.
///
/// # Errors
/// [`BenchError::Io`] on a system without `/proc`.
pub fn cpu_time_of_children() -> Result<Duration, BenchError> {
    let path = PathBuf::from("/proc/self/stat");
    let broken = |error| BenchError::Io { path: path.clone(), error };
    let text = std::fs::read_to_string(&path).map_err(broken)?;
    // The name of the program stands in parentheses and may have blanks; after it the fields are counted from the third.
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    let both = field(CUTIME).zip(field(CSTIME)).ok_or_else(|| broken(std::io::ErrorKind::InvalidData.into()))?;
    let ticks = both.0 + both.1;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Fields of proc_pid_stat(5), counted from one: user and system time of children that were waited for.
const CUTIME: usize = 16;
const CSTIME: usize = 17;

/// The unit of both fields for programs, `USER_HZ`, which is 100 on every Linux whatever its kernel counts in.
const TICKS_PER_SECOND: u64 = 100;

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
    fn the_work_of_children_is_charged_once_they_are_waited_for() {
        let before = cpu_time_of_children().unwrap();
        while cpu_time_of_children().unwrap() < before + Duration::from_millis(20) {
            let counting = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
            assert!(std::process::Command::new("sh").args(["-c", counting]).status().unwrap().success());
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(matches!(cpu_time_of(u32::MAX), Err(BenchError::Io { .. })));
    }
}
