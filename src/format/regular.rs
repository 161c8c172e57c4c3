//! Regular files, opened for reading.
//!
//! Opening a pipe waits for a writer, and a device may have no end. Therefore every reader of this crate
//! opens its files here, and everything but a regular file, or a link to one, is refused.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Opens the regular file at `path` for reading.
///
/// # Errors
///
/// [`Io`](crate::ErrorKind::Io) if the operating system refuses, [`Input`](crate::ErrorKind::Input) if
/// `path` names anything but a regular file.
pub fn open_regular(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    // Opening a pipe waits, so the check comes first.
    check(&fs::metadata(path).map_err(|e| Error::io(path, e))?, path)?;
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // Another file may be at the path by now.
    check(&file.metadata().map_err(|e| Error::io(path, e))?, path)?;
    Ok(file)
}

/// Reads the contents of the regular file at `path`.
///
/// # Errors
///
/// As [`open_regular`].
pub fn read_regular(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let mut file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

/// Reads the text in the regular file at `path`, without a byte order mark at its beginning.
///
/// # Errors
///
/// As [`open_regular`], and [`Format`](crate::ErrorKind::Format) if the file is no UTF-8 text.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let mut bytes = read_regular(path)?;
    let mark = strip_mark(&bytes).map_err(|e| e.in_file(path))?.len();
    bytes.drain(..bytes.len() - mark);
    String::from_utf8(bytes)
        .map_err(|e| Error::format("the file is no valid UTF-8 text").because(e).in_file(path))
}

/// Returns `text` without the byte order mark that some editors put in front of UTF-8.
///
/// # Errors
///
/// [`Format`](crate::ErrorKind::Format) if the mark is that of UTF-16.
pub fn strip_mark(text: &[u8]) -> Result<&[u8]> {
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err(Error::format("the text is in UTF-16; save it as UTF-8"));
    }
    Ok(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))
}

fn check(metadata: &Metadata, path: &Path) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let kind = kind(metadata);
    Err(Error::input(format!("expected a file, found {kind}")).in_file(path))
}

/// Names the kind of a file that is not regular.
fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() {
        return "a folder";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    "a device"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(path: &Path, words: &str) {
        let error = open_regular(path).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        refused(folder.path(), "expected a file, found a folder");
    }

    #[test]
    fn marks_of_byte_order_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for (bytes, want) in [
            (&b"caf\xc3\xa9"[..], Ok("café")),
            (b"\xef\xbb\xbfcaf\xc3\xa9", Ok("café")),
            (b"\xef\xbb\xbf", Ok("")),
            (b"\xff\xfec\0", Err("UTF-16")),
            (b"caf\xe9", Err("no valid UTF-8")),
        ] {
            fs::write(&path, bytes).unwrap();
            match (read_text(&path), want) {
                (Ok(text), Ok(want)) => assert_eq!(text, want),
                (Err(e), Err(words)) => assert!(e.to_string().contains(words), "{e}"),
                (found, want) => panic!("{found:?}, expected {want:?}"),
            }
        }
    }

    /// If a pipe were opened, the test would never end.
    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_sockets_and_devices_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, link, socket] = ["pipe", "link", "socket"].map(|name| folder.path().join(name));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        refused(&pipe, "expected a file, found a pipe");
        refused(&link, "expected a file, found a pipe");
        refused(&socket, "expected a file, found a socket");
        refused(Path::new("/dev/zero"), "expected a file, found a device");
    }
}
