//! Runs the program as a user does.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use dyrelu::format::safetensors::{WeightStorage, write};
use dyrelu::graph::{Conv, Dim, Graph, Op, Padding, PoolKind, Softmax, TensorType};
use dyrelu::{DType, Tensor};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

mod batches;
mod bench;
mod documents;
mod embeddings;
mod evaluate;
mod explain;
mod files;
mod hostile;
mod installed;
mod keypoints;
mod preparation;

/// A temporary folder with a classifier whose scores are the mean red, green and blue of a photo.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Fixture(tempfile::tempdir().unwrap());
        fixture.classifier("colours.safetensors", DType::F32);
        fixture
    }

    fn classifier(&self, name: &str, dtype: DType) -> PathBuf {
        let mut g = Graph::new("colours");
        let dims = vec![Dim::symbol("N"), 3.into(), Dim::symbol("H"), Dim::symbol("W")];
        let x = g.add_input("x", TensorType { dtype, dims });
        let eye = (0..9).map(|i| if i % 4 == 0 { 10.0 } else { 0.0 }).collect::<Vec<f32>>();
        let eye = Tensor::new(&[3, 3, 1, 1], eye).unwrap().cast(dtype).unwrap();
        let w = g.add_constant("w", eye);
        let conv = Conv {
            padding: Padding::Explicit(vec![]),
            strides: vec![],
            dilations: vec![],
            groups: 1,
        };
        let scaled = g.apply("conv", Op::Conv(conv), &[x, w]);
        let mean = g.apply("mean", Op::GlobalPool(PoolKind::Average), &[scaled]);
        let y = g.apply("y", Op::Flatten { axis: 1 }, &[mean]);
        g.set_outputs(vec![y]);
        let preprocess = r#"{"resize": {"exact": [16, 16]}, "mean": [0, 0, 0], "std": [1, 1, 1]}"#;
        g.metadata.insert("preprocess".into(), preprocess.into());
        g.metadata.insert("labels".into(), "red\ngreen\nblue".into());
        let path = self.path(name);
        write(&g, None, &path, WeightStorage::F32).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn photo(&self, name: &str, colour: [u8; 3]) -> PathBuf {
        let path = self.path(name);
        RgbImage::from_pixel(20, 10, Rgb(colour)).save(&path).unwrap();
        path
    }

    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    fn classify(&self, arguments: &[&str], paths: &[&Path]) -> Assert {
        dyrelu(&["classify", "--model"])
            .arg(self.path("colours.safetensors"))
            .args(arguments)
            .args(paths)
            .assert()
    }
}

fn dyrelu(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("dyrelu").unwrap();
    command.args(arguments);
    command
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn csv_has_a_header_and_one_row_per_rank() {
    let f = Fixture::new();
    let photos = [f.photo("a.png", [250, 0, 100]), f.photo("b.png", [0, 250, 0])];
    let run = f.classify(&["--format", "csv", "--top", "2"], &[&photos[0], &photos[1]]).code(0);
    let text = stdout(&run);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "path,rank,class,label,score");
    assert_eq!(lines.len(), 5);
    assert!(lines[1].contains("a.png,1,0,red,0.99"), "{text}");
    assert!(lines[2].contains("a.png,2,2,blue,"), "{text}");
    assert!(lines[3].contains("b.png,1,1,green,"), "{text}");
}

#[test]
fn a_broken_image_is_reported_and_the_others_are_classified() {
    let f = Fixture::new();
    let good = f.photo("good.png", [0, 0, 255]);
    let text = f.file("text.jpg", b"this is no photo");
    let empty = f.file("empty.jpg", b"");
    let whole = fs::read(f.photo("whole.jpg", [9, 9, 9])).unwrap();
    let cut = f.file("cut.jpg", &whole[..whole.len() / 3]);
    let missing = f.path("missing.jpg");
    let run = f.classify(&["--format", "json"], &[&text, &good, &empty, &cut, &missing]).code(1);
    let lines: Vec<serde_json::Value> =
        stdout(&run).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line.get("error").is_some(), i != 1, "{line}");
    }
    assert_eq!(lines[1]["predictions"][0]["label"], "blue");
    let errors = stderr(&run);
    for name in ["text.jpg", "empty.jpg", "cut.jpg", "missing.jpg"] {
        assert!(errors.contains(name), "{name} in {errors}");
    }
}

