//! Hugging Face's `preprocessor_config.json`.

use serde::Deserialize;

use super::super::preprocess::{Color, Preprocess};
use super::super::resize::{Interpolation, Resize};
use super::fields::{enlarged, parse, unknown_filter};
use crate::error::{Error, Result};

impl Preprocess {
    /// Reads the `preprocessor_config.json` of a network at Hugging Face, as `transformers` writes it: an
    /// `image_processor_type` or `feature_extractor_type` with `size`, `crop_size`, `resample`,
    /// `rescale_factor`, `image_mean`, `image_std` and the switches `do_...`.
    ///
    /// The centre is cut out as torchvision does it, which the fast image processors use.
    ///
    /// # Errors
    ///
    /// [`Format`](crate::ErrorKind::Format) if the text is no such configuration, or leaves something out
    /// that has no common default; [`Unsupported`](crate::ErrorKind::Unsupported) if it asks for padding, a
    /// limit on the longer side, an offset, or an unknown filter.
    ///
    /// # Examples
    ///
    /// ```
    /// use dyrelu::vision::{Preprocess, Resize};
    ///
    /// let json = r#"{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224},
    ///     "resample": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;
    /// let vit = Preprocess::new([0.5; 3], [0.5; 3]).resize(Resize::Exact([224, 224]));
    /// assert_eq!(Preprocess::from_hugging_face_json(json)?, vit);
    /// # Ok::<(), dyrelu::Error>(())
    /// ```
    pub fn from_hugging_face_json(text: &str) -> Result<Self> {
        let config: HuggingFaceConfig = parse("Hugging Face's configuration", text)?;
        let preprocess = config.preprocess()?;
        preprocess.check().map_err(Error::format)?;
        Ok(preprocess)
    }
}

/// A `preprocessor_config.json`.
#[derive(Deserialize)]
struct HuggingFaceConfig {
    #[serde(alias = "feature_extractor_type")]
    image_processor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Size>,
    /// The number of a filter in Pillow.
    resample: Option<u32>,
    crop_pct: Option<f64>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    rescale_offset: Option<bool>,
    do_normalize: Option<bool>,
    image_mean: Option<Channels>,
    image_std: Option<Channels>,
    /// Whether EfficientNet divides by the standard deviation once more.
    include_top: Option<bool>,
    do_flip_channel_order: Option<bool>,
    do_pad: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    /// The meaning depends on the type of the processor.
    Side(u32),
    Named {
        height: Option<u32>,
        width: Option<u32>,
        shortest_edge: Option<u32>,
        longest_edge: Option<u32>,
    },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Channels {
    Same(f64),
    Each([f64; 3]),
}

impl Channels {
    fn each(self) -> [f64; 3] {
        match self {
            Channels::Same(number) => [number; 3],
            Channels::Each(numbers) => numbers,
        }
    }
}

/// The processors that read a `size` without names as the shorter side. Others resize to a square.
const SHORTER_SIDE: [&str; 9] = [
    "Bit",
    "CLIP",
    "ChineseCLIP",
    "ConvNext",
    "Levit",
    "MobileNetV1",
    "MobileNetV2",
    "MobileViT",
    "PoolFormer",
];

impl HuggingFaceConfig {
    /// The type of the processor without its ending, such as `ViT`; empty if the file states none.
    fn family(&self) -> &str {
        let name = self.image_processor_type.as_deref().unwrap_or_default();
        let name = name.strip_suffix("Fast").unwrap_or(name);
        let name = name.strip_suffix("FeatureExtractor").unwrap_or(name);
        name.strip_suffix("ImageProcessor").unwrap_or(name)
    }

    fn preprocess(&self) -> Result<Preprocess> {
        for (switch, name) in [(self.do_pad, "do_pad"), (self.rescale_offset, "rescale_offset")] {
            if switch == Some(true) {
                return Err(Error::unsupported(format!(
                    "Hugging Face's configuration has {name}, which is not supported"
                )));
            }
        }
        let (mean, std) = self.normalisation()?;
        let mut preprocess = Preprocess::new(mean, std);
        if self.do_resize.unwrap_or(true) {
            let (resize, crop) = self.resize()?;
            preprocess = preprocess.resize(resize).interpolation(self.filter()?);
            if let Some(side) = crop {
                preprocess = preprocess.center_crop([side, side]);
            }
        }
        if self.do_center_crop.unwrap_or(self.crop_size.is_some()) {
            preprocess =
                preprocess.center_crop(match self.crop_size.ok_or(missing("crop_size"))? {
                    Size::Side(side) => [side, side],
                    Size::Named { height: Some(height), width: Some(width), .. } => [height, width],
                    Size::Named { shortest_edge: Some(side), .. } => [side, side],
                    Size::Named { .. } => return Err(missing("the height and width of crop_size")),
                });
        }
        if self.do_flip_channel_order == Some(true) {
            preprocess = preprocess.color(Color::Bgr);
        }
        Ok(preprocess)
    }

