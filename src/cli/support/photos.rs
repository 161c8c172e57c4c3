//! Finds the photos that arguments, lists, folders and standard input name, one at a time.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Stdin};
use std::path::{Path, PathBuf};

use super::messages;
use super::search::{Entry, Extent, Search};
use dyrelu::format::{open_regular, strip_mark};
use dyrelu::vision::{DecodeOptions, Photo};
use dyrelu::{Error, Result};

#[derive(clap::Args, Clone, Default)]
pub struct Sources {
    /// File with one path per line, in UTF-8 or in the encoding of the system; - is standard input.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Paths in the list end with a zero byte, as `find -print0` writes them.
    #[arg(long, short = '0', requires = "list")]
    null: bool,
    /// Also search folders that are reached through symbolic links.
    #[arg(long)]
    follow: bool,
    /// Also search hidden files and folders, whose names begin with a dot.
    #[arg(long)]
    hidden: bool,
    /// Take the frames of raw video on standard input for photos: rows of pixels, three bytes each,
    /// red first.
    #[arg(long, value_name = "WxH:rgb24", value_parser = frame_size, conflicts_with_all = ["list", "paths"])]
    rawvideo: Option<FrameSize>,
    /// Photos, folders to search for photos, and patterns such as 'photos/**/*.jpg'; - is one photo on
    /// standard input.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Width and height of the frames of a raw video.
#[derive(Clone, Copy)]
struct FrameSize(u32, u32);

/// The most bytes that one frame may have.
const LARGEST_FRAME: u64 = 1 << 30;

fn frame_size(text: &str) -> std::result::Result<FrameSize, String> {
    let expected = "expected WIDTHxHEIGHT:rgb24, such as 640x480:rgb24";
    let size = text.strip_suffix(":rgb24").and_then(|size| size.split_once('x')).ok_or(expected)?;
    let side = |text: &str| text.parse::<u32>().ok().filter(|&side| side > 0);
    let (width, height) = side(size.0).zip(side(size.1)).ok_or(expected)?;
    if 3 * u64::from(width) * u64::from(height) > LARGEST_FRAME {
        return Err("a frame has more than 1 GiB".into());
    }
    Ok(FrameSize(width, height))
}

/// What a [`Source`] gives.
pub enum Found {
    Photo(Input),
    /// A folder that has no photos or cannot be read.
    Failure(Error),
    /// A remark for the user.
    Note(String),
}

impl From<Entry> for Found {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Photo(name) => Found::Photo(Input { name, contents: Contents::File }),
            Entry::Failure(e) => Found::Failure(e),
            Entry::LinkedFolder(path) => Found::Note(format!(
                "{} is a link to a folder and was skipped; --follow searches it",
                path.display()
            )),
        }
    }
}

/// A photo, which may not have been read yet.
pub struct Input {
    /// The path, or what stands for it in the results.
    pub name: PathBuf,
    pub contents: Contents,
}

impl Input {
    /// Reads and decodes the photo.
    pub fn load(self, decode: &DecodeOptions) -> Result<Photo> {
        match self.contents {
            Contents::File => decode.load(&self.name),
            Contents::Bytes(bytes) => decode.decode(&bytes).map_err(|e| e.in_file(&self.name)),
            Contents::Pixels(photo) => Ok(photo),
        }
    }
}

pub enum Contents {
    /// The bytes of the file of this name.
    File,
    Bytes(Vec<u8>),
    Pixels(Photo),
}

/// The photos that arguments name, in their order. The photos of a folder are sorted by name.
///
/// A list is read as its paths are needed, and of a folder the names of one level at a time are in
/// memory.
pub struct Source {
    /// What was found by [`look_ahead`](Self::look_ahead).
    ahead: VecDeque<Found>,
    named: std::vec::IntoIter<Named>,
    list: Option<List>,
    search: Option<Search>,
    frames: Option<Frames>,
    extent: Extent,
    /// Whether [`next`](Self::next) may wait for another program.
    waits: bool,
}

enum Named {
    Path(PathBuf),
    List(List),
    Frames(Frames),
}

