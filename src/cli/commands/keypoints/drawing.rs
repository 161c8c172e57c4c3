//! Pictures of persons: skeletons, and where the network sees key points.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::support::canvas::{Canvas, Colour};
use crate::cli::support::search::is_photo;
use dyrelu::vision::{KeypointDetector, Photo, Pose, Region, Skeleton};
use dyrelu::{Error, Result};

/// Colours that people with any colour vision tell apart: of the person's left, right, and neither side.
const LEFT: Colour = [230, 120, 0];
const RIGHT: Colour = [40, 150, 255];
const MIDDLE: Colour = [240, 228, 66];
const HEAT: Colour = [255, 40, 60];
const OUTLINE: Colour = [0; 3];

/// Where pictures are written.
pub enum Drawings {
    File(PathBuf),
    /// A folder, and how often each name was used in it.
    Folder(PathBuf, HashMap<String, usize>),
}

impl Drawings {
    /// Checks that the pictures of `photos` photos, if their number is known, can go to `target`, a folder or
    /// a PNG file, and creates the folder.
    pub fn to(target: &Path, photos: Option<u64>) -> Result<Self> {
        let is_png = target.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"));
        if !is_png && is_photo(target) && !target.is_dir() {
            let message = "--draw writes PNG only; name the file .png, or give a folder";
            return Err(Error::input(message).in_file(target));
        }
        if !is_png || target.is_dir() {
            fs::create_dir_all(target).map_err(|e| Error::io(target, e))?;
            return Ok(Drawings::Folder(target.into(), HashMap::new()));
        }
        if let Some(photos @ 2..) = photos {
            let message =
                format!("{photos} photos cannot be drawn in one file; give --draw a folder");
            return Err(Error::input(message).in_file(target));
        }
        Ok(Drawings::File(target.into()))
    }

    /// Writes the picture of the photo at `path`. In a folder, it has the photo's name, and a number if
    /// that is taken.
    pub fn write(&mut self, path: &Path, picture: &Picture) -> Result<()> {
        let (folder, used) = match self {
            Drawings::File(file) => return picture.0.write(file),
            Drawings::Folder(folder, used) => (folder, used),
        };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let count = used.entry(stem.clone()).or_default();
        *count += 1;
        let name = if *count == 1 { format!("{stem}.png") } else { format!("{stem}-{count}.png") };
        picture.0.write(&folder.join(name))
    }
}

/// A photo that is drawn on.
pub struct Picture(Canvas, Photo);

impl Picture {
    pub fn of(photo: Photo) -> Self {
        Picture(Canvas::of(&photo), photo)
    }

    /// Draws the largest value of all key points per cell of the network's heat maps.
    pub fn add_heat_maps(
        &mut self,
        detector: &mut KeypointDetector,
        regions: &[Region],
    ) -> Result<()> {
        for &region in regions {
            let maps = detector.heat_maps(&self.1, region)?;
            let &[_, height, width] = maps.shape() else { continue };
            let mut largest = vec![0f32; height * width];
            for map in maps.as_f32()?.chunks_exact(height * width) {
                largest
                    .iter_mut()
                    .zip(map)
                    .for_each(|(largest, value)| *largest = largest.max(*value));
            }
            let crop = detector.crop(region);
            let to = [crop.x + crop.width, crop.y + crop.height];
            self.0.shade([crop.x, crop.y], to, HEAT, |right, down| {
                let (x, y) = ((right * width as f32) as usize, (down * height as f32) as usize);
                let value = largest[y.min(height - 1) * width + x.min(width - 1)].clamp(0.0, 1.0);
                // The square keeps the noise of all other cells from tinting the photo.
                value * value
            });
        }
        Ok(())
    }

    /// Draws the key points with a score of `threshold` or more, and the lines between them: the lower the
    /// score, the fainter; the larger the person, the thicker.
    pub fn add_skeletons(&mut self, poses: &[Pose], skeleton: &Skeleton, threshold: f32) {
        let colour = |k: usize| match skeleton.pairs().iter().find(|pair| pair.contains(&k)) {
            Some(&[left, _]) if left == k => LEFT,
            Some(_) => RIGHT,
            None => MIDDLE,
        };
        for pose in poses {
            let radius = (pose.region.width.max(pose.region.height) / 150.0).clamp(0.75, 8.0);
            let place = |k: usize| [pose.keypoints[k].x, pose.keypoints[k].y];
            let score = |k: usize| pose.keypoints[k].score;
            let opacity = |score: f32| 0.35 + 0.65 * score.clamp(0.0, 1.0);
            let edges = skeleton.edges().iter().map(|&[a, b]| {
                let of_edge = if colour(a) == colour(b) { colour(a) } else { MIDDLE };
                (a, b, radius, of_edge)
            });
            let points = (0..pose.keypoints.len()).map(|k| (k, k, 2.0 * radius, colour(k)));
            for (a, b, radius, colour) in edges.chain(points) {
                let score = score(a).min(score(b));
                if score >= threshold {
                    let around = radius + 0.5 * radius.max(1.0);
                    self.0.line(place(a), place(b), around, OUTLINE, 0.6 * opacity(score));
                    self.0.line(place(a), place(b), radius, colour, opacity(score));
                }
            }
        }
    }
}
