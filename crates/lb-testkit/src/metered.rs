//! What calls allocate, counted only while somebody asks.
//!
//! [`count`](crate::count) counts always, which is what a test wants. A benchmark times calls too, and timed calls must not pay for counting: here
//! an allocation that is not counted costs one look at a switch.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Sub;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts allocations and their bytes while told to; install it in a benchmark's program:
///
/// ```
/// use lb_testkit::metered::{Allocated, MeteredAllocator, meter};
///
/// #[global_allocator]
/// static ALLOCATOR: MeteredAllocator = MeteredAllocator;
///
/// # fn main() {
/// let uncounted = vec![0_u8; 50];
/// meter(true);
/// let before = Allocated::now();
/// let counted = vec![0_u8; 100];
/// assert_eq!(Allocated::now() - before, Allocated { count: 1, bytes: 100 });
/// meter(false);
/// let before = Allocated::now();
/// assert_eq!((uncounted.len(), counted.len(), vec![0_u8; 7].len()), (50, 100, 7));
/// assert_eq!(Allocated::now(), before);
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MeteredAllocator;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// What was allocated by all threads while that was counted; 0 unless a [`MeteredAllocator`] is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocated {
    /// Allocations and reallocations.
    pub count: u64,
    /// Bytes asked for; of a reallocation, the whole new size.
    pub bytes: u64,
}

/// Whether allocations are counted from now on. Not from the start.
pub fn meter(on: bool) {
    ON.store(on, Ordering::SeqCst);
}

impl Allocated {
    /// Since the start of the process.
    pub fn now() -> Self {
        Self { count: COUNT.load(Ordering::SeqCst), bytes: BYTES.load(Ordering::SeqCst) }
    }
}

/// What was allocated between.
impl Sub for Allocated {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { count: self.count - before.count, bytes: self.bytes - before.bytes }
    }
}

fn count_if_on(bytes: usize) {
    if ON.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator can only be written as an unsafe trait; every call goes to the system's unchanged")]
// SAFETY: every method passes its arguments to `System` unchanged and returns what it returns; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for MeteredAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_if_on(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_if_on(layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_if_on(size);
        // SAFETY: as for `alloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
