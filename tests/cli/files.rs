//! Unusual files, names and folders on the command line.

use std::time::Duration;

use super::*;

/// A time limit well above the time of any command here. A command that waits for a pipe exceeds it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Creates a named pipe without a writer.
#[cfg(unix)]
fn create_pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn pipes_are_refused_where_files_are_expected() {
    let f = Fixture::new();
    let (photo, model) = (f.photo("a.png", [0, 0, 255]), f.path("colours.safetensors"));
    let x = f.file("x.npy", &npy("(1, 3, 2, 2)", &[1.0; 12]));
    let (pipe, y) = (f.path("pipe.npy"), f.path("y.npy"));
    create_pipe(&pipe);
    let run = |words: &[&str], paths: &[&Path]| {
        let mut command = dyrelu(words);
        command.args(paths).timeout(TIMEOUT).assert().code(2)
    };
    let (option, pipe) = (Path::new("--input"), pipe.as_path());
    for refused in [
        run(&["inspect"], &[pipe]),
        run(&["verify"], &[pipe]),
        run(&["run"], &[&model, option, pipe, Path::new("--output"), &y]),
        run(&["run"], &[pipe, option, &x, Path::new("--output"), &y]),
        run(&["verify"], &[&model, option, pipe]),
        run(&["bench"], &[&model, option, pipe]),
        run(&["convert"], &[pipe, &f.path("new.safetensors")]),
        run(&["classify", "--model"], &[pipe, &photo]),
        run(&["classify", "--list"], &[pipe]),
        run(&["classify", "--labels"], &[pipe, &photo]),
        run(&["classify", "--preprocess"], &[pipe, &photo]),
    ] {
        let errors = stderr(&refused);
        assert!(errors.contains("pipe.npy: expected a file, found a pipe"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let mut command = dyrelu(&["classify", "--format", "csv", "--model"]);
    let run = command.arg(&model).arg(pipe).arg(&photo).timeout(TIMEOUT).assert().code(1);
    assert!(stderr(&run).contains("found a pipe"), "{}", stderr(&run));
    assert!(stdout(&run).contains("a.png,1,2,blue"), "{}", stdout(&run));
}

#[test]
fn a_hyphen_reads_an_array_or_a_list_from_standard_input() {
    let f = Fixture::new();
    let mut command = dyrelu(&["run", "--input", "x=-", "--output"]);
    command.arg(f.path("y.npy")).arg(f.path("colours.safetensors"));
    command.write_stdin(npy("(1, 3, 1, 1)", &[1.0, 2.0, 3.0])).assert().code(0);
    assert!(f.path("y.npy").exists());
    let photo = f.photo("a.png", [0, 0, 255]);
    let mut command = dyrelu(&["classify", "--list", "-", "--model"]);
    command.arg(f.path("colours.safetensors")).write_stdin(photo.to_str().unwrap());
    assert!(stdout(&command.assert().code(0)).contains("blue"));
}

/// An equals sign ends the name of an input, but may also be a part of it.
#[test]
fn names_of_inputs_may_contain_an_equals_sign() {
    let f = Fixture::new();
    let mut g = Graph::new("equals");
    let ty = TensorType { dtype: DType::F32, dims: vec![3.into()] };
    let x = g.add_input("a=b", ty);
    let y = g.apply("c=d", Op::Unary(dyrelu::graph::Unary::Neg), &[x]);
    g.set_outputs(vec![y]);
    let model = f.path("equals.safetensors");
    write(&g, None, &model, WeightStorage::F32).unwrap();
    f.file("x=1.npy", &npy("(3,)", &[1.0, 2.0, 3.0]));
    let run = |input: &str| {
        let mut command =
            dyrelu(&["run", "equals.safetensors", "--output", "c=d=y.npy", "--input"]);
        command.arg(input).current_dir(f.0.path());
        command
    };
    run("a=b=x=1.npy").assert().code(0);
    let y = fs::read(f.path("y.npy")).unwrap();
    assert!(y.ends_with(&(-3f32).to_le_bytes()));
    let refused = run("b=x=1.npy").assert().code(2);
    assert!(stderr(&refused).contains(r#"no input for "b=x=1.npy"; it has ["a=b"]"#));
}

/// The names of the photos that `classify` found, in order.
fn classified(run: &Assert) -> Vec<String> {
    let text = stdout(run);
    let names = text.lines().skip(1).filter_map(|line| line.split(',').next());
    let names = names.map(|path| path.rsplit('/').next().unwrap().to_string());
    names.collect()
}

#[test]
fn hidden_files_and_folders_are_searched_with_hidden_only() {
    let f = Fixture::new();
    let album = f.path("album");
    fs::create_dir_all(album.join(".cache")).unwrap();
    let photo = f.photo("a.png", [0, 0, 255]);
    for name in ["seen.png", "._seen.png", ".cache/b.png"] {
        fs::copy(&photo, album.join(name)).unwrap();
    }
    let csv = ["--format", "csv", "--top", "1"];
    assert_eq!(classified(&f.classify(&csv, &[&album]).code(0)), ["seen.png"]);
    let all = [&csv[..], &["--hidden"]].concat();
    let found = classified(&f.classify(&all, &[&album]).code(0));
    assert_eq!(found, ["._seen.png", "b.png", "seen.png"]);
    // What is named is used, hidden or not.
    let named = [&album.join(".cache"), &album.join("._seen.png")];
    let found = classified(&f.classify(&csv, &[named[0], named[1]]).code(0));
    assert_eq!(found, ["b.png", "._seen.png"]);
    fs::remove_file(album.join("seen.png")).unwrap();
    let errors = stderr(&f.classify(&csv, &[&album]).code(2));
    assert!(errors.contains("no photos in this folder; --hidden also searches"), "{errors}");
}

#[test]
fn patterns_name_photos_where_the_shell_does_not() {
    let f = Fixture::new();
    let photo = f.photo("photo.png", [0, 0, 255]);
    fs::create_dir_all(f.path("album/deep/er")).unwrap();
    fs::create_dir_all(f.path("album/.hidden")).unwrap();
    let names =
        ["a.png", "b.png", "text.txt", "[x].png", "deep/c.png", "deep/er/a.png", ".hidden/a.png"];
    for name in names {
        fs::copy(&photo, f.path("album").join(name)).unwrap();
    }
    let find = |patterns: &[&str]| {
        let mut command = dyrelu(&["classify", "--format", "csv", "--top", "1", "--model"]);
        command.arg("colours.safetensors").args(patterns).current_dir(f.0.path()).assert()
    };
    let paths = |patterns: &[&str]| {
        let text = stdout(&find(patterns).code(0));
        let paths = text.lines().skip(1).filter_map(|line| line.split(',').next());
        paths.map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(paths(&["album/*.png"]), ["album/[x].png", "album/a.png", "album/b.png"]);
    assert_eq!(paths(&["./album//[ab].png"]), ["./album/a.png", "./album/b.png"]);
    assert_eq!(paths(&["*/?.png"]), ["album/a.png", "album/b.png"]);
    assert_eq!(paths(&["**/a.png"]), ["album/a.png", "album/deep/er/a.png"]);
    assert_eq!(paths(&["album/*/c.*", "album/deep/**"]).len(), 3);
    assert_eq!(paths(&["album/.*/a.png"]), ["album/.hidden/a.png"]);
    assert_eq!(paths(&["--hidden", "album/*/a.png"]), ["album/.hidden/a.png"]);
    // A file of this name is no pattern.
    assert_eq!(paths(&["album/[x].png"]), ["album/[x].png"]);
    let errors = stderr(&find(&["album/*.jpg"]).code(2));
    assert!(errors.contains("album/*.jpg: no photo matches this pattern"), "{errors}");
    let errors = stderr(&find(&["album/*.txt"]).code(2));
    assert!(errors.contains("no photo matches this pattern"), "{errors}");
    let errors = stderr(&find(&["nowhere/*.png"]).code(2));
    assert!(errors.contains("nowhere: "), "{errors}");
    let errors = stderr(&find(&["album/[a.png"]).code(1));
    assert!(errors.contains("album/[a.png: "), "{errors}");
}

#[test]
fn an_empty_folder_does_not_stop_the_others() {
    let f = Fixture::new();
    let photo = f.photo("a.png", [0, 0, 255]);
    fs::create_dir(f.path("empty")).unwrap();
    let run = f.classify(&["--format", "csv"], &[&f.path("empty"), &photo]).code(1);
    assert!(stdout(&run).contains("a.png,1,2,blue"), "{}", stdout(&run));
    assert!(stderr(&run).contains("empty: there are no photos in this folder"), "{}", stderr(&run));
}

#[test]
fn rare_extensions_of_photos_are_known() {
    let f = Fixture::new();
    let folder = f.path("album");
    fs::create_dir(&folder).unwrap();
    for name in ["a.jfif", "b.jpe", "c.JPEG", "d.txt"] {
        fs::copy(f.photo("photo.jpg", [0, 0, 255]), folder.join(name)).unwrap();
    }
    let text = stdout(&f.classify(&["--top", "1"], &[&folder]).code(0));
    let is_listed = ["a.jfif", "b.jpe", "c.JPEG", "d.txt"].map(|name| text.contains(name));
    assert_eq!(is_listed, [true, true, true, false], "{text}");
}

#[test]
fn lists_may_begin_with_a_byte_order_mark() {
    let f = Fixture::new();
    let photo = f.photo("a.png", [0, 0, 255]);
    let lines = [b"\xef\xbb\xbf", photo.as_os_str().as_encoded_bytes(), b"\r\n"].concat();
    let list = f.file("list.txt", &lines);
    let labels = f.file("labels.txt", b"\xef\xbb\xbfrouge\nvert\nbleu\n");
    let options = ["--labels", labels.to_str().unwrap(), "--list", list.to_str().unwrap()];
    assert!(stdout(&f.classify(&options, &[]).code(0)).contains("%  bleu\n"));
    let preprocess = r#"{"resize": {"exact": [16, 16]}, "mean": [0, 0, 0], "std": [1, 1, 1]}"#;
    let preprocess = f.file("p.json", format!("\u{feff}{preprocess}").as_bytes());
    f.classify(&["--preprocess", preprocess.to_str().unwrap()], &[&photo]).code(0);
    f.classify(&["--preprocess", "imagenet"], &[&photo]).code(0);
    let list = f.file("list.txt", b"\xff\xfea\0.\0p\0n\0g\0\n\0");
    let run = f.classify(&["--list", list.to_str().unwrap()], &[]).code(2);
    assert!(stderr(&run).contains("list.txt: the text is in UTF-16"), "{}", stderr(&run));
}

#[cfg(unix)]
#[test]
fn linked_folders_are_searched_with_follow_only() {
    let f = Fixture::new();
    let (album, other) = (f.path("album"), f.path("other"));
    fs::create_dir(&album).unwrap();
    fs::create_dir(&other).unwrap();
    fs::rename(f.photo("own.png", [0, 0, 255]), album.join("own.png")).unwrap();
    fs::rename(f.photo("far.png", [0, 0, 255]), other.join("far.png")).unwrap();
    // The extension of a photo does not make a linked folder a photo.
    std::os::unix::fs::symlink("../other", album.join("linked.png")).unwrap();
    let far = |text: &str| text.contains("far.png");
    let run = f.classify(&[], &[&album]).code(0);
    assert!(!far(&stdout(&run)) && stdout(&run).contains("own.png"), "{}", stdout(&run));
    assert!(stderr(&run).contains("linked.png is a link to a folder"), "{}", stderr(&run));
    let run = f.classify(&["--follow", "--quiet"], &[&album]).code(0);
    assert!(far(&stdout(&run)) && stderr(&run).is_empty(), "{}", stderr(&run));
    // A link to a folder that contains it.
    std::os::unix::fs::symlink("../album", album.join("again")).unwrap();
    let run = f.classify(&["--follow"], &[&album]).code(1);
    assert!(far(&stdout(&run)), "{}", stdout(&run));
    assert!(stderr(&run).contains("again: this link leads back to"), "{}", stderr(&run));
}

/// Two different names that are not valid UTF-8 may be printed alike.
#[cfg(target_os = "linux")]
#[test]
fn paths_that_print_alike_differ_in_json() {
    use std::os::unix::ffi::OsStrExt;
    let f = Fixture::new();
    let photo = f.photo("a.png", [0, 0, 255]);
    let names = [&b"caf\xe9.png"[..], b"caf\xe8.png"];
    let paths = names.map(|name| f.0.path().join(std::ffi::OsStr::from_bytes(name)));
    for path in &paths {
        fs::copy(&photo, path).unwrap();
    }
    let run = f.classify(&["--format", "json"], &[&paths[0], &paths[1], &photo]).code(0);
    let text = stdout(&run);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["path"], lines[1]["path"]);
    for (line, ending) in lines.iter().zip(["636166e92e706e67", "636166e82e706e67"]) {
        let bytes = line["path_hex"].as_str().unwrap();
        assert!(bytes.ends_with(ending), "{line}");
    }
    assert!(lines[2].get("path_hex").is_none(), "{}", lines[2]);
}

/// The second output is a pipe without a reader, so the command waits while the first is unfinished.
#[cfg(unix)]
#[test]
fn a_signal_leaves_no_unfinished_file() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let f = Fixture::new();
        let mut g = Graph::new("two");
        let ty = TensorType { dtype: DType::F32, dims: vec![3.into()] };
        let x = g.add_input("x", ty);
        let outputs = [dyrelu::graph::Unary::Neg, dyrelu::graph::Unary::Abs];
        let outputs = outputs.map(|unary| g.apply(format!("{unary:?}"), Op::Unary(unary), &[x]));
        g.set_outputs(outputs.to_vec());
        write(&g, None, f.path("two.safetensors"), WeightStorage::F32).unwrap();
        f.file("x.npy", &npy("(3,)", &[1.0, 2.0, 3.0]));
        create_pipe(&f.path("pipe"));
        let names = || {
            let entries = fs::read_dir(f.0.path()).unwrap();
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let before = names().len();
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("dyrelu"));
        command.args(["run", "two.safetensors", "--input", "x.npy"]);
        command.args(["--output", "y.npy", "--output", "pipe"]).current_dir(f.0.path());
        let mut process = command.spawn().unwrap();
        let started = std::time::Instant::now();
        while !names().iter().any(|name| name.ends_with(".part")) {
            assert!(started.elapsed() < TIMEOUT, "no output was begun: {:?}", names());
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = process.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
        assert_eq!(process.wait().unwrap().code(), Some(code));
        assert_eq!(names().len(), before, "{:?}", names());
    }
}