impl Source {
    /// Opens the lists that the arguments name.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Format`] if a list cannot be read.
    pub fn open(sources: &Sources) -> Result<Self> {
        let mut named = Vec::new();
        if let Some(path) = &sources.list {
            named.push(Named::List(List::open(path, sources.null)?));
        }
        named.extend(sources.paths.iter().cloned().map(Named::Path));
        named.extend(sources.rawvideo.map(|size| Named::Frames(Frames::new(size))));
        Ok(Source {
            ahead: VecDeque::new(),
            named: named.into_iter(),
            list: None,
            search: None,
            frames: None,
            extent: Extent { follow: sources.follow, hidden: sources.hidden },
            waits: sources.reads_standard_input(),
        })
    }

    /// Searches until `count` photos are known, and returns how many are. A source that waits for
    /// another program searches for one.
    pub fn look_ahead(&mut self, count: usize) -> usize {
        let wanted = if self.waits { count.min(1) } else { count };
        let is_photo = |found: &&Found| matches!(found, Found::Photo(_));
        let mut known = self.ahead.iter().filter(is_photo).count();
        while known < wanted {
            let Some(found) = self.search() else { return known };
            known += usize::from(is_photo(&&found));
            self.ahead.push_back(found);
        }
        if self.waits { count } else { known }
    }

    /// Prints all failures of a source without photos but the last, which it returns.
    pub fn nothing_found(self) -> Error {
        let mut last = None;
        for found in self {
            if let Found::Failure(e) = found {
                last.replace(e).iter().for_each(messages::error);
            }
        }
        let unnamed = || Error::input("no photos were named; give files, folders, --list or -");
        last.unwrap_or_else(unnamed)
    }

    fn search(&mut self) -> Option<Found> {
        loop {
            if let Some(search) = &mut self.search {
                match search.next() {
                    Some(entry) => return Some(entry.into()),
                    None => self.search = None,
                }
            } else if let Some(list) = &mut self.list {
                match list.next() {
                    Some(Ok(path)) => {
                        if let Some(found) = self.enter(path) {
                            return Some(found);
                        }
                    }
                    Some(Err(e)) => return Some(Found::Failure(e)),
                    None => self.list = None,
                }
            } else if let Some(frames) = &mut self.frames {
                match frames.next() {
                    Some(found) => return Some(found),
                    None => self.frames = None,
                }
            } else {
                match self.named.next()? {
                    Named::Path(path) if path.as_os_str() == "-" => return Some(standard_input()),
                    Named::Path(path) => match Search::pattern(&path, self.extent) {
                        Some(search) => self.search = Some(search),
                        None => {
                            if let Some(found) = self.enter(path) {
                                return Some(found);
                            }
                        }
                    },
                    Named::List(list) => self.list = Some(list),
                    Named::Frames(frames) => self.frames = Some(frames),
                }
            }
        }
    }

    /// Returns the photo at `path`, or begins to search the folder there.
    fn enter(&mut self, path: PathBuf) -> Option<Found> {
        if path.is_dir() {
            self.search = Some(Search::folder(path, self.extent));
            return None;
        }
        Some(Entry::Photo(path).into())
    }
}

impl Iterator for Source {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        self.ahead.pop_front().or_else(|| self.search())
    }
}

impl Sources {
    /// The photos of a command that names them by paths alone.
    pub fn of_paths(paths: Vec<PathBuf>) -> Self {
        Sources { paths, ..Sources::default() }
    }

    fn reads_standard_input(&self) -> bool {
        let is_hyphen = |path: &PathBuf| path.as_os_str() == "-";
        self.rawvideo.is_some()
            || self.list.as_ref().is_some_and(is_hyphen)
            || self.paths.iter().any(is_hyphen)
    }

    /// Counts the photos. Returns `None` if that is known only at the end.
    pub fn count(&self) -> Option<u64> {
        if self.reads_standard_input() {
            return None;
        }
        let photos = Source::open(self).ok()?.filter(|found| matches!(found, Found::Photo(_)));
        Some(photos.count() as u64)
    }

