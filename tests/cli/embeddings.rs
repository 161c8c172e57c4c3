//! Embeddings of photos.

use super::*;

impl Fixture {
    /// Writes a classifier of which the layer before the last gives ten times the mean colours, and the last
    /// one their sums with the weights 1, 2 and 3.
    fn with_hidden_layer(&self) -> PathBuf {
        let mut g = Graph::new("hidden");
        let dims = vec![Dim::symbol("N"), 3.into(), Dim::symbol("H"), Dim::symbol("W")];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let matrix = |diagonal: [f32; 3]| {
            (0..9).map(|i| if i % 4 == 0 { diagonal[i / 4] } else { 0.0 }).collect::<Vec<f32>>()
        };
        let ten = Tensor::new(&[3, 3, 1, 1], matrix([10.0; 3])).unwrap();
        let w = g.add_constant("w", ten);
        let conv = Conv {
            padding: Padding::Explicit(vec![]),
            strides: vec![],
            dilations: vec![],
            groups: 1,
        };
        let scaled = g.apply("features/conv", Op::Conv(conv), &[x, w]);
        let mean = g.apply("mean", Op::GlobalPool(PoolKind::Average), &[scaled]);
        let flat = g.apply("flat", Op::Flatten { axis: 1 }, &[mean]);
        let last = Tensor::new(&[3, 3], matrix([1.0, 2.0, 3.0])).unwrap();
        let last = g.add_constant("last", last);
        let scores = g.apply("scores", Op::MatMul, &[flat, last]);
        g.set_outputs(vec![scores]);
        let preprocess = r#"{"resize": {"exact": [16, 16]}, "mean": [0, 0, 0], "std": [1, 1, 1]}"#;
        g.metadata.insert("preprocess".into(), preprocess.into());
        let path = self.path("hidden.safetensors");
        write(&g, None, &path, WeightStorage::F32).unwrap();
        path
    }

    /// Two photos, with one that is none between them.
    fn photos(&self) -> [PathBuf; 3] {
        let red = self.photo("red.png", [255, 51, 0]);
        [red, self.file("text.jpg", b"this is no photo"), self.photo("blue.png", [0, 0, 102])]
    }

    fn embed(&self, arguments: &[&str], photos: &[PathBuf]) -> Assert {
        let model = self.with_hidden_layer();
        dyrelu(&["classify", "--model"]).arg(model).args(arguments).args(photos).assert()
    }
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn close(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4)
}

fn embedding(line: &serde_json::Value) -> Vec<f64> {
    line["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The shape and the numbers of a .npy file of f32.
fn array(path: &Path) -> (String, Vec<f32>) {
    let file = fs::read(path).unwrap();
    let (header, data) = file.split_at(128);
    let header = String::from_utf8_lossy(&header[12..]).into_owned();
    let shape = header.split(['(', ')']).nth(1).unwrap().to_string();
    let numbers = data.chunks_exact(4).map(|v| f32::from_ne_bytes(v.try_into().unwrap()));
    (shape, numbers.collect())
}

#[test]
fn json_has_what_the_last_layer_reads() {
    let f = Fixture::new();
    let photos = f.photos();
    let with = lines(&stdout(&f.embed(&["--format", "json", "--embed"], &photos).code(1)));
    assert!(close(&embedding(&with[0]), &[10.0, 2.0, 0.0]), "{with:?}");
    assert!(close(&embedding(&with[2]), &[0.0, 0.0, 4.0]), "{with:?}");
    assert!(with[1]["error"].is_string() && with[1].get("embedding").is_none(), "{with:?}");
    let without = lines(&stdout(&f.embed(&["--format", "json"], &photos).code(1)));
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with["predictions"], without["predictions"]);
        assert!(without.get("embedding").is_none());
    }
}

#[test]
fn a_layer_is_chosen_by_name_and_its_map_is_averaged() {
    let f = Fixture::new();
    let photos = &f.photos()[..1];
    let embed = |layer: &str| f.embed(&["--format", "json", &format!("--embed={layer}")], photos);
    for (layer, expected) in [
        ("features/conv", [10.0, 2.0, 0.0]),
        ("mean", [10.0, 2.0, 0.0]),
        ("scores", [10.0, 4.0, 0.0]),
    ] {
        let found = lines(&stdout(&embed(layer).code(0)));
        assert!(close(&embedding(&found[0]), &expected), "{layer}: {found:?}");
    }
    let errors = stderr(&embed("conv").code(2));
    let words = "hidden.safetensors: the network computes no value and has no node \"conv\"; similar ones: \
                 \"features/conv\"";
    assert!(errors.contains(words), "{errors}");
}