    /// Returns the size of the resized photo, and the side of a crop that is part of the resize.
    fn resize(&self) -> Result<(Resize, Option<u32>)> {
        let family = self.family();
        let shorter = match self.size.ok_or(missing("size"))? {
            Size::Side(side) if SHORTER_SIDE.contains(&family) => side,
            Size::Side(_) if family.is_empty() => {
                return Err(missing(
                    "image_processor_type, on which the meaning of its size depends",
                ));
            }
            Size::Side(side) => return Ok((Resize::Exact([side, side]), None)),
            Size::Named { longest_edge: Some(_), .. } => {
                return Err(Error::unsupported(
                    "Hugging Face's configuration limits the longer side, which is not supported",
                ));
            }
            Size::Named { shortest_edge: Some(side), .. } => side,
            Size::Named { height: Some(height), width: Some(width), .. } => {
                return Ok((Resize::Exact([height, width]), None));
            }
            Size::Named { .. } => return Err(missing("a size of known names")),
        };
        match (family, self.crop_pct) {
            // Large photos are squeezed, small ones cropped.
            ("ConvNext", _) if shorter >= 384 => Ok((Resize::Exact([shorter, shorter]), None)),
            ("ConvNext", crop_pct) => {
                let side = enlarged(shorter, crop_pct.unwrap_or(224.0 / 256.0))?;
                Ok((Resize::ShorterSide(side), Some(shorter)))
            }
            ("PoolFormer", crop_pct) => {
                Ok((Resize::ShorterSide(enlarged(shorter, crop_pct.unwrap_or(0.9))?), None))
            }
            ("Levit", None) => Ok((Resize::ShorterSide(enlarged(shorter, 224.0 / 256.0)?), None)),
            (_, None) => Ok((Resize::ShorterSide(shorter), None)),
            (_, Some(_)) => Err(Error::unsupported(format!(
                "Hugging Face's configuration has a crop_pct, which is not known for {family:?}"
            ))),
        }
    }

    fn filter(&self) -> Result<Interpolation> {
        match self.resample.ok_or(missing("resample"))? {
            0 => Ok(Interpolation::Nearest),
            1 => Ok(Interpolation::Lanczos),
            2 => Ok(Interpolation::Bilinear),
            3 => Ok(Interpolation::Bicubic),
            number => Err(unknown_filter("Hugging Face's", &number.to_string())),
        }
    }