    /// The names of the folders in which the photos are. There are none if that is known only at the end.
    pub fn folders(&self) -> BTreeSet<String> {
        let source = Some(self).filter(|sources| !sources.reads_standard_input());
        let source = source.and_then(|sources| Source::open(sources).ok());
        let folder = |found| match found {
            Found::Photo(photo) => Some(photo.name.parent()?.file_name()?.to_string_lossy().into()),
            _ => None,
        };
        source.into_iter().flatten().filter_map(folder).collect()
    }
}

/// The name of standard input in results and errors.
const STANDARD_INPUT: &str = "standard input";

/// Reads one photo from standard input.
fn standard_input() -> Found {
    let mut bytes = Vec::new();
    match std::io::stdin().lock().read_to_end(&mut bytes) {
        Ok(_) => Found::Photo(Input { name: "-".into(), contents: Contents::Bytes(bytes) }),
        Err(e) => Found::Failure(Error::io(STANDARD_INPUT, e)),
    }
}

/// The paths in a list. Empty lines are skipped.
struct List {
    lines: BufReader<ListFile>,
    name: PathBuf,
    separator: u8,
}

enum ListFile {
    File(File),
    StandardInput(Stdin),
}

impl Read for ListFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            ListFile::File(file) => file.read(buffer),
            ListFile::StandardInput(stdin) => stdin.read(buffer),
        }
    }
}

impl List {
    fn open(path: &Path, null: bool) -> Result<Self> {
        let (file, name) = if path.as_os_str() == "-" {
            (ListFile::StandardInput(std::io::stdin()), Path::new(STANDARD_INPUT))
        } else {
            (ListFile::File(open_regular(path)?), path)
        };
        let mut lines = BufReader::new(file);
        let beginning = lines.fill_buf().map_err(|e| Error::io(name, e))?;
        let mark = beginning.len() - strip_mark(beginning).map_err(|e| e.in_file(name))?.len();
        lines.consume(mark);
        Ok(List { lines, name: name.into(), separator: if null { 0 } else { b'\n' } })
    }
}

impl Iterator for List {
    type Item = Result<PathBuf>;

    fn next(&mut self) -> Option<Result<PathBuf>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            match self.lines.read_until(self.separator, &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(e) => return Some(Err(Error::io(&self.name, e))),
            }
            let path = line.strip_suffix(&[self.separator]).unwrap_or(&line);
            let path = match self.separator {
                b'\n' => path.strip_suffix(b"\r").unwrap_or(path),
                _ => path,
            };
            if !path.is_empty() {
                return Some(as_path(path).map_err(|e| e.in_file(&self.name)));
            }
        }
    }
}

/// The frames of raw video on standard input, named `frame 0`, `frame 1` and so on.
struct Frames {
    size: FrameSize,
    count: u64,
    /// Whether the input has ended.
    ended: bool,
}

impl Frames {
    fn new(size: FrameSize) -> Self {
        Frames { size, count: 0, ended: false }
    }
}

impl Iterator for Frames {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if self.ended {
            return None;
        }
        let FrameSize(width, height) = self.size;
        let length = 3 * u64::from(width) * u64::from(height);
        let mut pixels = Vec::with_capacity(length as usize);
        let read = std::io::stdin().lock().take(length).read_to_end(&mut pixels);
        let name = format!("frame {}", self.count);
        self.count += 1;
        self.ended = pixels.len() as u64 != length;
        match read {
            Err(e) => Some(Found::Failure(Error::io(STANDARD_INPUT, e))),
            Ok(0) => None,
            Ok(_) => Some(match Photo::new(width, height, pixels) {
                Ok(photo) => {
                    Found::Photo(Input { name: name.into(), contents: Contents::Pixels(photo) })
                }
                Err(_) => {
                    Found::Failure(Error::input(format!("{STANDARD_INPUT} ends within {name}")))
                }
            }),
        }
    }
}

/// The path with these bytes, which on Unix need not be UTF-8.
#[cfg(unix)]
fn as_path(bytes: &[u8]) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn as_path(bytes: &[u8]) -> Result<PathBuf> {
    let text = std::str::from_utf8(bytes);
    text.map(PathBuf::from).map_err(|_| Error::format("a path in the list is not valid UTF-8"))
}
