//! An allocator that counts what each thread holds, and has no more than so much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// No case of these small inputs needs more.
pub const ENOUGH: usize = 256 << 20;
/// More than this is not given: what asks for it must be able to do without.
const LIMIT: usize = 1 << 30;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Begins to count anew.
pub fn begin() {
    HELD.set(0);
    PEAK.set(0);
}

/// The most that was held at once since then.
pub fn peak() -> usize {
    PEAK.get()
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Whether the thread may hold so much more.
fn take(size: usize) -> bool {
    let held = HELD.get().saturating_add(size);
    if held > LIMIT {
        return false;
    }
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
    true
}

fn give(size: usize) {
    HELD.set(HELD.get().saturating_sub(size));
}

// SAFETY: all memory is the system's, by its own layouts; the counts are plain numbers of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        if take(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        give(layout.size());
        if !take(size) {
            take(layout.size());
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}
