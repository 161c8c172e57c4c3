//! Pointers of callers, checked.

use std::ffi::{CStr, c_char};
use std::slice;

use crate::status::{Failure, Outcome};

/// Returns the text at `text`.
///
/// # Safety
///
/// `text` is null or points to a text that ends with a null character and lives for `'a`.
pub unsafe fn text<'a>(text: *const c_char, name: &str) -> Outcome<&'a CStr> {
    if text.is_null() {
        return Err(null(name));
    }
    // SAFETY: it is not null, and the caller vouches for the rest.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// Returns the `len` elements at `data`. For no elements `data` may be null.
///
/// # Safety
///
/// `data` is null or points to `len` elements that live for `'a` and do not change.
pub unsafe fn elements<'a, T>(data: *const T, len: usize, name: &str) -> Outcome<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check(data, len, name)?;
    // SAFETY: it is aligned and not null, the size is at most isize::MAX, and the caller vouches for the rest.
    Ok(unsafe { slice::from_raw_parts(data, len) })
}

/// Returns the `len` elements at `data` for writing.
///
/// # Safety
///
/// `data` is null or points to `len` elements that live for `'a` and that nothing else reads or writes.
pub unsafe fn elements_mut<'a, T>(data: *mut T, len: usize, name: &str) -> Outcome<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(data, len, name)?;
    // SAFETY: as in `elements`.
    Ok(unsafe { slice::from_raw_parts_mut(data, len) })
}

/// Writes a result.
///
/// # Safety
///
/// `place` is null or valid for a write.
pub unsafe fn write<T>(place: *mut T, name: &str, value: T) -> Outcome {
    writable(place, name)?;
    // SAFETY: it is aligned and not null, and the caller vouches for the rest.
    unsafe { place.write(value) };
    Ok(())
}

/// Checks that a result can be written to `place`, before there is a result.
pub fn writable<T>(place: *mut T, name: &str) -> Outcome {
    check(place, 1, name)
}

fn check<T>(data: *const T, len: usize, name: &str) -> Outcome {
    if data.is_null() {
        return Err(null(name));
    }
    if !data.is_aligned() {
        let wanted = align_of::<T>();
        return Err(Failure::argument(format!("{name} is not aligned to {wanted} bytes")));
    }
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::argument(format!("{name} cannot have {len} elements"))),
    }
}

fn null(name: &str) -> Failure {
    Failure::argument(format!("{name} is null"))
}
