//! Handles signals that end the program: unfinished files are removed first.

use dyrelu::Result;

/// Starts a thread that waits for SIGINT or SIGTERM, removes unfinished files, and ends the program
/// with exit code 128 + the number of the signal, as shells report it.
#[cfg(unix)]
pub(super) fn listen() -> Result<()> {
    use dyrelu::{Error, ErrorKind, format};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot listen to signals: {e}")).because(e)
    };
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
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
pub(super) fn listen() -> Result<()> {
    Ok(())
}