#[test]
fn unusual_images_are_read_correctly() {
    let f = Fixture::new();
    let blue = RgbImage::from_pixel(20, 10, Rgb([0, 0, 255]));
    let mut paths = Vec::new();
    let mut transparent = DynamicImage::from(blue.clone()).into_rgba8();
    transparent.pixels_mut().for_each(|p| p.0[3] = 0);
    transparent.save(f.path("transparent.png")).unwrap();
    paths.push(f.path("transparent.png"));
    DynamicImage::from(blue.clone()).into_rgb16().save(f.path("deep.png")).unwrap();
    paths.push(f.path("deep.png"));
    // The contents of a file decide its format, not its name.
    blue.save_with_format(f.path("png.jpg"), ImageFormat::Png).unwrap();
    paths.push(f.path("png.jpg"));
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    paths.push(images.join("cmyk-blue.jpg"));
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let run = f.classify(&["--format", "csv", "--top", "1"], &paths).code(0);
    let text = stdout(&run);
    assert_eq!(text.matches(",1,2,blue,").count(), 4, "{text}");
}

#[test]
fn truncated_and_too_large_photos_are_errors_unless_allowed() {
    let f = Fixture::new();
    let church = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/photos/church.jpg");
    let whole = fs::read(&church).unwrap();
    let cut = f.file("cut.jpg", &whole[..whole.len() - 200]);
    let run = f.classify(&["--format", "csv"], &[&cut]).code(1);
    assert!(stdout(&run).ends_with("cut.jpg,,,,\n"), "{}", stdout(&run));
    let errors = stderr(&run);
    assert!(errors.contains("cut.jpg: the file is cut off"), "{errors}");
    assert_eq!(errors.matches("error:").count(), 1, "{errors}");
    let run = f.classify(&["--format", "csv", "--allow-truncated"], &[&cut]).code(0);
    assert!(stdout(&run).lines().count() > 2);
    // The photo has 299 x 299 pixels.
    f.classify(&["--max-pixels", "89401"], &[&church]).code(0);
    let run = f.classify(&["--max-pixels", "89400"], &[&church]).code(1);
    let errors = stderr(&run);
    assert!(errors.contains("more than the 89400 allowed"), "{errors}");
}

#[test]
fn the_camera_orientation_is_applied() {
    // The stored image is wide and its left half is red. Its orientation turns the left half up.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/turned.jpg");
    let photo = dyrelu::vision::load(path).unwrap();
    assert_eq!((photo.width(), photo.height()), (16, 32));
    let (above, below) = (photo.pixel(8, 4).unwrap(), photo.pixel(8, 28).unwrap());
    assert!(above[0] > 200 && above[2] < 60 && below[0] < 60 && below[2] > 200);
}

#[test]
fn folders_lists_and_standard_input_name_photos() {
    let f = Fixture::new();
    fs::create_dir(f.path("album")).unwrap();
    let photo = f.photo("album/red.png", [255, 0, 0]);
    f.file("album/notes.txt", b"not a photo");
    let list = f.file("list.txt", photo.to_str().unwrap().as_bytes());
    let folder = f.path("album");
    let run = f.classify(&["--format", "csv"], &[&folder]).code(0);
    assert_eq!(stdout(&run).lines().count(), 4);
    let run = f.classify(&["--format", "csv", "--list", list.to_str().unwrap()], &[]).code(0);
    assert_eq!(stdout(&run).lines().count(), 4);
    let piped = |arguments: &[&str], bytes: Vec<u8>| {
        let mut command = dyrelu(&["classify", "--format", "csv", "--model"]);
        let command = command.arg(f.path("colours.safetensors")).args(arguments);
        command.write_stdin(bytes).assert()
    };
    let path = photo.to_str().unwrap();
    let run = piped(&["--list", "-"], path.into()).code(0);
    assert_eq!(stdout(&run).lines().count(), 4);
    let run = piped(&["--list", "-", "-0"], format!("{path}\0{path}\0").into()).code(0);
    assert_eq!(stdout(&run).lines().count(), 7);
    let run = piped(&["-"], fs::read(&photo).unwrap()).code(0);
    assert!(stdout(&run).contains("\n-,1,0,red,"), "{}", stdout(&run));
    let run = piped(&["-"], path.into()).code(1);
    assert!(stderr(&run).contains("-: this is no image"), "{}", stderr(&run));
    // Two frames of 2 x 1 pixels, and a part of a third.
    let frames = [[255, 0, 0].repeat(2), [0, 0, 255].repeat(2), vec![0]].concat();
    let run = piped(&["--rawvideo", "2x1:rgb24", "--top", "1"], frames).code(1);
    assert!(stdout(&run).contains("\nframe 0,1,0,red,"), "{}", stdout(&run));
    assert!(stdout(&run).contains("\nframe 1,1,2,blue,"), "{}", stdout(&run));
    assert!(stderr(&run).contains("standard input ends within frame 2"), "{}", stderr(&run));
}

