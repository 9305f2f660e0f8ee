//! What is alive, counted and not hoped.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tasks alive on the current tokio runtime.
///
/// # Panics
/// Outside a runtime.
pub fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Sockets this process has open, of any kind. An error where there is no `/proc`.
pub fn sockets() -> io::Result<usize> {
    let mut sockets = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        // The directory's own descriptor is gone by the time its link is read.
        if let Ok(link) = std::fs::read_link(entry?.path()) {
            sockets += usize::from(link.to_string_lossy().starts_with("socket:"));
        }
    }
    Ok(sockets)
}

/// Counts allocations; install it in a test or benchmark binary:
///
/// ```
/// use lb_testkit::count::{CountingAllocator, allocations};
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// let (text, counted) = allocations(|| "a".repeat(100));
/// assert_eq!((text.len(), counted), (100, 1));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

static ALL: AtomicU64 = AtomicU64::new(0);
/// Bytes asked for and not given back.
static LIVE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Constant and without a destructor, so that counting never allocates and works while a thread ends.
    static MINE: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Runs the closure and counts the allocations and reallocations of this thread meanwhile; 0 unless [`CountingAllocator`] is installed.
pub fn allocations<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = MINE.get();
    let value = run();
    (value, MINE.get() - before)
}

/// As [`allocations`], and the bytes asked for; of a reallocation those of the new size.
pub fn allocated<T>(run: impl FnOnce() -> T) -> (T, u64, u64) {
    let before = BYTES.get();
    let (value, counted) = allocations(run);
    (value, counted, BYTES.get() - before)
}

/// Allocations and reallocations of the whole process so far; 0 unless [`CountingAllocator`] is installed.
pub fn allocations_of_all_threads() -> u64 {
    ALL.load(Ordering::Relaxed)
}

/// Bytes on the heap of the whole process: what was asked for, without what the allocator adds; 0 unless [`CountingAllocator`] is installed.
pub fn heap_bytes() -> u64 {
    LIVE.load(Ordering::Relaxed)
}

/// Bytes of this process in memory, as the kernel counts them (`VmRSS`): code, stacks and free space of the allocator too. An error where
/// there is no `/proc`.
pub fn resident_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))
}

/// Counts bytes, unless they could not be had.
fn grown(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if !pointer.is_null() {
        LIVE.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pointer
}

fn count(bytes: usize) {
    MINE.set(MINE.get() + 1);
    BYTES.set(BYTES.get() + bytes as u64);
    ALL.fetch_add(1, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator can only be written as an unsafe trait; every call goes to the system's unchanged")]
// SAFETY: every method passes its arguments to `System` unchanged and returns what it returns; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is `System`'s.
        grown(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as for `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as for `alloc`.
        grown(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as for `alloc`.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        if !moved.is_null() {
            // Less than before wraps round, as the sum does.
            LIVE.fetch_add((size as u64).wrapping_sub(layout.size() as u64), Ordering::Relaxed);
        }
        moved
    }
}
