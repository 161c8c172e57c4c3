//! What a call returns, and the message of the last one that failed.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use dyrelu::{Error, ErrorKind};

/// What a call returns. Later versions may add statuses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DyreluStatus {
    /// The call did what it says.
    Ok = 0,
    /// The operating system refused to read a file or to start a thread, or has too little memory.
    Io = 1,
    /// A file is damaged, truncated or of another kind than expected.
    Format = 2,
    /// A network asks for something that this version does not have.
    Unsupported = 3,
    /// A network contradicts itself.
    Graph = 4,
    /// Shapes or element types do not fit together.
    Shape = 5,
    /// An argument cannot be used: it is null, out of range, or a handle that was freed.
    Input = 6,
    /// A run was cancelled.
    Cancelled = 8,
    /// The timeout of a run passed.
    DeadlineExceeded = 9,
    /// A fault of dyrelu. The handles of the call should be freed; others are not affected.
    Internal = 100,
}

/// Why a call failed.
pub struct Failure {
    status: DyreluStatus,
    message: String,
}

impl Failure {
    /// An argument that cannot be used.
    pub fn argument(message: impl Into<String>) -> Self {
        Failure { status: DyreluStatus::Input, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let status = match e.kind() {
            ErrorKind::Io => DyreluStatus::Io,
            ErrorKind::Format => DyreluStatus::Format,
            ErrorKind::Unsupported => DyreluStatus::Unsupported,
            ErrorKind::Graph => DyreluStatus::Graph,
            ErrorKind::Shape => DyreluStatus::Shape,
            ErrorKind::Input => DyreluStatus::Input,
            ErrorKind::Cancelled => DyreluStatus::Cancelled,
            ErrorKind::DeadlineExceeded => DyreluStatus::DeadlineExceeded,
            _ => DyreluStatus::Internal,
        };
        Failure { status, message: e.to_string() }
    }
}

/// The result of the body of a call.
pub type Outcome<T = ()> = Result<T, Failure>;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs the body of a call. A panic ends here and becomes a status.
pub fn call(body: impl FnOnce() -> Outcome) -> DyreluStatus {
    // What a panic leaves behind is in the handles of the call, whose sessions are then refused.
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return DyreluStatus::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure { status: DyreluStatus::Internal, message: words(&*panic) },
    };
    LAST_ERROR.with_borrow_mut(|last| *last = c_string(&failure.message));
    failure.status
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a fault of dyrelu: {}", text.unwrap_or("no message"))
}

/// Returns `text` up to its first null character.
pub fn c_string(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

/// Returns the message of the last call that failed on this thread, in one line of UTF-8: which file, which
/// node, what was expected and what was found. Empty if none failed.
///
/// The text is valid until the next call that fails on this thread. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn dyrelu_last_error() -> *const c_char {
    LAST_ERROR.with_borrow(|last| last.as_ptr())
}

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// Returns the version of the library, such as "0.1.0". The text is valid for ever.
///
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn dyrelu_version() -> *const c_char {
    VERSION.as_ptr()
}
