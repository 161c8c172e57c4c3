//! Tokens that cancel runs.

use dyrelu::CancelToken;

use crate::arguments::{writable, write};
use crate::handles::Handles;
use crate::status::{DyreluStatus, call};

/// Cancels runs from any thread.
pub struct CancelHandle {
    _opaque: u8,
}

pub(crate) static TOKENS: Handles<CancelToken> = Handles::new("cancel token");

/// Creates a token that is not cancelled. dyrelu_cancel_token_free frees it.
///
/// Any thread may call this.
///
/// # Safety
///
/// `token` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyrelu_cancel_token_new(token: *mut *mut CancelHandle) -> DyreluStatus {
    call(|| {
        writable(token, "token")?;
        // SAFETY: the caller's promise.
        unsafe { write(token, "token", TOKENS.insert(CancelToken::new())) }
    })
}

/// Cancels all runs that have the token, now and later. A run ends after at most one step of its network.
///
/// Any thread may call this, also while a run has the token.
#[unsafe(no_mangle)]
pub extern "C" fn dyrelu_cancel_token_cancel(token: *const CancelHandle) -> DyreluStatus {
    call(|| {
        TOKENS.get(token)?.cancel();
        Ok(())
    })
}

/// Frees a token. Runs that have it go on. Null is ignored.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn dyrelu_cancel_token_free(token: *mut CancelHandle) -> DyreluStatus {
    call(|| TOKENS.remove(token))
}
