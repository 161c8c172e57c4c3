//! What a network's key points are, and how its outputs give them.

use serde::{Deserialize, Serialize};

use super::KeypointDecoder;
use crate::error::{Error, Result};
use crate::model::Model;

/// How a network's outputs give key points, and what they are called.
///
/// A model file holds it as JSON under the key `keypoints`, of which only `decoder` is required:
///
/// ```
/// # use dyrelu::vision::{KeypointDecoder, KeypointScheme};
/// let json = r#"{"decoder": "movenet", "scale": 1.0}"#;
/// assert_eq!(KeypointScheme::from_json(json)?, KeypointScheme::new(KeypointDecoder::MoveNet));
/// # Ok::<(), dyrelu::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeypointScheme {
    decoder: KeypointDecoder,
    #[serde(default)]
    scale: Option<f32>,
    #[serde(default)]
    skeleton: Option<Skeleton>,
}

/// The names of key points, and how they are connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skeleton {
    names: Vec<String>,
    #[serde(default)]
    edges: Vec<[usize; 2]>,
    #[serde(default)]
    pairs: Vec<[usize; 2]>,
}

impl KeypointScheme {
    /// Creates a scheme for networks of COCO's 17 key points, or of others that have no names. MoveNet sees
    /// the box of a person, other networks 1.25 times as much.
    pub fn new(decoder: KeypointDecoder) -> Self {
        let scale = if decoder == KeypointDecoder::MoveNet { 1.0 } else { 1.25 };
        KeypointScheme { decoder, scale: Some(scale), skeleton: None }
    }

    /// Reads the JSON of a model file.
    ///
    /// # Errors
    ///
    /// [`Format`](crate::ErrorKind::Format) if the text is not of the form above, or contradicts itself.
    pub fn from_json(text: &str) -> Result<Self> {
        let scheme: KeypointScheme = serde_json::from_str(text)
            .map_err(|e| Error::format(format!("the scheme of key points cannot be read: {e}")))?;
        if let Some(skeleton) = &scheme.skeleton {
            let places = skeleton.edges.iter().chain(&skeleton.pairs).flatten();
            if let Some(place) = places.copied().find(|&place| place >= skeleton.names.len()) {
                return Err(Error::format(format!(
                    "the scheme of key points connects number {place}, and has {} names",
                    skeleton.names.len()
                )));
            }
        }
        let scale = scheme.scale.or(Self::new(scheme.decoder).scale);
        if !scale.is_some_and(|scale| scale.is_finite() && (0.1..=10.0).contains(&scale)) {
            return Err(Error::format(
                "the scheme of key points has a scale that is not from 0.1 to 10",
            ));
        }
        Ok(KeypointScheme { scale, ..scheme })
    }

    /// Reads the scheme that the file of a model states.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the file states none, otherwise as
    /// [`from_json`](Self::from_json).
    pub fn from_model(model: &Model) -> Result<Self> {
        let json = model.metadata("keypoints");
        let missing = || {
            Error::input("the model file does not say how its outputs give key points of persons")
        };
        Self::from_json(json.ok_or_else(missing)?)
    }

    /// Sets the side of the crop that the network sees, as a multiple of the side of the person's box, which
    /// is first extended to the proportion of the network's input.
    pub fn scale(mut self, scale: f32) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Sets the names of the key points and their connections.
    pub fn skeleton(mut self, skeleton: Skeleton) -> Self {
        self.skeleton = Some(skeleton);
        self
    }

    /// Returns the decoder.
    pub fn decoder(&self) -> KeypointDecoder {
        self.decoder
    }

    pub(super) fn crop_scale(&self) -> f32 {
        self.scale.unwrap_or(1.0)
    }

    /// Returns the skeleton of a network with `count` key points.
    pub(super) fn skeleton_of(&self, count: usize) -> Result<Skeleton> {
        match &self.skeleton {
            Some(skeleton) if skeleton.names.len() == count => Ok(skeleton.clone()),
            Some(skeleton) => Err(Error::input(format!(
                "the scheme of key points has {} names, and the network has {count} key points",
                skeleton.names.len()
            ))),
            None if count == COCO.len() => Ok(Skeleton::coco()),
            None => Ok(Skeleton {
                names: (0..count).map(|k| k.to_string()).collect(),
                ..Skeleton::default()
            }),
        }
    }
}

/// The names of COCO's key points. Left is the person's left.
const COCO: [&str; 17] = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
];

/// The connections of COCO's key points.
const COCO_EDGES: [[usize; 2]; 19] = [
    [15, 13],
    [13, 11],
    [16, 14],
    [14, 12],
    [11, 12],
    [5, 11],
    [6, 12],
    [5, 6],
    [5, 7],
    [6, 8],
    [7, 9],
    [8, 10],
    [1, 2],
    [0, 1],
    [0, 2],
    [1, 3],
    [2, 4],
    [3, 5],
    [4, 6],
];

impl Skeleton {
    /// Creates a skeleton from the names of the key points, the lines that connect two of them, and the
    /// pairs of left and right.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if a line or a pair is of a key point that has no name.
    pub fn new(names: Vec<String>, edges: Vec<[usize; 2]>, pairs: Vec<[usize; 2]>) -> Result<Self> {
        let count = names.len();
        match edges.iter().chain(&pairs).flatten().find(|&&place| place >= count) {
            Some(place) => Err(Error::input(format!(
                "a skeleton of {count} key points connects number {place}"
            ))),
            None => Ok(Skeleton { names, edges, pairs }),
        }
    }

    /// Returns the skeleton of COCO's 17 key points.
    pub fn coco() -> Self {
        // Every second key point is on the left, and the next its partner on the right.
        let pairs = (1..COCO.len()).step_by(2).map(|left| [left, left + 1]).collect();
        Skeleton { names: COCO.map(String::from).to_vec(), edges: COCO_EDGES.to_vec(), pairs }
    }

    /// Returns the names of the key points, in the order of the network's outputs.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the pairs of key points that a line connects.
    pub fn edges(&self) -> &[[usize; 2]] {
        &self.edges
    }

    /// Returns the pairs of key points of the left and the right side.
    pub fn pairs(&self) -> &[[usize; 2]] {
        &self.pairs
    }

    /// Returns the key point of the other side per key point, itself if it has none.
    pub(super) fn partners(&self) -> Vec<usize> {
        let mut partners: Vec<usize> = (0..self.names.len()).collect();
        for &[left, right] in &self.pairs {
            partners.swap(left, right);
        }
        partners
    }
}