#[test]
fn an_array_has_a_row_per_photo_in_the_order_of_the_list_beside_it() {
    let f = Fixture::new();
    let photos = f.photos();
    for (i, options) in [["1", "1"], ["3", "2"]].iter().enumerate() {
        let path = f.path(&format!("features{i}.npy"));
        let output = path.to_str().unwrap();
        let [threads, batch] = options;
        let arguments = ["--embed", "--output", output, "--threads", threads, "--batch", batch];
        f.embed(&arguments, &photos).code(1);
        let (shape, numbers) = array(&path);
        assert_eq!((shape.as_str(), numbers.len()), ("3, 3", 9));
        let numbers: Vec<f64> = numbers.into_iter().map(f64::from).collect();
        assert!(close(&numbers[..3], &[10.0, 2.0, 0.0]), "{numbers:?}");
        assert!(numbers[3..6].iter().all(|v| v.is_nan()), "{numbers:?}");
        assert!(close(&numbers[6..], &[0.0, 0.0, 4.0]), "{numbers:?}");
        let list = lines(&fs::read_to_string(path.with_extension("jsonl")).unwrap());
        let paths: Vec<_> = list.iter().map(|line| line["path"].as_str().unwrap()).collect();
        assert_eq!(paths, photos.each_ref().map(|path| path.to_str().unwrap()));
        assert!(list.iter().all(|line| line.get("embedding").is_none()));
    }
}

/// Wherever both files end, continuing them gives what an uninterrupted command writes.
#[test]
fn an_array_is_continued() {
    let f = Fixture::new();
    let photos = f.photos();
    let photos: Vec<PathBuf> = photos.iter().cycle().take(7).cloned().collect();
    let (array, list) = (f.path("features.npy"), f.path("features.jsonl"));
    let arguments = ["--embed", "--resume", "--output", array.to_str().unwrap()];
    f.embed(&arguments, &photos).code(1);
    let whole = [&array, &list].map(|path| fs::read(path).unwrap());
    let row = (whole[0].len() - 128) / 7;
    let ends = whole[1].iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1);
    for (photos_done, end) in ends.enumerate() {
        // The row of the next photo is written in part or whole, its line in part.
        for (more_of_array, more_of_list) in [(0, 0), (5, 0), (row, 0), (row, 9)] {
            let cut = |whole: &[u8], end: usize| whole[..end.min(whole.len())].to_vec();
            fs::write(&array, cut(&whole[0], 128 + (photos_done + 1) * row + more_of_array))
                .unwrap();
            fs::write(&list, cut(&whole[1], end + more_of_list)).unwrap();
            f.embed(&arguments, &photos);
            assert_eq!(fs::read(&array).unwrap(), whole[0]);
            assert_eq!(fs::read(&list).unwrap(), whole[1]);
        }
    }
    // A row that has no line in the list is written again, but no array of more rows.
    fs::write(&list, b"").unwrap();
    let errors = stderr(&f.embed(&arguments, &photos).code(2));
    assert!(errors.contains("features.npy: the file cannot be continued"), "{errors}");
    fs::write(&array, &whole[0][..128 + row]).unwrap();
    f.embed(&arguments, &photos).code(1);
    assert_eq!(fs::read(&array).unwrap(), whole[0]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let f = Fixture::new();
    let photos = &f.photos()[..1];
    let path = |name: &str| f.path(name).to_str().unwrap().to_string();
    f.file("old.npy", b"something");
    f.file("other.npy", b"something");
    f.file("other.jsonl", b"{\"path\": \"x\"}\n");
    for (arguments, words) in [
        (&["--embed"][..], "--embed needs --format npy, json or parquet"),
        (&["--embed", "--format", "csv"], "--embed needs --format npy, json or parquet"),
        (&["--embed", "--format", "npy"], "add --output FILE"),
        (&["--output", &path("x.npy")], "add --embed"),
        (&["--embed", "--output", &path("old.npy")], "old.npy: the file has contents"),
        (&["--embed", "--output", &path("other.npy")], "other.jsonl: the file has contents"),
        (&["--embed", "--output", "/dev/null", "--format", "npy"], "to a regular file"),
    ] {
        let errors = stderr(&f.embed(arguments, photos).code(2));
        assert!(errors.contains(words), "{words} in {errors}");
    }
    assert_eq!(fs::read(f.path("old.npy")).unwrap(), b"something");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_program_without_parquet_says_how_to_build_it() {
    let f = Fixture::new();
    let output = f.path("x.parquet");
    let errors = stderr(&f.embed(&["--output", output.to_str().unwrap()], &f.photos()).code(2));
    assert!(
        errors.contains("build it with `cargo build --release --features parquet`"),
        "{errors}"
    );
    assert!(!output.exists());
}
