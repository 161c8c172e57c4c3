//! The commands of the documents, run as they are written.

#![cfg(unix)]

use std::process::Stdio;

use super::*;

/// A comment before a block of commands, after which the reason stands why tests do not run it. A
/// reader of the rendered document does not see it.
const LEFT_OUT: &str = "<!-- not run by tests:";

/// The commands of a document.
struct Commands {
    run: Vec<String>,
    left_out: Vec<String>,
}

impl Commands {
    /// Reads the blocks of `sh` of a document. Commands that run the program by cargo run it as it is
    /// built, and other commands of cargo are left out.
    fn of(document: &str) -> Self {
        let mut commands = Commands { run: Vec::new(), left_out: Vec::new() };
        let mut lines = document.lines();
        let mut before = "";
        while let Some(line) = lines.next() {
            if line == "```sh" {
                let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
                let is_marked = before.starts_with(LEFT_OUT);
                for command in block.join("\n").replace("\\\n", " ").lines() {
                    if command.trim().is_empty() || command.starts_with('#') {
                        continue;
                    }
                    let command = command.replace("cargo run --release -- ", "dyrelu ");
                    let is_left_out = is_marked || command.starts_with("cargo ");
                    let list = if is_left_out { &mut commands.left_out } else { &mut commands.run };
                    list.push(command);
                }
            }
            before = line;
        }
        commands
    }
}

/// The files and folders that a command writes.
fn written(command: &str) -> Vec<&str> {
    let words: Vec<_> = command.split_whitespace().take_while(|word| *word != "#").collect();
    let options = ["--output", "--out", "--draw", "--report", "--chart", ">"];
    let named = words.windows(2).filter(|pair| options.contains(&pair[0])).map(|pair| pair[1]);
    let converted = (words[1] == "convert").then(|| words[3]);
    named.chain(converted).collect()
}

/// The columns of a table that the comment of a command states.
fn columns(command: &str) -> Option<&str> {
    let (_, comment) = command.split_once(" # ")?;
    let comment = comment.trim();
    (comment.contains(',') && !comment.contains(' ')).then_some(comment)
}

/// The folder of a user, with the files that the documents name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(from), to).unwrap();
    };
    let (church, tower) = ("examples/photos/church.jpg", "examples/photos/tower.jpg");
    copy(church, "photos/church.jpg");
    copy(tower, "photos/tower.jpg");
    copy(church, church);
    copy(tower, tower);
    copy(church, "photo.jpg");
    copy(tower, "val/castle/tower.jpg");
    for name in ["football.jpg", "flamingo.jpg", "persons.json"] {
        let path = format!("examples/persons/{name}");
        copy(&path, &path);
    }
    copy("tests/documents/net.onnx", "net.onnx");
    copy("tests/documents/pose.onnx", "pose.onnx");
    copy("src/cli/support/imagenet.txt", "labels.txt");
    let write =
        |name: &str, contents: &[u8]| fs::write(folder.path().join(name), contents).unwrap();
    let keypoints: Vec<i32> = (0..17).flat_map(|k| [30 + k, 40 + 2 * k, 2]).collect();
    let persons = serde_json::json!({
        "images": [{"id": 1, "file_name": "church.jpg"}, {"id": 2, "file_name": "tower.jpg"}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [10, 10, 100, 200],
                "area": 9000, "keypoints": keypoints},
            {"image_id": 2, "category_id": 1, "bbox": [20, 20, 80, 120],
                "area": 5000, "keypoints": keypoints},
        ],
    });
    write("persons.json", persons.to_string().as_bytes());
    let pose = serde_json::json!({
        "resize": {"exact": [256, 192]}, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    });
    write("pose.json", pose.to_string().as_bytes());
    write("x.npy", &npy("(1, 3, 224, 224)", &vec![0.5; 3 * 224 * 224]));
    folder
}

