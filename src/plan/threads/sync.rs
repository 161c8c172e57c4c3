//! The synchronisation primitives of [`crew`](super::crew). The model test compiles that file with
//! loom's primitives instead.

pub use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
pub use std::sync::{Arc, Mutex};

/// Checks of a value after which a waiting thread yields to other threads of the system.
const SPINS: usize = 1000;

/// Waits a moment between two checks of a value that another thread will change. `looks` is the
/// number of checks so far.
pub fn relax(looks: usize) {
    if looks < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
