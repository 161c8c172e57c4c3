//! Handles signals that end the program: work is finished, and unfinished files are removed.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use dyrelu::Result;

type Finish = Box<dyn Fn() + Send>;

/// What ends the work of the command, if it can end in an orderly way.
static FINISH: Mutex<Option<Finish>> = Mutex::new(None);

/// The first signal, 0 if there was none.
static RECEIVED: AtomicU8 = AtomicU8::new(0);

/// Makes the first signal call `finish` instead of ending the program. The command then ends by itself,
/// with the exit code of [`received`].
pub fn finish_work(finish: impl Fn() + Send + 'static) {
    *FINISH.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(finish));
}

/// The signal that was received, if one was.
pub fn received() -> Option<u8> {
    Some(RECEIVED.load(SeqCst)).filter(|&signal| signal != 0)
}

/// Starts a thread that waits for SIGINT or SIGTERM. The first signal finishes the work of a command that
/// called [`finish_work`]. Any other removes unfinished files and ends the program with exit code 128 + the
/// number of the signal, as shells report it.
#[cfg(unix)]
pub fn listen() -> Result<()> {
    use super::print::print_stderr;
    use dyrelu::{Error, ErrorKind, format};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot listen to signals: {e}")).because(e)
    };
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let wait = move || {
        for signal in signals.forever() {
            let finish = FINISH.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(finish) = finish {
                RECEIVED.store(signal as u8, SeqCst);
                print_stderr("stopping after the photos in progress; a second signal ends at once");
                finish();
                continue;
            }
            format::discard_unfinished();
            std::process::exit(128 + signal);
        }
    };
    let thread = std::thread::Builder::new().name("dyrelu-signals".into());
    thread.spawn(wait).map_err(failed)?;
    Ok(())
}

/// Does nothing: other systems end the program themselves.
#[cfg(not(unix))]
pub fn listen() -> Result<()> {
    Ok(())
}
