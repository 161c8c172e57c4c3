//! Arguments and files that cannot be used: each gives one sentence and an exit code, and leaves no
//! file behind.

use dyrelu::graph::Unary;

use super::*;

/// Asserts that a command fails with a one-line error that contains `words`.
#[track_caller]
pub(super) fn refuses(command: &mut Command, words: &str) {
    let run = command.assert().code(2);
    let errors = stderr(&run);
    assert!(errors.contains(words), "{words:?} in {errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(stdout(&run).is_empty(), "{}", stdout(&run));
}

impl Fixture {
    /// The sorted names of all files in the folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Writes a network on images of `side` by `side`, whose outputs `build` adds.
    fn network(
        &self,
        name: &str,
        side: usize,
        build: impl FnOnce(&mut Graph, dyrelu::graph::ValueId) -> Vec<dyrelu::graph::ValueId>,
    ) -> PathBuf {
        let mut g = Graph::new(name);
        let dims = vec![Dim::symbol("N"), 3.into(), side.into(), side.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let outputs = build(&mut g, x);
        g.set_outputs(outputs);
        g.metadata.insert("preprocess".into(), r#"{"mean": [0, 0, 0], "std": [1, 1, 1]}"#.into());
        let path = self.path(name);
        write(&g, None, &path, WeightStorage::F32).unwrap();
        path
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for arguments in [
        ["classify", "--threads", "0"],
        ["classify", "--batch", "0"],
        ["classify", "--top", "0"],
        ["bench", "--batch", "0"],
        ["bench", "--size", "0"],
        ["bench", "--seconds", "nan"],
        ["bench", "--seconds", "inf"],
        ["verify", "--tolerance", "nan"],
        ["verify", "--threads", "0"],
        ["inspect", "--threads", "0"],
        ["run", "--threads", "0"],
    ] {
        let errors = stderr(&dyrelu(&arguments).assert().code(2));
        let first = errors.lines().next().unwrap();
        assert!(first.contains("must be at least"), "{arguments:?}: {errors}");
    }
    let f = Fixture::new();
    let photo = f.photo("a.png", [1, 2, 3]);
    let errors = stderr(&f.classify(&["--threads", "100000"], &[&photo]).code(2));
    assert!(errors.contains("at most 1024 threads"), "{errors}");
    // No batch is too large for the photos that there are.
    let most = usize::MAX.to_string();
    f.classify(&["--threads", "1", "--batch", &most], &[&photo, &photo]).code(0);
}

#[test]
fn the_number_of_class_names_must_equal_the_number_of_classes() {
    let f = Fixture::new();
    let (photo, model) = (f.photo("a.png", [0, 0, 255]), f.path("colours.safetensors"));
    for (lines, words) in [
        ("red\ngreen\n", "2 class names, and the network has 3 classes"),
        ("red\ngreen\nblue\npink\n", "4 class names"),
        ("", "0 class names"),
    ] {
        let labels = f.file("labels.txt", lines.as_bytes());
        let mut command = dyrelu(&["classify", "--labels"]);
        refuses(command.arg(&labels).arg("--model").arg(&model).arg(&photo), words);
        let mut command = dyrelu(&["convert", "--labels"]);
        refuses(command.arg(&labels).arg(&model).arg(f.path("new.safetensors")), words);
    }
    let labels = f.file("labels.txt", b"caf\xe9\n");
    let mut command = dyrelu(&["classify", "--labels"]);
    refuses(command.arg(&labels).arg("--model").arg(&model).arg(&photo), "UTF-8");
    assert!(!f.path("new.safetensors").exists());
    // An empty line at the end is not a name.
    let labels = f.file("labels.txt", b"rouge\nvert\nbleu\n\n");
    let run = f.classify(&["--labels", labels.to_str().unwrap()], &[&photo]).code(0);
    assert!(stdout(&run).contains("bleu"), "{}", stdout(&run));
}

#[test]
fn a_photo_of_the_wrong_size_is_reported_and_the_others_are_classified() {
    let f = Fixture::new();
    let model = f.network("sixteen.safetensors", 16, |g, x| {
        let mean = g.apply("mean", Op::GlobalPool(PoolKind::Average), &[x]);
        vec![g.apply("y", Op::Flatten { axis: 1 }, &[mean])]
    });
    let wide = f.photo("wide.png", [0, 0, 255]);
    RgbImage::from_pixel(16, 16, Rgb([0, 0, 255])).save(f.path("square.png")).unwrap();
    let mut command = dyrelu(&["classify", "--format", "csv", "--top", "1", "--model"]);
    let run = command.arg(&model).arg(&wide).arg(f.path("square.png")).assert().code(1);
    assert!(stdout(&run).contains("square.png,1,2,2,"), "{}", stdout(&run));
    assert!(stderr(&run).contains("wide.png: input \"x\" must be"), "{}", stderr(&run));
}

#[test]
fn a_network_whose_output_is_not_scores_is_refused() {
    let f = Fixture::new();
    let map = |g: &mut Graph, x| vec![g.apply("y", Op::Unary(Unary::Relu), &[x])];
    let model = f.network("map.safetensors", 16, map);
    RgbImage::from_pixel(16, 16, Rgb([0, 0, 255])).save(f.path("square.png")).unwrap();
    let mut command = dyrelu(&["classify", "--model"]);
    refuses(command.arg(&model).arg(f.path("square.png")), "the network is no classifier");
}

#[test]
fn outputs_are_written_together_or_not_at_all() {
    let f = Fixture::new();
    let model = f.network("two.safetensors", 2, |g, x| {
        let y = g.apply("y", Op::Unary(Unary::Relu), &[x]);
        vec![y, g.apply("z", Op::Unary(Unary::Neg), &[x])]
    });
    let x = f.file("x.npy", &npy("(1, 3, 2, 2)", &[1.0; 12]));
    let before = f.names();
    let run = |y: &Path, z: &Path| {
        let mut command = dyrelu(&["run"]);
        command.arg(&model).arg("--input").arg(&x);
        command.arg("--output").arg(y).arg("--output").arg(z);
        command
    };
    let (y, z) = (f.path("y.npy"), f.path("z.npy"));
    refuses(&mut run(&y, &f.path("missing/z.npy")), "missing/z.npy");
    refuses(&mut run(&y, f.0.path()), "irectory");
    refuses(&mut run(&y, &y), "two outputs cannot go to one file");
    assert_eq!(f.names(), before);
    run(&y, &z).assert().code(0);
    assert!(y.exists() && z.exists());
}

#[test]
fn a_failed_conversion_leaves_no_file() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    fs::create_dir(f.path("folder")).unwrap();
    let before = f.names();
    for options in [&[][..], &["--pack"]] {
        for (target, words) in [("missing/new.safetensors", "missing"), ("folder", "folder")] {
            let mut command = dyrelu(&["convert"]);
            refuses(command.args(options).arg(&model).arg(f.path(target)), words);
        }
        let mut command = dyrelu(&["convert"]);
        refuses(command.args(options).arg(f.path("none.onnx")).arg(f.path("new")), "none.onnx");
        assert_eq!(f.names(), before);
    }
    let mut command = dyrelu(&["convert", "--pack"]);
    command.arg(&model).arg(f.path("packed.safetensors")).assert().code(0);
    assert_eq!(f.names().len(), before.len() + 1, "{:?}", f.names());
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    let good = npy("(1, 3, 2, 2)", &[1.0; 12]);
    let mut doubles = npy("(1, 3, 2, 2)", &[0.0; 24]);
    let kind = doubles.windows(3).position(|bytes| bytes == b"<f4").unwrap();
    doubles[kind + 2] = b'8';
    for (bytes, words) in [
        (good[..good.len() - 4].to_vec(), "too short"),
        (good[..40].to_vec(), "not a .npy file"),
        (b"PK\x03\x04 an archive".to_vec(), "not a .npy file"),
        (npy("(1, 3, 2)", &[1.0; 6]), "must be f32"),
        (npy("(1, 4, 2, 2)", &[1.0; 16]), "must be f32"),
        (npy("(1, 3, 1099511627776, 0)", &[]), "larger than"),
        (doubles, "found f64"),
    ] {
        let x = f.file("x.npy", &bytes);
        let mut command = dyrelu(&["run"]);
        command.arg(&model).arg("--input").arg(x).arg("--output").arg(f.path("y.npy"));
        refuses(&mut command, words);
    }
    assert!(!f.path("y.npy").exists());
}

/// Names of files on Linux are bytes, which need not be UTF-8.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_are_accepted() {
    use std::os::unix::ffi::OsStrExt;
    let f = Fixture::new();
    let name = |bytes: &[u8]| f.0.path().join(std::ffi::OsStr::from_bytes(bytes));
    let photo = name(b"caf\xe9.png");
    RgbImage::from_pixel(4, 4, Rgb([0, 0, 255]))
        .save_with_format(&photo, ImageFormat::Png)
        .unwrap();
    let list = f.file("list.txt", &[photo.as_os_str().as_bytes(), b"\r\n"].concat());
    let csv = ["--format", "csv", "--top", "1"];
    let run = f.classify(&csv, &[&photo]).code(0);
    assert!(stdout(&run).contains("blue"), "{}", stdout(&run));
    let listed = f.classify(&[&csv[..], &["--list", list.to_str().unwrap()]].concat(), &[]);
    assert_eq!(stdout(&listed.code(0)), stdout(&run));
    let (x, y) = (name(b"\xff.npy"), name(b"\xfe.npy"));
    fs::write(&x, npy("(1, 3, 1, 1)", &[1.0, 2.0, 3.0])).unwrap();
    let mut command = dyrelu(&["run"]);
    command.arg(f.path("colours.safetensors")).arg("--input").arg(&x).arg("--output").arg(&y);
    command.assert().code(0);
    assert!(y.exists());
}

/// Standard error or standard output on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_stream_that_cannot_be_written_does_not_cause_a_panic() {
    let f = Fixture::new();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let command = |photo: &str| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("dyrelu"));
        command.args(["classify", "--model"]).arg(f.path("colours.safetensors"));
        command.arg(f.path(photo));
        command
    };
    f.photo("a.png", [0, 0, 255]);
    let silent = command("missing.png").stderr(full()).output().unwrap();
    assert_eq!(silent.status.code(), Some(1));
    let lost = command("a.png").stdout(full()).output().unwrap();
    assert_eq!(lost.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("cannot write to standard output"));
}