    /// Returns mean and standard deviation for levels from 0 to 1.
    fn normalisation(&self) -> Result<([f32; 3], [f32; 3])> {
        // MobileViT's processor has no normalisation.
        let (mean, std) = if self.do_normalize.unwrap_or(self.family() != "MobileViT") {
            let mean = self.image_mean.ok_or(missing("image_mean"))?.each();
            let std = self.image_std.ok_or(missing("image_std"))?.each();
            let twice = self.include_top.unwrap_or(self.family() == "EfficientNet");
            (mean, std.map(|std| if twice { std * std } else { std }))
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let factor = match self.do_rescale {
            Some(false) => 255.0,
            _ => 255.0 * self.rescale_factor.unwrap_or(1.0 / 255.0),
        };
        // The usual factor, which files round.
        let factor = if (factor - 1.0).abs() < 1e-6 { 1.0 } else { factor };
        let narrow = |numbers: [f64; 3]| numbers.map(|number| (number / factor) as f32);
        Ok((narrow(mean), narrow(std)))
    }
}

fn missing(what: &str) -> Error {
    Error::format(format!("Hugging Face's configuration does not state {what}"))
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

    #[test]
    fn processors_of_hugging_face_are_read_as_they_work() {
        let stats = r#""image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]"#;
        let plain = Preprocess::new([0.0; 3], [1.0; 3]);
        let bilinear = Interpolation::Bilinear;
        for (json, expected) in [
            // ResNet: an old file, whose processor is ConvNeXT's.
            (
                format!(
                    r#"{{"crop_pct": 0.875, "do_normalize": true, "do_resize": true,
                    "feature_extractor_type": "ConvNextFeatureExtractor", {stats}, "resample": 3,
                    "size": 224}}"#
                ),
                imagenet(Resize::ShorterSide(256), Interpolation::Bicubic).center_crop([224, 224]),
            ),
            (
                format!(
                    r#"{{"image_processor_type": "ConvNextImageProcessorFast", {stats},
                    "resample": 2, "size": {{"shortest_edge": 384}}}}"#
                ),
                imagenet(Resize::Exact([384, 384]), bilinear),
            ),
            (
                format!(
                    r#"{{"crop_size": {{"height": 224, "width": 200}}, "do_center_crop": true,
                    "do_normalize": true, "do_rescale": true, "do_resize": true, {stats},
                    "image_processor_type": "MobileNetV2ImageProcessor", "resample": 2,
                    "rescale_factor": 0.00392156862745098, "size": {{"shortest_edge": 256}}}}"#
                ),
                imagenet(Resize::ShorterSide(256), bilinear).center_crop([224, 200]),
            ),
            (
                format!(
                    r#"{{"feature_extractor_type": "DeiTFeatureExtractor", "size": 256,
                    "resample": 3, "crop_size": 224, "do_center_crop": true, {stats}}}"#
                ),
                imagenet(Resize::Exact([256, 256]), Interpolation::Bicubic).center_crop([224, 224]),
            ),
            (
                format!(
                    r#"{{"feature_extractor_type": "PoolFormerFeatureExtractor", "size": 224,
                    "crop_pct": 0.9, "resample": 3, "crop_size": 224, {stats}}}"#
                ),
                imagenet(Resize::ShorterSide(248), Interpolation::Bicubic).center_crop([224, 224]),
            ),
            (
                r#"{"crop_size": 256, "do_center_crop": true, "do_flip_channel_order": true,
                    "do_resize": true, "feature_extractor_type": "MobileViTFeatureExtractor",
                    "resample": 2, "size": 288}"#
                    .to_string(),
                plain
                    .clone()
                    .resize(Resize::ShorterSide(288))
                    .center_crop([256, 256])
                    .color(Color::Bgr),
            ),
            (
                r#"{"do_resize": false, "do_normalize": false, "do_rescale": false}"#.to_string(),
                Preprocess::new([0.0; 3], [1.0 / 255.0; 3]),
            ),
            (
                r#"{"do_resize": false, "rescale_factor": 0.00784313725490196, "image_mean": 1.0,
                    "image_std": 1.0}"#
                    .to_string(),
                Preprocess::new([0.5; 3], [0.5; 3]),
            ),
        ] {
            let found = Preprocess::from_hugging_face_json(&json).unwrap();
            assert_eq!(found, expected, "{json}");
        }
    }

    #[test]
    fn efficientnet_divides_by_the_deviation_twice() {
        let json = r#"{"image_processor_type": "EfficientNetImageProcessor", "do_resize": false,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "include_top": TOP}"#;
        for (top, std) in [("true", 0.25), ("false", 0.5)] {
            let found = Preprocess::from_hugging_face_json(&json.replace("TOP", top)).unwrap();
            assert_eq!(found, Preprocess::new([0.5; 3], [std; 3]));
        }
    }

    #[test]
    fn what_hugging_face_leaves_open_is_refused() {
        let stats = r#""image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]"#;
        for (fields, kind, word) in [
            (r#""size": 224, "resample": 2"#, ErrorKind::Format, "image_processor_type"),
            (r#""size": {"height": 224, "width": 224}"#, ErrorKind::Format, "resample"),
            (r#""resample": 2"#, ErrorKind::Format, "size"),
            (r#""do_resize": false, "do_center_crop": true"#, ErrorKind::Format, "crop_size"),
            (
                r#""size": {"shortest_edge": 800, "longest_edge": 1333}, "resample": 2"#,
                ErrorKind::Unsupported,
                "longer side",
            ),
            (
                r#""size": {"shortest_edge": 224}, "resample": 2, "crop_pct": 0.9"#,
                ErrorKind::Unsupported,
                "crop_pct",
            ),
            (r#""size": {"shortest_edge": 9}, "resample": 5"#, ErrorKind::Unsupported, "filter 5"),
            (r#""do_resize": false, "do_pad": true"#, ErrorKind::Unsupported, "do_pad"),
        ] {
            let json = format!("{{{stats}, {fields}}}");
            let e = Preprocess::from_hugging_face_json(&json).unwrap_err();
            assert_eq!(e.kind(), kind, "{json}");
            assert!(e.message().contains(word), "{e}");
        }
        let e = Preprocess::from_hugging_face_json(r#"{"do_resize": false}"#).unwrap_err();
        assert!(e.message().contains("image_mean"), "{e}");
    }
}
