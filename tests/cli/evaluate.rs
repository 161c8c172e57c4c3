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
    let text = stdout(&f.evaluate(&album, &[]).code(0));
    assert!(text.starts_with("4 photos of 3 classes: top-1 75.0% (95% interval "), "{text}");
    let markdown = stdout(&f.evaluate(&album, &["--format", "markdown"]).code(0));
    assert!(markdown.contains("| red | 2 | 50.0% | 100.0% | green |"), "{markdown}");
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
    assert!(stdout(&run).contains("2 photos were not evaluated"), "{}", stdout(&run));
    assert!(stderr(&run).contains("c.png: the table of classes does not have"), "{}", stderr(&run));
}
