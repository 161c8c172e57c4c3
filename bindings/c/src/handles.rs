//! Handles: numbers in the guise of pointers, which are never followed.
//!
//! No number is given out twice, so a handle that was freed, or that is of another kind, is always told
//! from one that lives.

use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::status::{Failure, Outcome};

/// The objects of one kind that live, by their handle.
pub struct Handles<T> {
    kind: &'static str,
    living: LazyLock<RwLock<HashMap<usize, Arc<T>>>>,
}

/// The next handle of any kind.
static NEXT: AtomicUsize = AtomicUsize::new(1);

impl<T> Handles<T> {
    /// `kind` stands in messages.
    pub const fn new(kind: &'static str) -> Self {
        Handles { kind, living: LazyLock::new(RwLock::default) }
    }

    /// Returns a new handle to `object`.
    pub fn insert<H>(&self, object: T) -> *mut H {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The lock is held for a single operation of the map, which leaves it whole.
        let mut living = self.living.write().unwrap_or_else(PoisonError::into_inner);
        living.insert(number, Arc::new(object));
        ptr::without_provenance_mut(number)
    }

    /// Returns the object of a handle. It lives as long as what this returns, also if it is freed.
    pub fn get<H>(&self, handle: *const H) -> Outcome<Arc<T>> {
        let living = self.living.read().unwrap_or_else(PoisonError::into_inner);
        living.get(&handle.addr()).cloned().ok_or_else(|| self.unknown(handle))
    }

    /// Frees a handle. Null is ignored.
    pub fn remove<H>(&self, handle: *const H) -> Outcome {
        if handle.is_null() {
            return Ok(());
        }
        let mut living = self.living.write().unwrap_or_else(PoisonError::into_inner);
        let removed = living.remove(&handle.addr());
        // The destructor may wait for threads.
        drop(living);
        removed.map(drop).ok_or_else(|| self.unknown(handle))
    }

    fn unknown<H>(&self, handle: *const H) -> Failure {
        let kind = self.kind;
        Failure::argument(if handle.is_null() {
            format!("the {kind} is null")
        } else {
            format!("the {kind} was freed, or is a handle of another kind")
        })
    }
}
