//! The primitives that [`crew`](super::crew) is built on. The model test compiles that file against
//! loom's primitives in place of these.

pub use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
pub use std::sync::{Arc, Mutex};

/// Looks at a value after which a waiting thread lets other threads of the system run first.
const SPINS: usize = 1000;

/// Waits a moment before the look number `looks` at a value that another thread will change.
pub fn relax(looks: usize) {
    if looks < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