/// The folder of [`folder`], where a network of the same shape stands in for the default one, which takes
/// seconds per command in a build for tests.
fn folder_with_small_network() -> TempDir {
    let folder = folder();
    let network = folder.path().join("networks/efficientnet-lite0-dyrelu-b.safetensors");
    fs::create_dir(network.parent().unwrap()).unwrap();
    let mut convert = dyrelu(&["convert", "tests/documents/net.onnx"]);
    convert.arg(&network).args(["--preprocess", "imagenet", "--labels", "imagenet"]);
    convert.assert().success();
    folder
}

/// Runs the commands of a document in their order in a folder, and requires that at least `least` of them
/// run.
fn commands_run_as_written(document: &str, folder: &TempDir, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let commands = Commands::of(&fs::read_to_string(path).unwrap());
    let program = assert_cmd::cargo::cargo_bin("dyrelu");
    let mut places = vec![program.parent().unwrap().to_path_buf()];
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    for command in &commands.run {
        let run = std::process::Command::new("sh")
            .args(["-e", "-c", command])
            .current_dir(folder.path())
            .env("PATH", std::env::join_paths(&places).unwrap())
            .env("HOME", folder.path())
            .env_remove("XDG_DATA_HOME")
            .env("DYRELU_MODELS", folder.path().join("networks"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{document}: {command}\n{errors}");
        assert!(!errors.contains("error:"), "{document}: {command}\n{errors}");
        let written = written(command);
        assert!(!run.stdout.is_empty() || !written.is_empty(), "{document}: {command}: no output");
        for path in &written {
            let path = folder.path().join(path);
            let is_there = match path.is_dir() {
                true => fs::read_dir(&path).unwrap().count() > 0,
                false => fs::metadata(&path).is_ok_and(|file| file.len() > 0),
            };
            assert!(is_there, "{document}: {command}: {} is not there", path.display());
        }
        if let Some(columns) = columns(command) {
            let table = fs::read_to_string(folder.path().join(written[0])).unwrap();
            assert_eq!(table.lines().next(), Some(columns), "{document}: {command}");
        }
    }
    let (run, left_out) = (commands.run.len(), &commands.left_out);
    println!("{document}: {run} commands ran, {} left out: {left_out:#?}", left_out.len());
    assert!(run >= least, "{document}: {run} commands ran");
}

#[test]
fn the_commands_of_the_readme_run() {
    commands_run_as_written("README.md", &folder(), 6);
}

#[test]
fn the_commands_of_the_page_on_the_command_line_run() {
    commands_run_as_written("docs/command-line.md", &folder_with_small_network(), 30);
}

#[test]
fn the_exit_codes_of_the_page_on_the_command_line_are_those_of_the_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/command-line.md");
    let page = fs::read_to_string(path).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| exit code"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| line.trim_matches(['|', ' ']).replacen(" | ", "  ", 1);
    let rows: Vec<_> = rows.map(row).collect();
    let help = dyrelu(&["--help"]).assert().success();
    let help = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    assert_eq!(rows, codes.trim_end().lines().map(str::trim).collect::<Vec<_>>());
}

#[test]
fn blocks_are_read_with_continued_lines_and_marks() {
    let document = "```sh\ncargo test\ncargo run --release -- e\ndyrelu a \\\n  b  # c\n\n# d\n```\n```text\ndyrelu x\n```\n\
                    <!-- not run by tests: no film -->\n```sh\nffmpeg\n```\n";
    let commands = Commands::of(document);
    assert_eq!(commands.run, ["dyrelu e", "dyrelu a    b  # c"]);
    assert_eq!(commands.left_out, ["cargo test", "ffmpeg"]);
}

#[test]
fn what_a_command_writes_is_read_from_it() {
    assert_eq!(written("dyrelu classify a/ --output b.csv && dyrelu x > c  # > d"), ["b.csv", "c"]);
    assert_eq!(written("dyrelu convert a b --weights f16"), ["b"]);
    assert_eq!(columns("dyrelu classify a --output b  # path,score"), Some("path,score"));
    assert_eq!(columns("dyrelu classify a  # reads, writes"), None);
}
