//! `dyrelu keypoints`: formats, boxes and pictures, and what it refuses.

use dyrelu::graph::Pool;

use super::hostile::refuses;
use super::*;

impl Fixture {
    /// Writes a network of two key points, whose heat maps are the red and the green of its input.
    fn key_points(&self) -> PathBuf {
        let mut g = Graph::new("two");
        let dims = vec![Dim::symbol("N"), 3.into(), 32.into(), 32.into()];
        let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
        let pool = Pool {
            kind: PoolKind::Average,
            kernel: vec![4, 4],
            strides: vec![4, 4],
            dilations: vec![],
            padding: Padding::Explicit(vec![]),
            ceil_mode: false,
            count_include_pad: false,
            column_major: false,
        };
        let pooled = g.apply("pooled", Op::Pool(pool), &[x]);
        let select = Tensor::new(&[2, 3, 1, 1], vec![1f32, 0.0, 0.0, 0.0, 1.0, 0.0]).unwrap();
        let select = g.add_constant("select", select);
        let conv = Conv {
            padding: Padding::Explicit(vec![]),
            strides: vec![],
            dilations: vec![],
            groups: 1,
        };
        let y = g.apply("y", Op::Conv(conv), &[pooled, select]);
        g.set_outputs(vec![y]);
        let preprocess = r#"{"resize": {"exact": [32, 32]}, "mean": [0, 0, 0], "std": [1, 1, 1]}"#;
        let scheme = r#"{"decoder": "heatmaps", "scale": 1.0,
            "skeleton": {"names": ["red", "green"], "edges": [[0, 1]], "pairs": [[0, 1]]}}"#;
        g.metadata.insert("preprocess".into(), preprocess.into());
        g.metadata.insert("keypoints".into(), scheme.into());
        let path = self.path("two.safetensors");
        write(&g, None, &path, WeightStorage::F32).unwrap();
        path
    }

    /// A photo of 64 x 64 pixels with a red square at the left and a green one at the right.
    fn squares(&self, name: &str) -> PathBuf {
        let mut photo = RgbImage::new(64, 64);
        for (y, x) in (24..40).flat_map(|y| (0..16).map(move |x| (y, x))) {
            photo.put_pixel(8 + x, y, Rgb([255, 0, 0]));
            photo.put_pixel(40 + x, y, Rgb([0, 255, 0]));
        }
        let path = self.path(name);
        photo.save(&path).unwrap();
        path
    }

    fn keypoints(&self, arguments: &[&str]) -> Command {
        let mut command = dyrelu(&["keypoints", "--model"]);
        command.arg(self.key_points()).args(arguments);
        command
    }

    fn annotations(&self) -> PathBuf {
        let text = r#"{
            "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "empty.png"}],
            "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {"image_id": 7, "category_id": 1, "bbox": [0, 0, 64, 64], "num_keypoints": 2},
                {"image_id": 7, "category_id": 1, "bbox": [0, 0, 32, 64], "num_keypoints": 0},
                {"image_id": 7, "category_id": 1, "bbox": [0, 0, 32, 64], "iscrowd": 1},
                {"image_id": 7, "category_id": 2, "bbox": [0, 0, 32, 64]}
            ]}"#;
        self.file("boxes.json", text.as_bytes())
    }
}

#[test]
fn key_points_are_printed_in_every_format() {
    let fixture = Fixture::new();
    let photo = fixture.squares("a.png");
    let text = stdout(&fixture.keypoints(&[]).arg(&photo).assert().success());
    assert!(text.contains("person 1, mean score 1.00"), "{text}");
    let csv =
        stdout(&fixture.keypoints(&["--format", "csv", "--flip"]).arg(&photo).assert().success());
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("path,person,keypoint,x,y,score"));
    assert!(lines.next().unwrap().contains(",1,red,"), "{csv}");
    let boxes = ["--format", "json", "--boxes", "0,0,64,64", "--boxes", "-8,0,40,64"];
    let json = stdout(&fixture.keypoints(&boxes).arg(&photo).assert().success());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["persons"].as_array().unwrap().len(), 2);
    let red = &json["persons"][0]["keypoints"][0];
    assert_eq!(red["name"], "red");
    assert!((8.0..=24.0).contains(&red["x"].as_f64().unwrap()), "{red}");
    assert!((24.0..=40.0).contains(&red["y"].as_f64().unwrap()), "{red}");
}