#[test]
fn an_empty_folder_and_an_empty_command_line_are_errors() {
    let f = Fixture::new();
    fs::create_dir(f.path("empty")).unwrap();
    let folder = f.path("empty");
    let run = f.classify(&[], &[&folder]).code(2);
    assert!(stderr(&run).contains("no photos in this folder"), "{}", stderr(&run));
    let run = f.classify(&[], &[]).code(2);
    assert!(stderr(&run).contains("no photos were named"), "{}", stderr(&run));
}

#[test]
fn files_that_are_not_networks_are_refused_in_one_line() {
    let f = Fixture::new();
    let whole = fs::read(f.path("colours.safetensors")).unwrap();
    let cases = [
        f.file("text.onnx", b"hello, this is only text"),
        f.file("empty.onnx", b""),
        f.file("cut.safetensors", &whole[..whole.len() - 3]),
        f.path("missing.onnx"),
        f.path(""),
    ];
    for path in &cases {
        let run = dyrelu(&["inspect"]).arg(path).assert().code(2);
        let errors = stderr(&run);
        assert_eq!(errors.lines().count(), 1, "{path:?}: {errors}");
        assert!(errors.starts_with("error: "), "{path:?}: {errors}");
        assert!(stdout(&run).is_empty());
    }
}

#[test]
fn run_reads_and_writes_arrays_in_both_layouts() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    // One pixel: red 1, green 2, blue 3.
    let values = |path: &Path| -> Vec<f32> {
        let bytes = fs::read(path).unwrap();
        let data = &bytes[bytes.len() - 12..];
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let y = f.path("y.npy");
    for (layout, shape) in [("nchw", "(1, 3, 1, 1)"), ("nhwc", "(1, 1, 1, 3)")] {
        let x = f.file("x.npy", &npy(shape, &[1.0, 2.0, 3.0]));
        let mut command = dyrelu(&["run"]);
        command.arg(&model).arg("--input").arg(format!("x={}", x.display()));
        command.arg("--output").arg(&y).args(["--layout", layout]).assert().code(0);
        assert_eq!(values(&y), [10.0, 20.0, 30.0], "{layout}");
    }
    let long = f.file("long.npy", &npy("(1, 3, 1000000, 1000000)", &[1.0]));
    let wrong = f.file("wrong.npy", &npy("(1, 4, 1, 1)", &[0.0; 4]));
    for (input, words) in
        [(long, "too short"), (wrong, "must be f32"), (f.path("no.npy"), "No such")]
    {
        let mut command = dyrelu(&["run"]);
        command.arg(&model).arg("--input").arg(&input).arg("--output").arg(f.path("z.npy"));
        let run = command.assert().code(2);
        assert!(stderr(&run).contains(words), "{}", stderr(&run));
        assert!(!f.path("z.npy").exists());
    }
}

