//! How photos are prepared and classes are named, by arguments, by the file, or by the network's shape.

use super::*;

impl Fixture {
    /// Converts the classifier with more arguments, and returns what the new file states.
    fn converted(&self, arguments: &[&str]) -> (serde_json::Value, String) {
        let path = self.path("new.safetensors");
        let mut command = dyrelu(&["convert"]);
        command.arg(self.path("colours.safetensors")).arg(&path).args(arguments).assert().code(0);
        let model = dyrelu::Model::open(&path).unwrap();
        let preprocess = serde_json::from_str(model.metadata("preprocess").unwrap()).unwrap();
        (preprocess, model.metadata("labels").unwrap().to_string())
    }
}

#[test]
fn presets_and_parts_of_a_preparation_can_be_given() {
    let f = Fixture::new();
    let (own, _) = f.converted(&[]);
    assert_eq!(own["resize"]["exact"], serde_json::json!([16, 16]));
    let (part, _) = f.converted(&["--mean", "0.5,0.25,0", "--interpolation", "bicubic"]);
    assert_eq!(part["mean"], serde_json::json!([0.5, 0.25, 0.0]));
    assert_eq!((&part["interpolation"], &part["resize"]), (&"bicubic".into(), &own["resize"]));
    let (clip, _) = f.converted(&["--preprocess", "clip", "--crop", "none", "--resize", "8x9"]);
    assert_eq!(clip["resize"]["exact"], serde_json::json!([8, 9]));
    assert!(clip["center_crop"].is_null() && clip["interpolation"] == "bicubic", "{clip}");
    let json = r#"{"mean": [0, 0, 0], "std": [2, 2, 2]}"#;
    let (inline, _) = f.converted(&["--preprocess", json]);
    assert_eq!(inline["std"], serde_json::json!([2.0, 2.0, 2.0]));
    let photo = f.photo("a.png", [0, 0, 250]);
    f.classify(&["--preprocess", json, "--resize", "4", "--crop", "3x5"], &[&photo]).code(0);
    let errors = stderr(&f.classify(&["--preprocess", "imagnet"], &[&photo]).code(2));
    assert!(errors.contains("imagnet: No such file"), "{errors}");
    let errors = stderr(&f.classify(&["--std", "0,1,1"], &[&photo]).code(2));
    assert!(errors.contains("no usable number"), "{errors}");
}

#[test]
fn class_names_are_read_from_tables_and_json() {
    let f = Fixture::new();
    let table = f.file("names.tsv", b"id\tname\n1\tvert\n0\trouge\n2\tbleu\n");
    let table = table.to_str().unwrap();
    assert_eq!(f.converted(&["--labels", table]).1, "rouge\nvert\nbleu");
    assert_eq!(f.converted(&["--labels", table, "--labels-column", "id"]).1, "1\n0\n2");
    let json = f.file("config.json", br#"{"id2label": {"0": "a", "1": "b", "2": "c"}}"#);
    assert_eq!(f.converted(&["--labels", json.to_str().unwrap()]).1, "a\nb\nc");
    let titled = f.file("names.txt", b"label\nrouge\nvert\nbleu\n");
    let photo = f.photo("a.png", [0, 0, 250]);
    let run = f.classify(&["--labels", titled.to_str().unwrap()], &[&photo]).code(0);
    assert!(stdout(&run).contains("%  bleu") && stderr(&run).contains("read as a title"));
    let errors = stderr(&f.classify(&["--labels", "imagenet"], &[&photo]).code(2));
    assert!(errors.contains("1000 class names, and the network has 3 classes"), "{errors}");
}

/// A network with the shape of a classifier of ImageNet, whose file says nothing more.
#[test]
fn a_network_of_imagenets_shape_needs_no_options() {
    let f = Fixture::new();
    let mut g = Graph::new("thousand");
    let dims = vec![Dim::symbol("N"), 3.into(), 224.into(), 224.into()];
    let x = g.add_input("x", TensorType { dtype: DType::F32, dims });
    // The score of class 1, a goldfish, is the brightness of red.
    let mut weights = vec![0f32; 3000];
    weights[3] = 10.0;
    let w = g.add_constant("w", Tensor::new(&[1000, 3, 1, 1], weights).unwrap());
    let (padding, none) = (Padding::Explicit(vec![]), Vec::new);
    let conv = Conv { padding, strides: none(), dilations: none(), groups: 1 };
    let mean = g.apply("mean", Op::GlobalPool(PoolKind::Average), &[x]);
    let scaled = g.apply("conv", Op::Conv(conv), &[mean, w]);
    let y = g.apply("y", Op::Flatten { axis: 1 }, &[scaled]);
    g.set_outputs(vec![y]);
    let model = f.path("thousand.safetensors");
    write(&g, None, &model, WeightStorage::F32).unwrap();
    let photo = f.photo("a.png", [250, 0, 0]);
    let classify = |arguments: &[&str]| {
        let mut command = dyrelu(&["classify", "--top", "1", "--model"]);
        command.arg(&model).arg(&photo).args(arguments).assert().code(0)
    };
    let run = classify(&[]);
    assert!(stdout(&run).contains("%  goldfish"), "{}", stdout(&run));
    assert_eq!(stderr(&run).matches("note: ").count(), 2, "{}", stderr(&run));
    let explicit = classify(&["--preprocess", "imagenet", "--labels", "imagenet"]);
    assert_eq!(stdout(&explicit), stdout(&run));
    assert!(stderr(&explicit).is_empty(), "{}", stderr(&explicit));
}
