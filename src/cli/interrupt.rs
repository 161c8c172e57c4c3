//! Signals that end the program: unfinished files are removed first.

use dyrelu::Result;

/// Has SIGINT and SIGTERM remove the files that are not complete, then end the program with the exit
/// code of a shell, 128 and the signal's number.
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

/// Other systems end the program themselves.
#[cfg(not(unix))]
pub(super) fn listen() -> Result<()> {
    Ok(())
}
