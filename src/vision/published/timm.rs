//! timm's `pretrained_cfg`.

use serde::Deserialize;
use serde_json::Value;

use super::super::preprocess::Preprocess;
use super::super::resize::{Interpolation, Resize};
use super::fields::{enlarged, parse, unknown_filter};
use crate::error::{Error, Result};

impl Preprocess {
    /// Reads timm's configuration of a network: a `config.json` with a `pretrained_cfg`, or the
    /// `pretrained_cfg` alone, of which `input_size` is required. The result is what timm's
    /// `create_transform` does for evaluation; what the configuration leaves out has timm's defaults.
    ///
    /// # Errors
    ///
    /// [`Format`](crate::ErrorKind::Format) if the text is no such configuration,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if it asks for another number of channels than
    /// three, an unknown filter, or a crop that keeps the border.
    ///
    /// # Examples
    ///
    /// ```
    /// use dyrelu::vision::{Interpolation, Preprocess};
    ///
    /// let json = r#"{"architecture": "mobilenetv3_small_100", "pretrained_cfg":
    ///     {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875}}"#;
    /// let imagenet = Preprocess::imagenet().interpolation(Interpolation::Bicubic);
    /// assert_eq!(Preprocess::from_timm_json(json)?, imagenet);
    /// # Ok::<(), dyrelu::Error>(())
    /// ```
    pub fn from_timm_json(text: &str) -> Result<Self> {
        let mut value: Value = parse("timm's configuration", text)?;
        let network = value.get_mut("pretrained_cfg").map(Value::take).unwrap_or(value);
        let config = TimmConfig::deserialize(network)
            .map_err(|e| Error::format(format!("timm's configuration cannot be read: {e}")))?;
        let preprocess = config.preprocess()?;
        preprocess.check().map_err(Error::format)?;
        Ok(preprocess)
    }
}

/// The part of timm's `pretrained_cfg` that concerns photos.
#[derive(Deserialize)]
struct TimmConfig {
    /// Channels, height and width.
    input_size: [u32; 3],
    interpolation: Option<String>,
    /// The side of the crop as a share of that of the resized photo.
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

impl TimmConfig {
    fn preprocess(&self) -> Result<Preprocess> {
        let [channels, height, width] = self.input_size;
        if channels != 3 {
            return Err(Error::unsupported(format!(
                "timm's configuration is for {channels} channels, photos have 3"
            )));
        }
        let crop_pct = self.crop_pct.unwrap_or(0.875);
        let [tall, wide] = [enlarged(height, crop_pct)?, enlarged(width, crop_pct)?];
        let resize = match self.crop_mode.as_deref().unwrap_or("center") {
            "squash" => Resize::Exact([tall, wide]),
            "center" if height == width => Resize::ShorterSide(tall),
            "center" => {
                return Err(Error::unsupported(format!(
                    "timm's configuration crops the centre to {height} x {width}; only squares are supported"
                )));
            }
            mode => {
                return Err(Error::unsupported(format!(
                    "timm's configuration has the crop_mode {mode:?}; supported are \"center\" and \"squash\""
                )));
            }
        };
        let filter = match self.interpolation.as_deref().unwrap_or("bicubic") {
            "nearest" => Interpolation::Nearest,
            "bilinear" => Interpolation::Bilinear,
            "bicubic" => Interpolation::Bicubic,
            "lanczos" => Interpolation::Lanczos,
            name => return Err(unknown_filter("timm's", &format!("{name:?}"))),
        };
        let mean = self.mean.unwrap_or([0.485, 0.456, 0.406]);
        let std = self.std.unwrap_or([0.229, 0.224, 0.225]);
        let preprocess = Preprocess::new(mean, std).resize(resize).interpolation(filter);
        Ok(preprocess.center_crop([height, width]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const STD: [f32; 3] = [0.229, 0.224, 0.225];

    fn imagenet(resize: Resize, filter: Interpolation) -> Preprocess {
        Preprocess::new(MEAN, STD).resize(resize).interpolation(filter)
    }

    /// What timm's `create_transform` makes of the same settings.
    #[test]
    fn timm_configurations_are_read_as_timm_does() {
        let square = |shorter, filter, side| {
            imagenet(Resize::ShorterSide(shorter), filter).center_crop([side, side])
        };
        let squashed = |side, crop| {
            imagenet(Resize::Exact([side, side]), Interpolation::Bicubic).center_crop([crop, crop])
        };
        for (json, expected) in [
            (r#"{"input_size": [3, 224, 224]}"#, square(256, Interpolation::Bicubic, 224)),
            (
                r#"{"input_size": [3, 224, 224], "interpolation": "bilinear", "crop_pct": 0.95}"#,
                square(235, Interpolation::Bilinear, 224),
            ),
            (
                r#"{"architecture": "inception_v3", "num_classes": 1000, "pretrained_cfg":
                    {"tag": "tv_in1k", "custom_load": false, "input_size": [3, 299, 299],
                    "fixed_input_size": false, "interpolation": "bicubic", "crop_pct": 0.875,
                    "crop_mode": "center", "mean": [0.485, 0.456, 0.406],
                    "std": [0.229, 0.224, 0.225], "num_classes": 1000, "pool_size": [8, 8],
                    "first_conv": "Conv2d_1a_3x3.conv", "classifier": "fc"}}"#,
                square(341, Interpolation::Bicubic, 299),
            ),
            (
                r#"{"input_size": [3, 256, 256], "crop_pct": 0.9, "crop_mode": "squash"}"#,
                squashed(284, 256),
            ),
            (
                r#"{"input_size": [3, 256, 256], "crop_pct": 1.0, "crop_mode": "squash"}"#,
                squashed(256, 256),
            ),
        ] {
            assert_eq!(Preprocess::from_timm_json(json).unwrap(), expected, "{json}");
        }
        let half = r#"{"input_size": [3, 9, 9], "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7]}"#;
        let half: Value =
            serde_json::from_str(&Preprocess::from_timm_json(half).unwrap().to_json().unwrap())
                .unwrap();
        assert_eq!(half["std"], serde_json::json!([0.5, 0.6, 0.7]));
    }

    #[test]
    fn what_timm_does_and_this_does_not_is_refused() {
        for (json, kind) in [
            ("no json", ErrorKind::Format),
            ("{}", ErrorKind::Format),
            (r#"{"pretrained_cfg": {}}"#, ErrorKind::Format),
            (r#"{"input_size": [3, 224, 224], "crop_pct": 0}"#, ErrorKind::Format),
            (r#"{"input_size": [3, 224, 224], "crop_pct": 1e-9}"#, ErrorKind::Format),
            (r#"{"input_size": [3, 224, 224], "std": [0, 1, 1]}"#, ErrorKind::Format),
            (r#"{"input_size": [1, 224, 224]}"#, ErrorKind::Unsupported),
            (r#"{"input_size": [3, 224, 192]}"#, ErrorKind::Unsupported),
            (r#"{"input_size": [3, 224, 224], "crop_mode": "border"}"#, ErrorKind::Unsupported),
            (r#"{"input_size": [3, 224, 224], "interpolation": "box"}"#, ErrorKind::Unsupported),
        ] {
            assert_eq!(Preprocess::from_timm_json(json).unwrap_err().kind(), kind, "{json}");
        }
    }
}