#[test]
fn boxes_of_coco_give_results_for_pycocotools() {
    let fixture = Fixture::new();
    let (photo, boxes) = (fixture.squares("a.png"), fixture.annotations());
    let empty = fixture.squares("empty.png");
    let arguments = ["--format", "coco", "--boxes", boxes.to_str().unwrap()];
    let coco = stdout(&fixture.keypoints(&arguments).args([&photo, &empty]).assert().success());
    let coco: serde_json::Value = serde_json::from_str(&coco).unwrap();
    let results = coco.as_array().unwrap();
    assert_eq!(results.len(), 1, "{coco}");
    assert_eq!((&results[0]["image_id"], &results[0]["category_id"]), (&7.into(), &1.into()));
    assert_eq!(results[0]["keypoints"].as_array().unwrap().len(), 6);
    let other = fixture.squares("other.png");
    let run = fixture.keypoints(&arguments).args([&photo, &other]).assert().code(1);
    let errors = stderr(&run);
    assert!(errors.contains("has no image with the name of this photo"), "{errors}");
}

#[test]
fn pictures_show_what_was_found() {
    let fixture = Fixture::new();
    let photo = fixture.squares("a.png");
    let picture = fixture.path("drawn.png");
    let draw = ["--heatmaps", "--draw", picture.to_str().unwrap()];
    fixture.keypoints(&draw).arg(&photo).assert().success();
    let drawn = image::open(&picture).unwrap().to_rgb8();
    assert_eq!(drawn.dimensions(), (64, 64));
    assert_ne!(drawn, image::open(&photo).unwrap().to_rgb8());
    let folder = fixture.path("drawn");
    let draw = ["--draw", folder.to_str().unwrap()];
    fixture.keypoints(&draw).args([&photo, &photo]).assert().success();
    assert!(folder.join("a.png").is_file() && folder.join("a-2.png").is_file());
    let to_one = ["--draw", picture.to_str().unwrap()];
    refuses(
        fixture.keypoints(&to_one).args([&photo, &photo]),
        "2 photos cannot be drawn in one file",
    );
}

#[test]
fn what_cannot_be_used_is_refused_with_a_sentence() {
    let fixture = Fixture::new();
    let photo = fixture.squares("photo.png");
    let classifier = fixture.path("colours.safetensors");
    let with_classifier = |arguments: &[&str]| {
        let mut command = dyrelu(&["keypoints", "--model"]);
        command.arg(&classifier).args(arguments).arg(&photo);
        command
    };
    refuses(&mut with_classifier(&[]), "does not say how its outputs give key points");
    refuses(&mut with_classifier(&["--decoder", "movenet"]), "the network gives no key points");
    let run = fixture.keypoints(&["--boxes", "70,0,5,5"]).arg(&photo).assert().code(1);
    assert!(stderr(&run).contains("the box 70,0,5,5 lies outside of the photo, which has 64 x 64"));
    let run = fixture.keypoints(&["--boxes", "7,0,0,5"]).arg(&photo).assert().code(1);
    assert!(stderr(&run).contains("the box 7,0,0,5 is empty"));
    let run = fixture.keypoints(&["--format", "coco"]).arg(&photo).assert().code(1);
    assert!(stderr(&run).contains("needs the number of the image"));
    let mut convert = dyrelu(&["convert", "--note", r#"keypoints={"decoder": "other"}"#]);
    let run = convert.arg(&classifier).arg(fixture.path("x.safetensors")).assert().code(2);
    assert!(stderr(&run).contains("the scheme of key points cannot be read"), "{}", stderr(&run));
    let three = ["--boxes", "1,2,3"];
    refuses(fixture.keypoints(&three).arg(&photo), "\"1,2,3\" is no box");
    let jpeg = ["--draw", "drawn.jpg"];
    refuses(fixture.keypoints(&jpeg).arg(&photo), "--draw writes PNG only");
    let poses = fixture.key_points();
    let mut classify = dyrelu(&["classify", "--model"]);
    refuses(classify.arg(&poses).arg(&photo), "the network is no classifier");
    let two = ["--boxes", "1,2,3,4", "--boxes", "1,2,3"];
    refuses(fixture.keypoints(&two).arg(&photo), "\"1,2,3\" is no box");
    let no_boxes = fixture.file("no.json", b"{}");
    let arguments = ["--boxes", no_boxes.to_str().unwrap()];
    refuses(fixture.keypoints(&arguments).arg(&photo), "is no file with COCO's annotations");
}
