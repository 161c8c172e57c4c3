//! Photos and boxes in, key points out.

use std::fmt;

use serde::Serialize;

use super::super::{Photo, Preprocess};
use super::maps::Maps;
use super::{KeypointDecoder, KeypointScheme, Region, Skeleton};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::tensor::{DType, Tensor};

/// The most crops that run through the network together.
const BATCH: usize = 8;

/// A network that finds the key points of persons, with what comes before it and after it.
///
/// # Examples
///
/// ```
/// use dyrelu::vision::{self, KeypointDetector, Region};
/// use dyrelu::{Model, Session};
///
/// let model = Model::open("models/movenet-lightning.safetensors")?;
/// let mut detector = KeypointDetector::new(Session::new(&model))?;
/// let photo = vision::load("examples/photos/tower.jpg")?;
/// let poses = detector.detect(&photo, &[Region::whole(&photo)])?;
/// let nose = poses[0].keypoints[0];
/// println!("{} at {}, {}: {}", detector.skeleton().names()[0], nose.x, nose.y, nose.score);
/// # Ok::<(), dyrelu::Error>(())
/// ```
pub struct KeypointDetector {
    session: Session,
    preprocess: Preprocess,
    size: [u32; 2],
    scheme: KeypointScheme,
    skeleton: Skeleton,
    /// Whether each crop also runs mirrored.
    flip: bool,
    /// Whether the network takes one image at a time.
    takes_one: bool,
}

/// One key point of a person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Keypoint {
    /// The distance from the left side of the photo, in pixels. It may be outside of the photo.
    pub x: f32,
    /// The distance from the top side of the photo, in pixels.
    pub y: f32,
    /// The confidence of the network, for most networks a probability.
    pub score: f32,
}

/// The key points of one person.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pose {
    /// The box in which the person was searched for.
    pub region: Region,
    /// The key points, in the order of the network's outputs.
    pub keypoints: Vec<Keypoint>,
    /// The mean score of the key points.
    pub score: f32,
}

impl KeypointDetector {
    /// Creates a detector for which the model file states how photos are prepared and how outputs are
    /// decoded.
    ///
    /// # Errors
    ///
    /// As [`with_parts`](Self::with_parts), [`Preprocess::from_model`] and [`KeypointScheme::from_model`].
    pub fn new(session: Session) -> Result<Self> {
        let scheme = KeypointScheme::from_model(session.model())?;
        let preprocess = Preprocess::from_model(session.model())?;
        Self::with_parts(session, preprocess, scheme)
    }

    /// Creates a detector that takes the size, the normalisation and the order of channels from
    /// `preprocess`, and decodes outputs by `scheme`. Crops are sampled bilinearly, whatever filter
    /// `preprocess` names.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the network does not have one input, `preprocess` leaves the
    /// size open, or the network's outputs are not those of the scheme.
    pub fn with_parts(
        session: Session,
        preprocess: Preprocess,
        scheme: KeypointScheme,
    ) -> Result<Self> {
        let model = session.model();
        let [input] = model.inputs() else {
            let count = model.inputs().len();
            return Err(Error::input(format!(
                "a network of key points has one input, this has {count}"
            )));
        };
        let size = preprocess.size().ok_or_else(|| {
            Error::input("the preparation of photos does not state the size of the network's input")
        })?;
        let batch = input.shape().and_then(|shape| shape.first().copied().flatten());
        let shapes = model.output_shapes(&[vec![1, 3, size[0] as usize, size[1] as usize]])?;
        let shapes: Vec<Vec<usize>> = shapes.into_iter().map(Option::unwrap_or_default).collect();
        let of_image: Vec<&[usize]> = shapes.iter().map(|s| s.get(1..).unwrap_or(&[])).collect();
        let count = scheme.decoder().keypoints(&of_image)?;
        let (skeleton, takes_one) = (scheme.skeleton_of(count)?, batch == Some(1));
        let flip = false;
        Ok(KeypointDetector { session, preprocess, size, scheme, skeleton, flip, takes_one })
    }

    /// Sets whether the network also sees each crop mirrored, and its outputs are averaged: twice the work
    /// for more accuracy.
    pub fn flip(mut self, flip: bool) -> Self {
        self.flip = flip;
        self
    }

    /// Returns the names of the key points, and how they are connected.
    pub fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// Returns the part of a photo that the network sees of a person's box.
    pub fn crop(&self, region: Region) -> Region {
        region.enlarged(self.size, self.scheme.crop_scale())
    }

