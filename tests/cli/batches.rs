//! Many photos: order, failures, and commands that are interrupted and continued.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::*;

impl Fixture {
    /// Writes four photos and a list that names them, and one that is no photo, `count` times in turns.
    fn list(&self, count: usize) -> PathBuf {
        let mut paths = vec![
            self.photo("red.png", [250, 20, 0]),
            self.photo("green.png", [3, 250, 40]),
            self.photo("a \"quoted\", name.png", [0, 9, 250]),
            self.photo("grey.png", [90, 91, 92]),
        ];
        paths.push(self.file("text.jpg", b"this is no photo"));
        let lines = paths.iter().cycle().take(count).map(|path| format!("{}\n", path.display()));
        self.file("list.txt", lines.collect::<String>().as_bytes())
    }

    /// A command that classifies the photos of a list.
    fn classify_list(&self, list: &Path, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("dyrelu"));
        command.args(["classify", "--model"]).arg(self.path("colours.safetensors"));
        command.arg("--list").arg(list).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// Starts a command that writes to `output`, and returns once `lines` lines are there.
#[cfg(unix)]
fn start(mut command: std::process::Command, output: &Path, lines: usize) -> Child {
    let process = command.spawn().unwrap();
    let started = Instant::now();
    let written = || fs::read(output).map_or(0, |text| text.split(|&b| b == b'\n').count() - 1);
    while written() < lines {
        assert!(started.elapsed() < Duration::from_secs(60), "{} of {lines} lines", written());
        std::thread::sleep(Duration::from_millis(1));
    }
    process
}

#[test]
fn results_do_not_depend_on_threads_and_batch() {
    let f = Fixture::new();
    let list = f.list(60);
    for format in ["text", "csv", "json"] {
        let results = [["1", "1"], ["1", "8"], ["3", "2"], ["7", "5"]].map(|[threads, batch]| {
            let options = ["--format", format, "--threads", threads, "--batch", batch];
            let output = f.classify_list(&list, &options).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stdout).unwrap()
        });
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    }
}

#[test]
fn a_summary_says_how_many_and_how_fast() {
    let f = Fixture::new();
    let photos = [f.photo("a.png", [250, 0, 0]), f.photo("b.png", [0, 250, 0])];
    let photos = photos.each_ref().map(PathBuf::as_path);
    let errors = stderr(&f.classify(&["--threads", "2"], &photos).code(0));
    for words in ["2 photos in ", " photos/s: reading ", ", decoding ", ", resizing ", ", network "]
    {
        assert!(errors.contains(words), "{words} in {errors}");
    }
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(stderr(&f.classify(&["-q"], &photos).code(0)).is_empty());
    assert!(stderr(&f.classify(&["-v"], &photos).code(0)).contains("colours.safetensors"));
}

#[test]
fn a_failed_photo_has_a_row_and_columns_can_be_chosen() {
    let f = Fixture::new();
    let (text, photo) = (f.file("text.jpg", b"this is no photo"), f.photo("a.png", [0, 0, 250]));
    let run = f.classify(
        &["--format", "csv", "--columns", "path,label,score,error", "--threshold", "0.9"],
        &[&text, &photo],
    );
    let rows = stdout(&run.code(1));
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!((rows[0], rows.len()), ("path,label,score,error", 3), "{rows:?}");
    assert!(rows[1].contains("text.jpg,,,\"this is no image of a known kind"), "{rows:?}");
    assert!(rows[2].contains("a.png,blue,0.99"), "{rows:?}");
    let run = f.classify(&["--format", "csv", "--threshold", "1.5"], &[&photo]).code(0);
    assert!(stdout(&run).ends_with("a.png,,,,\n"), "{}", stdout(&run));
}

#[test]
fn an_output_file_with_contents_is_continued_or_kept() {
    let f = Fixture::new();
    let (photo, old) = (f.photo("a.png", [0, 0, 250]), f.file("old.csv", b"something\nelse\n"));
    let output = |path: &Path, more: &[&str]| {
        f.classify(&[&["--output", path.to_str().unwrap()], more].concat(), &[&photo])
    };
    let new = f.path("new.csv");
    output(&new, &[]).code(0);
    assert!(fs::read_to_string(&new).unwrap().starts_with("path,rank,class,label,score\n"));
    for (path, more, words) in [
        (&old, &[][..], "old.csv: the file has contents; add --resume"),
        (&old, &["--resume"], "does not begin with path,rank,class,label,score"),
        (&new, &["--resume", "--columns", "path,label"], "needs the columns path and rank"),
        (&f.path("x.txt"), &["--resume"], "--resume needs --format csv, json or npy"),
        (&f.path("no/x.csv"), &[], "No such file"),
    ] {
        let errors = stderr(&output(path, more).code(2));
        assert!(errors.contains(words), "{words} in {errors}");
    }
    assert_eq!(fs::read(&old).unwrap(), b"something\nelse\n");
    let other = f.photo("b.png", [0, 250, 0]);
    let two = f.path("two.csv");
    let both = ["--resume", "--output", two.to_str().unwrap()];
    f.classify(&both, &[&photo, &photo, &other]).code(0);
    let errors = stderr(&f.classify(&both, &[&other, &photo, &photo]).code(2));
    assert!(errors.contains("photo 1 is") && errors.contains("b.png\" now"), "{errors}");
}

