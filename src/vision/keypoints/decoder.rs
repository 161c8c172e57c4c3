//! Outputs of a network to positions in its input.

use serde::{Deserialize, Serialize};

use super::maps::{Maps, Point, sigmoid};
use super::{heatmaps, movenet, simcc};
use crate::error::{Error, Result};

/// How the outputs of a network give key points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeypointDecoder {
    /// MoveNet's four outputs: logits of centres `[N, 1, H, W]` and of key points `[N, K, H, W]`, vectors
    /// from a centre to its key points and within cells, both `[N, 2K, H, W]` with channels (dy, dx) per
    /// key point. The most central person is found.
    MoveNet,
    /// Heat maps `[N, K, H, W]`: the largest value, moved by a quarter of a cell towards its larger
    /// neighbour, as in Simple Baselines (Xiao et al., 2018) and HRNet.
    Heatmaps,
    /// Heat maps `[N, K, H, W]`: the largest value, moved to the maximum of the Gaussian that fits the
    /// logarithm of the smoothed map (DARK, Zhang et al., 2020).
    Dark,
    /// SimCC (Li et al., 2022; RTMPose): the largest values of the coordinates x, `[N, K, columns]`, and
    /// y, `[N, K, rows]`.
    SimCc,
}

impl KeypointDecoder {
    /// Returns the number of key points in outputs of these shapes, which are without the batch.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the outputs are not those that this decoder reads.
    pub(super) fn keypoints(self, shapes: &[&[usize]]) -> Result<usize> {
        let is_used = |shape: &&[usize]| !shape.contains(&0);
        let found = match (self, shapes) {
            (
                KeypointDecoder::MoveNet,
                &[[1, size @ ..], [count, of_points @ ..], regress, offset],
            ) if size.len() == 2
                && of_points == size
                && [regress, offset]
                    .iter()
                    .all(|v| v.first() == Some(&(2 * count)) && &v[1..] == size) =>
            {
                Some(*count)
            }
            (KeypointDecoder::Heatmaps | KeypointDecoder::Dark, &[[count, _, _]]) => Some(*count),
            (KeypointDecoder::SimCc, &[[x, _], [y, _]]) if x == y => Some(*x),
            _ => None,
        };
        found.filter(|_| shapes.iter().all(is_used)).ok_or_else(|| {
            let expected = match self {
                KeypointDecoder::MoveNet => "[1, H, W], [K, H, W], [2K, H, W] and [2K, H, W]",
                KeypointDecoder::Heatmaps | KeypointDecoder::Dark => "[K, H, W]",
                KeypointDecoder::SimCc => "[K, columns] and [K, rows]",
            };
            Error::input(format!(
                "the network gives no key points: the decoder {} expects outputs {expected} per image, \
                 found {shapes:?}",
                self.name()
            ))
        })
    }

    /// Returns the name by which files and arguments call this decoder.
    pub fn name(self) -> &'static str {
        match self {
            KeypointDecoder::MoveNet => "movenet",
            KeypointDecoder::Heatmaps => "heatmaps",
            KeypointDecoder::Dark => "dark",
            KeypointDecoder::SimCc => "simcc",
        }
    }

    pub(super) fn decode(self, outputs: &[Maps]) -> Vec<Point> {
        match self {
            KeypointDecoder::MoveNet => movenet::decode(outputs),
            KeypointDecoder::Heatmaps => heatmaps::decode(&outputs[0], heatmaps::quarter),
            KeypointDecoder::Dark => heatmaps::decode_dark(&outputs[0]),
            KeypointDecoder::SimCc => simcc::decode(&outputs[0], &outputs[1]),
        }
    }

    /// Returns the outputs for a crop from those for its mirror image. `partners` has the key point of the
    /// other side per key point.
    pub(super) fn mirrored(self, outputs: &[Maps], partners: &[usize]) -> Vec<Maps> {
        match self {
            KeypointDecoder::MoveNet => movenet::mirrored(outputs, partners),
            KeypointDecoder::Heatmaps | KeypointDecoder::Dark => {
                vec![heatmaps::mirrored(&outputs[0], partners)]
            }
            KeypointDecoder::SimCc => simcc::mirrored(outputs, partners),
        }
    }

    /// Returns the probability per cell of each key point, `None` if the outputs are not maps.
    pub(super) fn probabilities(self, outputs: Vec<Maps>) -> Option<Maps> {
        match self {
            KeypointDecoder::MoveNet => {
                let mut maps = outputs.into_iter().nth(1)?;
                maps.values.iter_mut().for_each(|logit| *logit = sigmoid(*logit));
                Some(maps)
            }
            KeypointDecoder::Heatmaps | KeypointDecoder::Dark => outputs.into_iter().next(),
            KeypointDecoder::SimCc => None,
        }
    }
}
