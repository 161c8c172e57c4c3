//! Reads files with COCO's annotations of persons.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use dyrelu::format::read_text;
use dyrelu::vision::Region;
use dyrelu::{Error, Result};

/// Annotated images, by the last part of their names.
pub struct Coco(HashMap<String, Vec<Image>>);

pub struct Image {
    name: PathBuf,
    /// The number of the image in COCO's files.
    pub id: u64,
    pub persons: Vec<Person>,
}

/// An annotation of a person, or of a crowd of persons.
#[derive(Deserialize)]
pub struct Person {
    image_id: u64,
    /// Left, top, width and height.
    #[serde(rename = "bbox")]
    pub frame: [f64; 4],
    /// The area of the person in pixels.
    pub area: Option<f64>,
    /// Column, row and visibility of each key point.
    #[serde(default)]
    pub keypoints: Vec<f64>,
    category_id: Option<u64>,
    num_keypoints: Option<u64>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct File {
    images: Vec<FileImage>,
    annotations: Vec<Person>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct FileImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

impl Person {
    pub fn is_crowd(&self) -> bool {
        self.iscrowd != 0
    }

    /// Whether it is one person, whose key points may be labelled.
    pub fn is_labelled(&self) -> bool {
        !self.is_crowd() && self.num_keypoints != Some(0)
    }

    pub fn region(&self) -> Region {
        let [x, y, width, height] = self.frame.map(|number| number as f32);
        Region { x, y, width, height }
    }
}

impl Coco {
    /// # Errors
    /// [`ErrorKind::Io`](dyrelu::ErrorKind::Io) or [`ErrorKind::Format`](dyrelu::ErrorKind::Format) if the file
    /// cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let file: File = serde_json::from_str(&read_text(path)?)
            .map_err(|e| Error::format(format!("this is no file with COCO's annotations: {e}")))?;
        let of_persons: HashSet<u64> =
            file.categories.iter().filter(|c| c.name == "person").map(|c| c.id).collect();
        let mut persons: HashMap<u64, Vec<Person>> = HashMap::new();
        for annotation in file.annotations {
            let is_person = file.categories.is_empty()
                || annotation.category_id.is_some_and(|id| of_persons.contains(&id));
            if is_person {
                persons.entry(annotation.image_id).or_default().push(annotation);
            }
        }
        let mut by_name: HashMap<String, Vec<Image>> = HashMap::new();
        for FileImage { id, file_name } in file.images {
            let name = PathBuf::from(file_name);
            let persons = persons.remove(&id).unwrap_or_default();
            by_name.entry(last_part(&name)).or_default().push(Image { name, id, persons });
        }
        Ok(Coco(by_name))
    }

    /// The image whose name the path ends with.
    pub fn image(&self, path: &Path) -> Option<&Image> {
        let images = self.0.get(&last_part(path))?;
        let fitting = images.iter().filter(|image| path.ends_with(&image.name));
        let most_specific = fitting.max_by_key(|image| image.name.components().count());
        match images.as_slice() {
            [only] => Some(only),
            _ => most_specific,
        }
    }
}

fn last_part(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