/// Calls `check` for CSV and JSON with a file that continues the photos of a list, what it has when it is
/// complete, and what starts the command.
fn continued(
    f: &Fixture,
    list: &Path,
    mut check: impl FnMut(&Path, &[u8], &dyn Fn() -> std::process::Command),
) {
    for name in ["out.csv", "out.json"] {
        let path = f.path(name);
        let options = ["--resume", "--threads", "2", "--output", path.to_str().unwrap()];
        let command = || f.classify_list(list, &options);
        assert_eq!(command().status().unwrap().code(), Some(1));
        let whole = fs::read(&path).unwrap();
        check(&path, &whole, &command);
    }
}

/// Wherever a file ends, continuing it gives what an uninterrupted command writes.
#[test]
fn a_file_that_ends_anywhere_is_continued() {
    let f = Fixture::new();
    let mut random = fastrand::Rng::with_seed(1);
    continued(&f, &f.list(8), |path, whole, command| {
        let random = (0..20).map(|_| random.usize(..whole.len()));
        let cuts = [0, 1, 5, 27, 28, 29, whole.len() - 1].into_iter().chain(random);
        for cut in cuts.collect::<Vec<usize>>() {
            fs::write(path, &whole[..cut]).unwrap();
            let code = command().status().unwrap().code();
            assert_eq!(code, Some(1), "{path:?} after {cut} bytes");
            assert_eq!(fs::read(path).unwrap(), whole, "{path:?} after {cut} bytes");
        }
    });
}

#[cfg(unix)]
#[test]
fn what_was_killed_is_continued_without_a_row_lost_or_twice() {
    let f = Fixture::new();
    let mut random = fastrand::Rng::with_seed(2);
    continued(&f, &f.list(1500), |path, whole, command| {
        let lines = whole.split(|&byte| byte == b'\n').count() - 1;
        fs::remove_file(path).unwrap();
        let mut kills = 0;
        while kills < 100 {
            let written = fs::read(path).map_or(0, |text| text.split(|&b| b == b'\n').count());
            if written > lines * 3 / 4 {
                fs::remove_file(path).unwrap();
                continue;
            }
            let mut process = start(command(), path, written + random.usize(..lines / 9));
            process.kill().unwrap();
            // A process that was done before is no kill.
            kills += usize::from(process.wait().unwrap().code().is_none());
        }
        assert_eq!(command().status().unwrap().code(), Some(1));
        assert!(fs::read(path).unwrap() == whole, "{path:?} differs after it was killed");
    });
}

#[cfg(unix)]
#[test]
fn a_signal_finishes_the_photos_in_progress() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let f = Fixture::new();
        let (photo, output) = (f.photo("a.png", [0, 0, 250]), f.path("out.csv"));
        let mut command = f.classify_list(Path::new("-"), &["--output", output.to_str().unwrap()]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // The list stays open, so that the command waits for more.
        let mut list = process.stdin.take().unwrap();
        list.write_all(format!("{0}\n{0}\n", photo.display()).as_bytes()).unwrap();
        let started = Instant::now();
        while fs::read_to_string(&output).map_or(0, |text| text.lines().count()) < 7 {
            assert!(started.elapsed() < Duration::from_secs(60), "no results");
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = process.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
        let ended = process.wait_with_output().unwrap();
        drop(list);
        assert_eq!(ended.status.code(), Some(code));
        let errors = String::from_utf8(ended.stderr).unwrap();
        assert!(errors.contains("stopped after photo 2, "), "{errors}");
        assert!(errors.contains("a.png; --resume continues"), "{errors}");
        assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 7);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let f = Fixture::new();
    let photo = f.photo("a.png", [0, 0, 250]);
    let run = f.classify(&["--format", "csv", "--output", "/dev/full"], &[&photo]).code(2);
    assert!(stderr(&run).contains("/dev/full: No space left on device"), "{}", stderr(&run));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = f.classify_list(Path::new("-"), &[]);
    command.arg(&photo).stdout(full).stderr(Stdio::piped());
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert!(errors.contains("cannot write to standard output: No space left"), "{errors}");
}
