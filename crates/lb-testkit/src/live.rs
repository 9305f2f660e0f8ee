//! How much memory is in use, counted and not guessed from the size of the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the bytes that are allocated and not freed; install it in a test binary:
///
/// ```
/// use lb_testkit::live::{LiveAllocator, live_bytes};
///
/// #[global_allocator]
/// static ALLOCATOR: LiveAllocator = LiveAllocator;
///
/// let before = live_bytes();
/// let kept = vec![0_u8; 1000];
/// assert_eq!(live_bytes() - before, 1000);
/// drop(kept);
/// assert_eq!(live_bytes(), before);
/// ```
///
/// One counter for all threads: for tests that ask whether memory stays flat, not for benchmarks.
#[derive(Debug, Clone, Copy, Default)]
pub struct LiveAllocator;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Bytes allocated and not freed, in the whole process; 0 unless [`LiveAllocator`] is installed.
pub fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

#[expect(unsafe_code, reason = "an allocator can only be written as an unsafe trait; every call goes to the system's unchanged")]
// SAFETY: both methods pass their arguments to `System` unchanged and return what it returns; counting neither allocates nor unwinds.
// Zeroed and resized memory comes through the provided methods, which use these two.
unsafe impl GlobalAlloc for LiveAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as for `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
