//! How photos are prepared and what the classes are called: what arguments, the model file, or the shape of
//! the network say.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{labels, messages};
use dyrelu::format::read_text;
use dyrelu::graph::TensorType;
use dyrelu::vision::{Interpolation, Labels, Preprocess, Resize, class_count};
use dyrelu::{Error, Model, Result};

/// The options for preparing photos and naming classes.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Preparation of photos and names of classes")]
pub struct Preparation {
    /// Preparation of photos, in place of that of the model file.
    ///
    /// `imagenet` is torchvision's usual one, `imagenet-inception` has a mean and a standard deviation
    /// of 0.5, and `clip` is that of CLIP. All three fit the size of the network's input. Otherwise it
    /// is JSON, or a file with JSON: {"resize": {"shorter_side": 256}, "interpolation": "bicubic",
    /// "center_crop": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}.
    /// `timm:FILE` reads timm's config.json, and `hf:FILE` Hugging Face's preprocessor_config.json.
    #[arg(long, value_name = "imagenet|imagenet-inception|clip|timm:FILE|hf:FILE|JSON|FILE")]
    preprocess: Option<String>,
    /// Mean of red, green and blue, from 0 to 1.
    #[arg(long, value_name = "R,G,B", value_parser = triple, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, from 0 to 1.
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    std: Option<[f32; 3]>,
    /// Size after the resize: of the shorter side, or of both.
    #[arg(long, value_name = "SIDE|HEIGHTxWIDTH|none", value_parser = size)]
    resize: Option<Size>,
    /// Size of the part that is cut from the centre after the resize.
    #[arg(long, value_name = "SIDE|HEIGHTxWIDTH|none", value_parser = size)]
    crop: Option<Size>,
    /// Filter of the resize.
    #[arg(long, value_name = "FILTER", value_parser = ["nearest", "bilinear", "bicubic", "lanczos"])]
    interpolation: Option<String>,
    /// Class names, in place of those of the model file.
    ///
    /// A file with one name per line, a table (CSV or TSV), or JSON: a list, a map from the number of
    /// the class, or the configuration of a model at Hugging Face, which has `id2label`. `imagenet`
    /// names the 1000 classes of ImageNet.
    #[arg(long, value_name = "imagenet|FILE")]
    labels: Option<PathBuf>,
    /// Column of the names in a table: its name, or its number from 1.
    #[arg(long, value_name = "COLUMN", requires = "labels")]
    labels_column: Option<String>,
}

fn triple(text: &str) -> std::result::Result<[f32; 3], String> {
    let numbers = text.split(',').map(|number| number.trim().parse::<f32>());
    let numbers = numbers.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    numbers.try_into().map_err(|_| "expected three numbers, such as 0.5,0.5,0.5".into())
}

/// A size in pixels.
#[derive(Clone, Copy)]
enum Size {
    None,
    Side(u32),
    Both([u32; 2]),
}

fn size(text: &str) -> std::result::Result<Size, String> {
    let side = |text: &str| text.parse::<u32>().ok();
    let size = match text.split_once('x') {
        _ if text == "none" => Some(Size::None),
        Some((height, width)) => {
            side(height).zip(side(width)).map(|(height, width)| Size::Both([height, width]))
        }
        None => side(text).map(Size::Side),
    };
    size.ok_or("expected pixels, such as 256 or 256x320, or none".into())
}

/// The network for which photos are prepared, as far as it states its sizes.
pub struct Network {
    /// Height and width of its input.
    size: Option<[u32; 2]>,
    scores: Option<TensorType>,
}

impl Network {
    pub fn new(input: Option<&TensorType>, scores: Option<&TensorType>) -> Self {
        let size = input.and_then(|ty| match ty.dims.as_slice() {
            [_, channels, height, width] if channels.as_size() == Some(3) => {
                let side = |size: usize| u32::try_from(size).ok();
                side(height.as_size()?).zip(side(width.as_size()?))
            }
            _ => None,
        });
        Network { size: size.map(|(height, width)| [height, width]), scores: scores.cloned() }
    }

    fn of(model: &Model) -> Self {
        let ty = |port: Option<&dyrelu::Port>| port.and_then(|port| port.ty.clone());
        let (input, scores) = (ty(model.inputs().first()), ty(model.outputs().first()));
        Self::new(input.as_ref(), scores.as_ref())
    }

    /// Whether it looks like a classifier of ImageNet.
    fn resembles_imagenet(&self) -> bool {
        self.size == Some([224, 224]) && labels::count(self.scores.as_ref()) == Some(1000)
    }
}