/// The .npy file of an array of f32; `shape` as Python writes it.
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// Every command accepts networks of half and double precision. Outputs have the type that the file
/// declares.
#[test]
fn networks_of_half_and_double_precision_keep_their_types() {
    let f = Fixture::new();
    let (photo, y) = (f.photo("green.png", [0, 200, 0]), f.path("y.npy"));
    for (dtype, letter) in [(DType::F16, "f2"), (DType::F64, "f8")] {
        let model = f.classifier("other.safetensors", dtype);
        let numbers = |numbers: &[f32]| Tensor::vector(numbers.to_vec()).cast(dtype).unwrap();
        let mut x = npy("(1, 3, 1, 1)", &[]);
        let at = x.windows(2).position(|letters| letters == b"f4").unwrap();
        x[at..at + 2].copy_from_slice(letter.as_bytes());
        x.extend(numbers(&[1.0, 2.0, 0.25]).bytes());
        let x = f.file("x.npy", &x);
        let run = |words: &[&str]| {
            let mut command = dyrelu(words);
            command.arg(&model);
            command
        };
        run(&["run"]).arg("--input").arg(&x).arg("--output").arg(&y).assert().code(0);
        let written = fs::read(&y).unwrap();
        let header = String::from_utf8_lossy(&written);
        assert!(header.contains(&format!("<{letter}")), "{header}");
        assert!(written.ends_with(numbers(&[10.0, 20.0, 2.5]).bytes()), "{dtype}");
        run(&["verify"]).args(["--size", "5"]).assert().code(0);
        run(&["inspect", "--plan"]).assert().code(0);
        run(&["bench", "--seconds", "0.1", "--size", "8"]).assert().code(0);
        let classified = dyrelu(&["classify", "--model"]).arg(&model).arg(&photo).assert().code(0);
        assert!(stdout(&classified).contains("green"), "{}", stdout(&classified));
    }
}

