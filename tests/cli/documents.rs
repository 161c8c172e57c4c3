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
    /// Reads the blocks of `sh` of a document. Commands of cargo are left out: they build the program.
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
                    let is_left_out = is_marked || command.starts_with("cargo ");
                    let list = if is_left_out { &mut commands.left_out } else { &mut commands.run };
                    list.push(command.into());
                }
            }
            before = line;
        }
        commands
    }
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

/// Runs the commands of a document in their order, and requires that at least `least` of them run.
fn commands_run_as_written(document: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let commands = Commands::of(&fs::read_to_string(path).unwrap());
    let folder = folder();
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
            .env_remove("DYRELU_MODELS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{document}: {command}\n{errors}");
        assert!(!errors.contains("error:"), "{document}: {command}\n{errors}");
    }
    let (run, left_out) = (commands.run.len(), &commands.left_out);
    println!("{document}: {run} commands ran, {} left out: {left_out:#?}", left_out.len());
    assert!(run >= least, "{document}: {run} commands ran");
}

#[test]
fn the_commands_of_the_readme_run() {
    commands_run_as_written("README.md", 5);
}

#[test]
fn the_commands_of_the_page_on_the_command_line_run() {
    commands_run_as_written("docs/command-line.md", 25);
}

#[test]
fn blocks_are_read_with_continued_lines_and_marks() {
    let document = "```sh\ncargo test\ndyrelu a \\\n  b  # c\n\n# d\n```\n```text\ndyrelu x\n```\n\
                    <!-- not run by tests: no film -->\n```sh\nffmpeg\n```\n";
    let commands = Commands::of(document);
    assert_eq!(commands.run, ["dyrelu a    b  # c"]);
    assert_eq!(commands.left_out, ["cargo test", "ffmpeg"]);
}