impl Preparation {
    /// The preparation of photos and the names of the classes of a model. What neither the arguments nor
    /// the file state is that of ImageNet if the network has its shape.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](dyrelu::ErrorKind::Input) if the network is no classifier.
    pub fn of_model(&self, model: &Model) -> Result<(Preprocess, Labels)> {
        check_scores(model)?;
        let preprocess = self.photos_of_model(model)?;
        let network = Network::of(model);
        let labels = match self.labels(&network)? {
            Some(lines) => Labels::from_lines(&lines),
            None if model.metadata("labels").is_none() && network.resembles_imagenet() => {
                messages::note("the classes are named as those of ImageNet; --labels names others");
                Labels::from_lines(labels::IMAGENET)
            }
            None => Labels::from_model(model)?,
        };
        Ok((preprocess, labels))
    }

    /// The preparation of photos of a model, as in [`of_model`](Self::of_model).
    pub fn photos_of_model(&self, model: &Model) -> Result<Preprocess> {
        let network = Network::of(model);
        let stated = model.metadata("preprocess").map(Preprocess::from_json).transpose()?;
        let guessed = stated.is_none() && network.resembles_imagenet();
        let base = stated.or_else(|| guessed.then(Preprocess::imagenet));
        let preprocess = self.preprocess(&network, base)?.ok_or_else(|| {
            Error::input(
                "the model file does not state how photos are prepared; add --preprocess imagenet, \
                 imagenet-inception, clip or a JSON file, or --mean and --std",
            )
        })?;
        if guessed && self.preprocess.is_none() {
            messages::note(
                "the model file does not state how photos are prepared, so that of ImageNet is \
                 assumed; --preprocess states another",
            );
        }
        Ok(preprocess)
    }

    /// The preparation that the arguments state, where `base` is that of the file. `None` if neither
    /// states one.
    pub fn preprocess(
        &self,
        network: &Network,
        base: Option<Preprocess>,
    ) -> Result<Option<Preprocess>> {
        let named =
            self.preprocess.as_deref().map(|name| preset(name, network.size)).transpose()?;
        let mut json = match named.or(base) {
            Some(preprocess) => to_value(&preprocess)?,
            None if self.has_parts() => json!({}),
            None => return Ok(None),
        };
        let mut set = |key: &str, value: Value| json[key] = value;
        if let Some(mean) = self.mean {
            set("mean", json!(mean));
        }
        if let Some(std) = self.std {
            set("std", json!(std));
        }
        match self.resize {
            Some(Size::None) => set("resize", Value::Null),
            Some(Size::Side(side)) => set("resize", json!({ "shorter_side": side })),
            Some(Size::Both(size)) => set("resize", json!({ "exact": size })),
            None => {}
        }
        match self.crop {
            Some(Size::None) => set("center_crop", Value::Null),
            Some(Size::Side(side)) => set("center_crop", json!([side, side])),
            Some(Size::Both(size)) => set("center_crop", json!(size)),
            None => {}
        }
        if let Some(filter) = &self.interpolation {
            set("interpolation", json!(filter));
        }
        Preprocess::from_json(&json.to_string()).map(Some)
    }

    /// The options of a command that has `--preprocess` alone.
    pub fn of_argument(preprocess: Option<String>) -> Self {
        Preparation { preprocess, ..Preparation::default() }
    }

    /// Whether the arguments state a part of a preparation.
    fn has_parts(&self) -> bool {
        self.mean.is_some()
            || self.std.is_some()
            || self.resize.is_some()
            || self.crop.is_some()
            || self.interpolation.is_some()
    }

    /// The class names that the arguments state, one per line.
    pub fn labels(&self, network: &Network) -> Result<Option<String>> {
        let Some(path) = &self.labels else { return Ok(None) };
        labels::read(path, self.labels_column.as_deref(), network.scores.as_ref()).map(Some)
    }
}

/// Checks that the first output has a score per class, as far as its shape is known.
pub fn check_scores(model: &Model) -> Result<()> {
    let Some(mut shape) = model.outputs().first().and_then(dyrelu::Port::shape) else {
        return Ok(());
    };
    if shape.len() > 1 {
        // One image, also of a network whose batch is fixed.
        shape[0] = Some(1);
    }
    let known: Vec<usize> = shape.iter().map(|size| size.unwrap_or(1)).collect();
    if class_count(&known, 1).is_some() {
        return Ok(());
    }
    let hint = match model.metadata("keypoints") {
        Some(_) => "; `dyrelu keypoints` and `dyrelu evaluate --boxes` run it",
        None => "; `dyrelu inspect` shows its outputs",
    };
    Err(Error::input(format!(
        "the network is no classifier: expected a score per class, [batch, classes], found an output of \
         shape {known:?} per image{hint}"
    )))
}

/// The preparation that an argument names, for the network of a model.
pub fn named(argument: &str, model: &Model) -> Result<Preprocess> {
    preset(argument, Network::of(model).size)
}

