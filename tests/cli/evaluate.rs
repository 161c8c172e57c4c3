//! `dyrelu evaluate`, on three colours.

use super::*;

impl Fixture {
    /// Writes photos, each with its folder, and returns the folder of all.
    fn album(&self, photos: &[(&str, &str, [u8; 3])]) -> PathBuf {
        for (folder, name, colour) in photos {
            fs::create_dir_all(self.path("album").join(folder)).unwrap();
            self.photo(&format!("album/{folder}/{name}"), *colour);
        }
        self.path("album")
    }

    fn evaluate(&self, album: &Path, arguments: &[&str]) -> Assert {
        let mut command = dyrelu(&["evaluate", "--model"]);
        command.arg(self.path("colours.safetensors")).arg(album).args(arguments).assert()
    }
}

#[test]
fn accuracy_is_counted_by_folder() {
    let f = Fixture::new();
    let album = f.album(&[
        ("red", "a.png", [250, 0, 0]),
        ("red", "b.png", [0, 250, 0]),
        ("Green", "c.png", [0, 250, 0]),
        ("2", "d.png", [0, 0, 250]),
        (".thumbnails", "e.png", [0, 0, 250]),
    ]);
    let confusion = f.path("confusion.csv");
    let run = f.evaluate(&album, &["--format", "json", "--confusion", confusion.to_str().unwrap()]);
    let e: serde_json::Value = serde_json::from_str(&stdout(&run.code(0))).unwrap();
    assert_eq!(
        (&e["photos"], &e["top1"], &e["top5"]),
        (&4.into(), &0.75.into(), &1.0.into()),
        "{e}"
    );
    assert_eq!(e["classes"][0]["most_often_taken_for"], "green");
    assert_eq!(e["classes"][0]["top1"], 0.5);
    assert!(e["mistakes"][0]["path"].as_str().unwrap().ends_with("b.png"), "{e}");
    assert_eq!(
        (&e["mistakes"][0]["class"], &e["mistakes"][0]["predicted"]),
        (&"red".into(), &"green".into())
    );
    // The scores are almost 1, and three of four are right.
    assert!((e["calibration_error"].as_f64().unwrap() - 0.25).abs() < 0.01, "{e}");
    let matrix = fs::read_to_string(confusion).unwrap();
    assert_eq!(matrix, "class,red,green,blue\nred,1,1,0\ngreen,0,1,0\nblue,0,0,1\n");
    // The photos that a pattern names lie in the folders of their classes.
    let red = f.path("album/red/*.png");
    let text = stdout(&f.evaluate(&red, &[]).code(0));
    assert!(text.starts_with("2 photos of 1 class: top-1 50.0%"), "{text}");
    let text = stdout(&f.evaluate(&album, &[]).code(0));
    assert!(text.starts_with("4 photos of 3 classes: top-1 75.0% (95% interval "), "{text}");
    let markdown = stdout(&f.evaluate(&album, &["--format", "markdown"]).code(0));
    assert!(markdown.contains("| red | 2 | 50.0% | 100.0% | green |"), "{markdown}");
}