#[test]
fn a_batch_that_cannot_be_freed_is_explained() {
    let f = Fixture::new();
    let network = |axis: i64| {
        let mut g = Graph::new("t");
        let dims = vec![1.into(), 3.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let y = g.apply("y", Op::Softmax(Softmax { axis, flatten: false }), &[x]);
        g.set_outputs(vec![y]);
        let path = f.path(&format!("softmax{axis}.safetensors"));
        write(&g, None, &path, WeightStorage::F32).unwrap();
        path
    };
    let (across, within) = (network(0), network(1));
    let two = f.file("two.npy", &npy("(2, 3)", &[1.0; 6]));
    let run = |model: &Path| {
        let mut command = dyrelu(&["run"]);
        command.arg(model).arg("--input").arg(&two).arg("--output").arg(f.path("y.npy")).assert()
    };
    run(&within).code(0);
    let errors = stderr(&run(&across).code(2));
    assert!(errors.contains("takes batches of 1 and no others"), "{errors}");
    let inspected = |model: &Path| -> serde_json::Value {
        let run = dyrelu(&["inspect", "--format", "json"]).arg(model).assert().code(0);
        serde_json::from_str(&stdout(&run)).unwrap()
    };
    assert!(inspected(&within)["fixed_batch"].is_null());
    assert_eq!(inspected(&across)["fixed_batch"]["name"], "y");
    let text = stdout(&dyrelu(&["inspect"]).arg(&across).assert().code(0));
    assert!(text.contains("the batch is fixed: \"y\": Softmax: it normalises over"), "{text}");
}

#[test]
fn inspect_and_bench_print_json() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    let mut command = dyrelu(&["inspect", "--format", "json", "--shape", "1,3,8,8"]);
    let run = command.arg(&model).assert().code(0);
    let d: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    assert_eq!(d["macs"], 9 * 64);
    assert_eq!(d["parameters"], 9);
    assert!(d["dynamic_activations"].as_array().unwrap().is_empty());
    assert!(d["unrecognised"].as_array().unwrap().is_empty());
    let memory = &d["working_memory"];
    assert_eq!(memory["inputs"], serde_json::json!([[1, 3, 8, 8]]));
    let opened = dyrelu::Model::open(&model).unwrap();
    let bytes = opened.arena_bytes(&[vec![1, 3, 8, 8]], 1).unwrap();
    assert!(bytes > 0 && memory["arena_bytes"] == bytes, "{d}");
    // Costs are per image for every batch, and at an assumed size if the sizes are free.
    for (shape, pixels) in [(Some("4,3,8,8"), 64), (None, 224 * 224)] {
        let mut command = dyrelu(&["inspect", "--format", "json"]);
        command.args(shape.map(|shape| ["--shape", shape]).into_iter().flatten());
        let run = command.arg(&model).assert().code(0);
        let d: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
        assert_eq!(d["macs"], 9 * pixels, "{shape:?}");
    }
    let plan = ["inspect", "--plan", "--format", "json", "--shape", "2,3,8,8", "--threads", "3"];
    let run = dyrelu(&plan).arg(&model).assert().code(0);
    let p: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    let steps = p["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["kernel"] == "dense" && step["weight_bytes"] != 0), "{p}");
    let ends = steps.iter().flat_map(|step| step["outputs"].as_array().unwrap());
    let end = ends.filter_map(|output| output["place"][1].as_u64()).max().unwrap();
    assert!(end > 0 && p["arena_bytes"].as_u64() >= Some(end), "{p}");
    assert_eq!(p["inputs"], serde_json::json!([[2, 3, 8, 8]]));
    dyrelu(&["inspect", "--plan", "--shape", "2,4,8,8"]).arg(&model).assert().code(2);
    let mut command = dyrelu(&["bench", "--format", "json", "--seconds", "0.1", "--threads", "1"]);
    let run = command.arg(&model).args(["--size", "8"]).assert().code(0);
    let m: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    for key in ["median_ms", "p90_ms", "first_result_ms", "images_per_s"] {
        assert!(m[key].as_f64().unwrap() > 0.0, "{key} in {m}");
    }
    assert_eq!((&m["threads"], &m["batch"]), (&1.into(), &1.into()));
    assert!(m["isa"].is_string());
    for key in ["min", "mean", "p50", "p95", "p99", "max", "standard_deviation"] {
        assert!(m["statistics_ms"][key].is_number(), "{key} in {m}");
    }
    assert_eq!((&m["schema"], &m["shapes"]), (&1.into(), &serde_json::json!([[1, 3, 8, 8]])));
    assert_eq!(m["samples_ms"].as_array().unwrap().len() as u64, m["runs"].as_u64().unwrap());
    assert!(m["model_fingerprint"].is_string() && m["date"].is_string(), "{m}");
}

#[test]
fn the_exit_code_of_verify_is_its_result() {
    let f = Fixture::new();
    let model = f.path("colours.safetensors");
    let run = dyrelu(&["verify", "--size", "9"]).arg(&model).assert().code(0);
    assert!(stdout(&run).contains("ok"), "{}", stdout(&run));
    // The reference sums in double precision, which no kernel equals to the last bit. A tolerance
    // of 0 therefore fails.
    let dialect = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/dialects/chain-sigmoid-B-k2-script-free.onnx");
    dyrelu(&["verify", "--size", "9"]).arg(&dialect).assert().code(0);
    dyrelu(&["verify", "--size", "9", "--tolerance", "0"]).arg(&dialect).assert().code(1);
}

#[test]
fn convert_keeps_the_network() {
    let f = Fixture::new();
    let dialect = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/dialects/interleaved-B-k2-script-free.onnx");
    let native = f.path("native.safetensors");
    let run = dyrelu(&["convert", "--weights", "f16"]).arg(&dialect).arg(&native).assert().code(0);
    assert!(stdout(&run).contains("1 dynamic activation,"), "{}", stdout(&run));
    let run = dyrelu(&["inspect", "--format", "json"]).arg(&native).assert().code(0);
    let d: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    assert_eq!(d["dynamic_activations"][0]["form"], "B");
    assert_eq!(d["dynamic_activations"][0]["hidden"], 4);
}

#[test]
fn weights_of_eight_bits_make_a_small_file_of_the_same_network() {
    let f = Fixture::new();
    let network = "models/mobilenetv2-x0.35-dyrelu-c-imagenette.safetensors";
    let convert = |weights: &str| {
        let native = f.path(&format!("{weights}.safetensors"));
        let mut command = dyrelu(&["convert", "--weights", weights, network]);
        (stdout(&command.arg(&native).assert().code(0)), native)
    };
    let (_, single) = convert("f32");
    let (text, eight) = convert("int8");
    assert!(text.contains("35 dynamic activations,"), "{text}");
    let moved = text.split_once("outputs move by up to ").unwrap().1;
    let moved: f64 = moved.split_once('%').unwrap().0.parse().unwrap();
    assert!(moved > 0.0 && moved < 5.0, "{text}");
    let bytes = |path: &Path| fs::metadata(path).unwrap().len() as f64;
    assert!(bytes(&eight) < 0.35 * bytes(&single), "{} {}", bytes(&eight), bytes(&single));
    let inspected = stdout(&dyrelu(&["inspect"]).arg(&eight).assert().code(0));
    assert!(inspected.contains("\n35 dynamic activations"), "{inspected}");
    let photo = "examples/photos/church.jpg";
    let run = dyrelu(&["classify", photo, "--model"]).arg(&eight).assert().code(0);
    assert!(stdout(&run).contains("%  church"), "{}", stdout(&run));
    let mut packed = dyrelu(&["convert", "--weights", "int8", "--pack", network]);
    let run = packed.arg(f.path("packed.safetensors")).assert().code(2);
    assert!(stderr(&run).contains("--pack would add the weights in f32"), "{}", stderr(&run));
}

#[test]
fn a_wrong_argument_exits_with_2() {
    dyrelu(&["classify", "--format", "xml"]).assert().code(2);
    dyrelu(&["frobnicate"]).assert().code(2);
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let run = dyrelu(&["inspect"]).env("DYRELU_ISA", "altivec").assert().code(2);
    let message = stderr(&run);
    assert!(message.contains("altivec") && message.contains("portable"), "{message}");
}

#[test]
fn networks_are_listed_and_found_by_name() {
    let f = Fixture::new();
    let photo = f.photo("a.png", [0, 250, 0]);
    let named = |arguments: &[&str]| {
        let mut command = dyrelu(arguments);
        command.env("DYRELU_MODELS", f.path(""));
        command
    };
    let run = named(&["models", "--format", "json"]).assert().code(0);
    let networks: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    let networks = networks.as_array().unwrap();
    let m = networks.iter().find(|m| m["name"] == "colours").unwrap();
    assert_eq!((&m["parameters"], &m["macs"]), (&9.into(), &(9 * 256).into()), "{m}");
    assert_eq!((&m["input"], &m["classes"]), (&serde_json::json!([3, 16, 16]), &3.into()), "{m}");
    assert_eq!((&m["forms"], &m["default"]), (&serde_json::json!([]), &false.into()), "{m}");
    let default = networks.iter().find(|m| m["default"] == true).unwrap();
    assert!(default["forms"][0].as_str().unwrap().starts_with("DY-ReLU-B"), "{default}");
    let text = stdout(&named(&["models"]).assert().code(0));
    assert!(text.contains("colours") && text.contains("3x16x16"), "{text}");
    let run = named(&["classify", "--model", "colours"]).arg(&photo).assert().code(0);
    assert!(stdout(&run).contains("green"), "{}", stdout(&run));
    let run = named(&["inspect", "colour"]).assert().code(2);
    let message = stderr(&run);
    assert!(message.contains("\"colour\"") && message.contains("colours, "), "{message}");
}

#[test]
fn models_lists_the_other_networks_if_one_cannot_be_read() {
    let f = Fixture::new();
    f.file("broken.onnx", b"this is no network");
    let run = dyrelu(&["models"]).env("DYRELU_MODELS", f.path("")).assert().code(1);
    assert!(stdout(&run).contains("colours"), "{}", stdout(&run));
    assert!(stderr(&run).contains("broken.onnx"), "{}", stderr(&run));
}

#[test]
fn notes_are_kept_and_shown() {
    let f = Fixture::new();
    let noted = f.path("noted.safetensors");
    let mut command = dyrelu(&["convert", "--note", "top1=two of three"]);
    command.arg(f.path("colours.safetensors")).arg(&noted).assert().code(0);
    let run = dyrelu(&["models"]).env("DYRELU_MODELS", f.path("")).assert().code(0);
    assert!(stdout(&run).contains("two of three"), "{}", stdout(&run));
    for note in ["top1", "=x", "labels=x", "dyrelu.graph=x"] {
        let mut command = dyrelu(&["convert", "--note", note]);
        command.arg(f.path("colours.safetensors")).arg(&noted).assert().code(2);
    }
}