fn to_value(preprocess: &Preprocess) -> Result<Value> {
    let json = preprocess.to_json()?;
    serde_json::from_str(&json).map_err(|e| Error::format(e.to_string()))
}

/// The preparation of a name, of JSON, or of a file, for a network whose input has the height and width
/// `size`.
fn preset(argument: &str, size: Option<[u32; 2]>) -> Result<Preprocess> {
    let centre = |preprocess: Preprocess, side: u32, of: u32| {
        let [height, width] = size.unwrap_or([side, side]);
        // The part that is cut out has the same share of the photo at every size.
        let shorter = u64::from(height.min(width)) * u64::from(of) / u64::from(side);
        let shorter = u32::try_from(shorter).unwrap_or(u32::MAX);
        preprocess.resize(Resize::ShorterSide(shorter)).center_crop([height, width])
    };
    Ok(match argument {
        "imagenet" => centre(Preprocess::imagenet(), 224, 256),
        "imagenet-inception" => {
            let half = Preprocess::new([0.5; 3], [0.5; 3]).interpolation(Interpolation::Bicubic);
            centre(half, 299, 341)
        }
        "clip" => {
            let clip = Preprocess::new(
                [0.481_454_66, 0.457_827_5, 0.408_210_73],
                [0.268_629_54, 0.261_302_6, 0.275_777_1],
            );
            centre(clip.interpolation(Interpolation::Bicubic), 224, 224)
        }
        json if json.trim_start().starts_with('{') => Preprocess::from_json(json)?,
        file => {
            let (read, file): (fn(&str) -> Result<Preprocess>, _) = match file.split_once(':') {
                Some(("timm", file)) => (Preprocess::from_timm_json, file),
                Some(("hf", file)) => (Preprocess::from_hugging_face_json, file),
                _ => (Preprocess::from_json, file),
            };
            let path = Path::new(file);
            let text = read_text(path)?;
            let hint = |e: Error| match publisher(&text) {
                Some(prefix) if file == argument => {
                    Error::format(format!("{}; {prefix}:{file} reads it", e.message()))
                }
                _ => e,
            };
            read(&text).map_err(|e| hint(e).in_file(path))?
        }
    })
}

/// The prefix that reads a published configuration, which is taken for a preparation.
fn publisher(json: &str) -> Option<&'static str> {
    let value: Value = serde_json::from_str(json).ok()?;
    let has = |key: &str| value.get(key).is_some();
    if has("image_mean") {
        Some("hf")
    } else {
        (has("input_size") || has("pretrained_cfg")).then_some("timm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_fit_the_input_of_the_network() {
        assert_eq!(preset("imagenet", None).unwrap(), Preprocess::imagenet());
        for (name, size, resize) in [
            ("imagenet", [224, 224], 256),
            ("imagenet", [256, 256], 292),
            ("imagenet-inception", [299, 299], 341),
            ("clip", [336, 336], 336),
        ] {
            let json = to_value(&preset(name, Some(size)).unwrap()).unwrap();
            assert_eq!(json["center_crop"], json!(size), "{name}");
            assert_eq!(json["resize"], json!({ "shorter_side": resize }), "{name}");
        }
    }

    #[test]
    fn published_configurations_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let argument = |kind: &str| format!("{kind}:{}", path.display());
        std::fs::write(&path, r#"{"input_size": [3, 224, 224], "interpolation": "bilinear"}"#)
            .unwrap();
        assert_eq!(preset(&argument("timm"), None).unwrap(), Preprocess::imagenet());
        let e = preset(&argument("hf"), None).unwrap_err();
        assert_eq!(e.file(), Some(path.as_path()));
        let config = r#"{"size": {"shortest_edge": 256}, "crop_size": 224, "resample": 2,
            "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}"#;
        std::fs::write(&path, config).unwrap();
        assert_eq!(preset(&argument("hf"), None).unwrap(), Preprocess::imagenet());
        let e = preset(path.to_str().unwrap(), None).unwrap_err();
        assert!(e.message().ends_with(&format!("; {} reads it", argument("hf"))), "{e}");
    }

    #[test]
    fn sizes_and_triples_are_parsed() {
        assert!(matches!(size("256"), Ok(Size::Side(256))));
        assert!(matches!(size("5x7"), Ok(Size::Both([5, 7]))));
        assert!(matches!(size("none"), Ok(Size::None)));
        assert!(size("x5").is_err() && size("-1").is_err() && size("").is_err());
        assert_eq!(triple("0.5, 1,2"), Ok([0.5, 1.0, 2.0]));
        assert!(triple("1,2").is_err() && triple("1,2,x").is_err());
    }
}