#[test]
fn a_report_has_tables_and_pictures() {
    let f = Fixture::new();
    let album = f.album(&[
        ("red", "a.png", [250, 0, 0]),
        ("red", "b.png", [0, 250, 0]),
        ("green", "c.png", [0, 250, 0]),
    ]);
    let folder = f.path("report");
    let occupied = f.file("occupied", b"");
    let run = f.evaluate(&album, &["--report", occupied.to_str().unwrap()]).code(2);
    assert!(stderr(&run).contains("occupied: expected a folder, found a file"), "{}", stderr(&run));
    let run = f.evaluate(&f.path("nowhere"), &[]).code(2);
    assert!(stderr(&run).contains("nowhere: "), "{}", stderr(&run));
    let run = f.evaluate(&album, &["--report", folder.to_str().unwrap(), "--format", "markdown"]);
    let text = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(text.starts_with(&stdout(&run.code(0))), "{text}");
    let json = fs::read_to_string(folder.join("report.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["photos"], 3);
    for name in ["mistakes.png", "calibration.svg", "confusion.png"] {
        assert!(text.contains(&format!("({name})")) && folder.join(name).is_file(), "{name}");
    }
    // Red was taken for red and for green, and green for green.
    let matrix = image::open(folder.join("confusion.png")).unwrap().to_rgb8();
    assert_eq!(matrix.dimensions(), (80, 80));
    let cells = [(20, 20), (60, 20), (20, 60), (60, 60)].map(|(x, y)| matrix.get_pixel(x, y).0);
    assert_eq!(cells, [[33, 145, 140], [33, 145, 140], [255; 3], [253, 231, 37]]);
    // The one mistake is green, in a white frame.
    let sheet = image::open(folder.join("mistakes.png")).unwrap().to_rgb8();
    assert_eq!(sheet.dimensions(), (176, 176));
    assert_eq!((sheet.get_pixel(3, 3).0, sheet.get_pixel(88, 88).0), ([255; 3], [0, 250, 0]));
}

#[test]
fn predictions_of_classify_give_the_same_report() {
    let f = Fixture::new();
    let album = f.album(&[
        ("red", "a.png", [250, 0, 0]),
        ("red", "b.png", [0, 250, 0]),
        ("blue", "c.png", [0, 0, 250]),
    ]);
    f.file("album/blue/text.jpg", b"this is no photo");
    let report = stdout(&f.evaluate(&album, &[]).code(1));
    assert!(report.starts_with("3 photos of 2 classes: top-1 66.7%"), "{report}");
    for name in ["out.csv", "out.json"] {
        let file = f.path(name);
        f.classify(&["--output", file.to_str().unwrap()], &[&album]).code(1);
        let run = f.evaluate(&album, &["--predictions", file.to_str().unwrap()]).code(1);
        assert_eq!(stdout(&run), report);
        assert!(stderr(&run).contains("text.jpg: "), "{}", stderr(&run));
    }
    let file = f.path("best.csv");
    f.classify(&["--top", "1", "--output", file.to_str().unwrap()], &[&album]).code(1);
    let run = f.evaluate(&album, &["--predictions", file.to_str().unwrap()]).code(1);
    assert!(stderr(&run).contains("the file has 1 prediction per photo"), "{}", stderr(&run));
}

#[test]
fn classes_may_be_in_a_table_or_in_the_order_of_folders() {
    let f = Fixture::new();
    let album = f.album(&[("x", "a.png", [250, 0, 0]), ("y", "b.png", [0, 250, 0])]);
    let table = f.file("classes.csv", b"file,label\na.png,red\nb.png,2\n");
    let run = f.evaluate(&album, &["--index", table.to_str().unwrap()]).code(0);
    assert!(stdout(&run).contains("top-1 50.0%"), "{}", stdout(&run));
    let errors = stderr(&f.evaluate(&album, &[]).code(2));
    assert!(errors.contains("\"x\" is no class of the network"), "{errors}");
    f.album(&[("z", "c.png", [0, 0, 250])]);
    let run = f.evaluate(&album, &[]).code(0);
    assert!(stdout(&run).contains("top-1 100.0%"), "{}", stdout(&run));
    assert!(stderr(&run).contains("their order is that of the classes"), "{}", stderr(&run));
    f.file("album/z/text.jpg", b"this is no photo");
    let run = f.evaluate(&album, &["--index", table.to_str().unwrap()]).code(1);
    assert!(stdout(&run).contains("not evaluated: 2 photos"), "{}", stdout(&run));
    assert!(stderr(&run).contains("c.png: the table of classes does not have"), "{}", stderr(&run));
}

/// A network of key points, for which its own results are annotated.
#[test]
fn key_points_that_are_annotated_as_found_are_all_right() {
    let f = Fixture::new();
    let photo = f.path("tower.jpg");
    fs::copy("examples/photos/tower.jpg", &photo).unwrap();
    let mut found = dyrelu(&["keypoints", "--model", "movenet-lightning", "--format", "json"]);
    let found = stdout(&found.arg("--boxes").arg("20,20,80,120").arg(&photo).assert().code(0));
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let points = found["persons"][0]["keypoints"].as_array().unwrap().iter();
    let points: Vec<_> = points.flat_map(|p| [p["x"].clone(), p["y"].clone(), 2.into()]).collect();
    let annotations = |keypoints: &[serde_json::Value], area: f64| {
        let file = serde_json::json!({
            "images": [{"id": 3, "file_name": "tower.jpg"}],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [{"image_id": 3, "category_id": 1, "bbox": [20, 20, 80, 120],
                "area": area, "num_keypoints": 17, "keypoints": keypoints}],
        });
        f.file("persons.json", file.to_string().as_bytes())
    };
    let evaluate = |model: &Path, boxes: &Path, arguments: &[&str]| {
        let mut command = dyrelu(&["evaluate", "--model"]);
        command.arg(model).arg("--boxes").arg(boxes).arg(&photo).args(arguments).assert()
    };
    let network = Path::new("movenet-lightning");
    let run = evaluate(network, &annotations(&points, 5000.0), &["--format", "json"]).code(0);
    let e: serde_json::Value = serde_json::from_str(&stdout(&run)).unwrap();
    assert_eq!((&e["persons"], &e["ap"], &e["pck"]), (&1.into(), &1.0.into(), &1.0.into()), "{e}");
    assert_eq!((&e["ap_medium"], &e["ap_large"]), (&1.0.into(), &().into()), "{e}");
    let mut moved = points.clone();
    moved[0] = 0.into();
    let text = stdout(&evaluate(network, &annotations(&moved, 5000.0), &[]).code(0));
    assert!(text.starts_with("1 person in 1 photo: AP 0.900, PCK@0.2 0.941"), "{text}");
    let errors = stderr(&evaluate(network, &annotations(&points[..9], 1.0), &[]).code(2));
    assert!(errors.contains("has 9 numbers for key points, expected 51"), "{errors}");
    let run = evaluate(network, &annotations(&points, 5000.0), &[photo.to_str().unwrap()]).code(1);
    assert!(stderr(&run).contains("this image was evaluated before"), "{}", stderr(&run));
    let mut nobody = serde_json::json!({"images": [{"id": 3, "file_name": "tower.jpg"}]});
    nobody["annotations"] = serde_json::json!([]);
    let nobody = f.file("nobody.json", nobody.to_string().as_bytes());
    let errors = stderr(&evaluate(network, &nobody, &[]).code(2));
    assert!(
        errors.contains("nobody.json: there is no person with labelled key points"),
        "{errors}"
    );
    let classifier = f.path("colours.safetensors");
    let errors = stderr(&evaluate(&classifier, &annotations(&points, 1.0), &[]).code(2));
    assert!(errors.contains("key points"), "{errors}");
    let other = f.file("other.json", br#"{"images": [], "annotations": []}"#);
    let errors = stderr(&evaluate(network, &other, &[]).code(2));
    assert!(errors.contains("has no image with the name of this photo"), "{errors}");
}
