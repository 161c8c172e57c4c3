//! The program away from its clone, and what it says about itself.

use super::*;

/// Runs a copy of the program with an empty home.
fn copy_in(folder: &Path, arguments: &[&str]) -> Command {
    let program = folder.join("dyrelu");
    if !program.exists() {
        fs::copy(assert_cmd::cargo::cargo_bin("dyrelu"), &program).unwrap();
    }
    let mut command = Command::new(program);
    for variable in ["DYRELU_MODELS", "CARGO_MANIFEST_DIR", "XDG_DATA_HOME", "LOCALAPPDATA"] {
        command.env_remove(variable);
    }
    command.args(arguments).env("HOME", folder).env("LOCALAPPDATA", folder).current_dir(folder);
    command
}

#[test]
fn a_copied_program_finds_the_networks_that_were_installed() {
    let f = Fixture::new();
    let (folder, photo) = (f.path("bin"), f.photo("a.png", [0, 0, 250]));
    fs::create_dir(&folder).unwrap();
    let classify = || {
        let mut command = copy_in(&folder, &["classify", "--model", "colours"]);
        command.arg(&photo).assert()
    };
    let errors = stderr(&classify().code(2));
    assert!(errors.contains("run `dyrelu models --install` in a clone"), "{errors}");
    let errors = stderr(&copy_in(&folder, &["models", "--install"]).assert().code(2));
    assert!(errors.contains("run this in a clone of dyrelu"), "{errors}");
    let mut install = copy_in(&folder, &["models", "--install"]);
    let run = install.env("DYRELU_MODELS", f.path("")).assert().code(0);
    assert!(stdout(&run).contains("data folder: "), "{}", stdout(&run));
    classify().code(0);
    let listed = stdout(&copy_in(&folder, &["models"]).assert().code(0));
    assert!(listed.contains("colours") && !listed.contains(env!("CARGO_MANIFEST_DIR")), "{listed}");
}

#[test]
fn a_folder_beside_the_program_is_searched_after_the_variable() {
    let f = Fixture::new();
    let folder = f.path("bin");
    fs::create_dir_all(folder.join("models")).unwrap();
    fs::copy(f.path("colours.safetensors"), folder.join("models/colours.safetensors")).unwrap();
    let path = |command: &mut Command| {
        let run = command.args(["--format", "json"]).assert().code(0);
        let networks: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
        PathBuf::from(networks[0]["path"].as_str().unwrap())
    };
    let beside = fs::canonicalize(&folder).unwrap().join("models/colours.safetensors");
    assert_eq!(path(&mut copy_in(&folder, &["models"])), beside);
    let set = path(copy_in(&folder, &["models"]).env("DYRELU_MODELS", f.path("")));
    assert_eq!(set, f.path("colours.safetensors"));
}

#[test]
fn the_program_describes_itself() {
    let version = stdout(&dyrelu(&["--version"]).assert().code(0));
    for words in [env!("CARGO_PKG_VERSION"), "build: ", "portable", "features: cli, onnx, vision"] {
        assert!(version.contains(words), "{words} in {version}");
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = stdout(&dyrelu(&["completions", shell]).assert().code(0));
        assert!(script.contains("allow-truncated"), "{shell}");
    }
    assert!(stdout(&dyrelu(&["man"]).assert().code(0)).contains(".TH dyrelu 1"));
    let f = Fixture::new();
    dyrelu(&["man", "--output"]).arg(f.path("man1")).assert().code(0);
    assert!(fs::read_to_string(f.path("man1/dyrelu-classify.1")).unwrap().contains("max\\-pixels"));
}