    /// Returns the key points of the person in each box of a photo.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a box is empty or outside of the photo, or if the network's
    /// outputs give a position or a score that is NaN or infinite.
    pub fn detect(&mut self, photo: &Photo, regions: &[Region]) -> Result<Vec<Pose>> {
        let decoder = self.scheme.decoder();
        let outputs = self.outputs(photo, regions)?;
        let pose = |(&region, outputs): (&Region, Vec<Maps>)| {
            let crop = self.crop(region);
            let points = decoder.decode(&outputs).into_iter().map(|point| Keypoint {
                x: crop.x + point.x * crop.width,
                y: crop.y + point.y * crop.height,
                score: point.score,
            });
            let keypoints: Vec<Keypoint> = points.collect();
            let sum: f32 = keypoints.iter().map(|point| point.score).sum();
            let is_usable = |point: &Keypoint| (point.x + point.y + point.score).is_finite();
            match keypoints.iter().all(is_usable) {
                true => Ok(Pose { region, score: sum / keypoints.len() as f32, keypoints }),
                false => Err(Error::input(
                    "the network gives key points that are NaN or infinite; check its weights and the \
                     preparation of photos",
                )),
            }
        };
        regions.iter().zip(outputs).map(pose).collect()
    }

    /// Returns where in the [crop](Self::crop) of a box each key point may be: a probability, or a value of
    /// the network's heat map, per cell, of shape `[K, H, W]`.
    ///
    /// # Errors
    ///
    /// As [`detect`](Self::detect), and [`Input`](crate::ErrorKind::Input) if the network gives no maps.
    pub fn heat_maps(&mut self, photo: &Photo, region: Region) -> Result<Tensor> {
        let outputs = self.outputs(photo, &[region])?.swap_remove(0);
        let maps = self.scheme.decoder().probabilities(outputs).ok_or_else(|| {
            let name = KeypointDecoder::SimCc.name();
            Error::input(format!("a network for the decoder {name} has no heat maps"))
        })?;
        Tensor::new(&maps.shape, maps.values)
    }

    /// Returns the network's outputs per box, of both mirror images if that was asked for.
    fn outputs(&mut self, photo: &Photo, regions: &[Region]) -> Result<Vec<Vec<Maps>>> {
        let mut found = Vec::with_capacity(regions.len());
        let sides: &[bool] = if self.flip { &[false, true] } else { &[false] };
        let together = if self.takes_one { 1 } else { BATCH / sides.len() };
        let (decoder, partners) = (self.scheme.decoder(), self.skeleton.partners());
        regions.iter().try_for_each(|region| region.check(photo))?;
        for regions in regions.chunks(together) {
            let crops: Vec<Region> = regions.iter().map(|&region| self.crop(region)).collect();
            let mut of_sides = Vec::with_capacity(sides.len());
            for &mirrored in sides {
                let cut = |crop: &Region| crop.cut(photo, &self.preprocess, self.size, mirrored);
                let inputs: Vec<Tensor> = crops.iter().map(cut).collect::<Result<_>>()?;
                of_sides.push(self.run(&inputs)?);
            }
            let mut of_sides = of_sides.into_iter();
            let mut averages = of_sides.next().unwrap_or_default();
            for other in of_sides {
                for (average, other) in averages.iter_mut().zip(other) {
                    let other = decoder.mirrored(&other, &partners);
                    average
                        .iter_mut()
                        .zip(&other)
                        .for_each(|(maps, other)| maps.average_with(other));
                }
            }
            found.extend(averages);
        }
        Ok(found)
    }

    /// Runs crops, at least one, and returns the outputs of each.
    fn run(&mut self, crops: &[Tensor]) -> Result<Vec<Vec<Maps>>> {
        let mut batch = Vec::with_capacity(crops.len() * crops[0].len());
        for crop in crops {
            batch.extend_from_slice(crop.as_f32()?);
        }
        let [height, width] = self.size.map(|side| side as usize);
        let dtype = self.session.model().inputs()[0].dtype().unwrap_or(DType::F32);
        let batch = Tensor::new(&[crops.len(), 3, height, width], batch)?.cast(dtype)?;
        let outputs = self.session.run(&[batch])?;
        let shapes: Vec<&[usize]> =
            outputs.iter().map(|output| output.shape().get(1..).unwrap_or(&[])).collect();
        // What depends on the data has no shape before a run.
        let count = self.scheme.decoder().keypoints(&shapes)?;
        if count != self.skeleton.names().len() {
            return Err(Error::input(format!(
                "the network gives {count} key points, not the same for every image"
            )));
        }
        let mut found = vec![Vec::with_capacity(outputs.len()); crops.len()];
        for output in &outputs {
            if output.shape()[0] != crops.len() {
                let (images, found) = (crops.len(), output.shape()[0]);
                return Err(Error::input(format!(
                    "the network gives outputs for {found} images, and was given {images}"
                )));
            }
            let values = output.cast(DType::F32)?;
            let length = values.len() / crops.len();
            for (maps, values) in found.iter_mut().zip(values.as_f32()?.chunks_exact(length)) {
                maps.push(Maps { shape: output.shape()[1..].to_vec(), values: values.to_vec() });
            }
        }
        Ok(found)
    }
}

impl fmt::Debug for KeypointDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut detector = f.debug_struct("KeypointDetector");
        let parts = detector.field("session", &self.session).field("scheme", &self.scheme);
        parts.finish_non_exhaustive()
    }
}
