//! What may end a run early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};

/// What may end a run before it is done. It is checked between the steps of the network, which take
/// at most a few milliseconds each in networks for photos.
///
/// A run that ended early has no outputs. Its session can run again.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use dyrelu::{CancelToken, ErrorKind, Model, RunOptions, Session, Tensor};
///
/// let model = Model::open("models/mobilenetv2-x0.5-dyrelu-b-imagenette.safetensors")?;
/// let mut session = Session::new(&model);
/// let image = [Tensor::new(&[1, 3, 128, 128], vec![0.5f32; 3 * 128 * 128])?];
///
/// let token = CancelToken::new(); // a clone of it cancels from another thread
/// let deadline = Instant::now() + Duration::from_secs(60);
/// let options = RunOptions::default().cancel_token(&token).deadline(deadline);
/// assert!(session.run_with(&image, &options).is_ok());
///
/// token.cancel();
/// let e = session.run_with(&image, &options).unwrap_err();
/// assert_eq!(e.kind(), ErrorKind::Cancelled);
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    cancel: Option<CancelToken>,
    deadline: Option<Instant>,
}

impl RunOptions {
    /// Ends runs with an error of kind [`Cancelled`](ErrorKind::Cancelled) once `token` is cancelled.
    pub fn cancel_token(mut self, token: &CancelToken) -> Self {
        self.cancel = Some(token.clone());
        self
    }

    /// Ends runs with an error of kind [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) once this
    /// instant has passed.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Checks that a run may go on.
    pub(super) fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(Error::new(ErrorKind::Cancelled, "the run was cancelled"));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::new(ErrorKind::DeadlineExceeded, "the deadline of the run passed"));
        }
        Ok(())
    }
}

/// Cancels runs from any thread. Clones cancel the same runs.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Creates a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels all runs that have this token or a clone of it, now and later.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the token has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
