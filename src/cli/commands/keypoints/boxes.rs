//! The boxes of persons: from arguments, or from a file with COCO's annotations.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use dyrelu::format::read_text;
use dyrelu::vision::{Photo, Region};
use dyrelu::{Error, Result};

/// The boxes that the arguments name.
pub enum Boxes {
    /// One person, in the whole photo.
    Whole,
    /// The same boxes in every photo.
    Everywhere(Vec<Region>),
    /// The annotations of a file.
    Annotated(PathBuf, Annotations),
}

/// The persons of a photo.
pub struct Persons {
    /// One box per person.
    pub regions: Vec<Region>,
    /// The number of the photo in COCO's files, if it is known.
    image: Option<u64>,
}

/// Annotations by the last part of the name of the photo.
pub struct Annotations(HashMap<String, Vec<Image>>);

struct Image {
    name: PathBuf,
    id: u64,
    regions: Vec<Region>,
}

/// What is read of a file with COCO's annotations.
#[derive(Deserialize)]
struct File {
    images: Vec<FileImage>,
    annotations: Vec<Annotation>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct FileImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    bbox: [f32; 4],
    #[serde(default)]
    category_id: Option<u64>,
    #[serde(default)]
    num_keypoints: Option<u64>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

impl Boxes {
    /// Parses the values of `--boxes`: boxes, or one file.
    pub fn parse(values: &[String]) -> Result<Self> {
        let regions: Option<Vec<Region>> = values.iter().map(|value| region(value)).collect();
        match (values, regions) {
            ([], _) => Ok(Boxes::Whole),
            (_, Some(regions)) => Ok(Boxes::Everywhere(regions)),
            ([file], None) => {
                let path = PathBuf::from(file);
                let annotations = Annotations::read(&path).map_err(|e| e.in_file(&path))?;
                Ok(Boxes::Annotated(path, annotations))
            }
            (values, None) => {
                let other = values.iter().find(|value| region(value).is_none());
                Err(Error::input(format!(
                    "--boxes takes one file or several boxes; {:?} is no box of the form x,y,width,height",
                    other.map_or("", String::as_str)
                )))
            }
        }
    }

    /// The persons of the photo at `path`.
    pub fn of(&self, path: &Path, photo: &Photo) -> Result<Persons> {
        let regions = match self {
            Boxes::Whole => vec![Region::whole(photo)],
            Boxes::Everywhere(regions) => regions.clone(),
            Boxes::Annotated(file, annotations) => {
                let image = annotations.of(path).ok_or_else(|| {
                    let file = file.display();
                    Error::input(format!("{file} has no image with the name of this photo"))
                })?;
                return Ok(Persons { regions: image.regions.clone(), image: Some(image.id) });
            }
        };
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        Ok(Persons { regions, image: stem.and_then(|stem| stem.parse().ok()) })
    }
}

/// Parses `x,y,width,height`.
fn region(text: &str) -> Option<Region> {
    let numbers: Vec<f32> =
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().ok()?;
    let &[x, y, width, height] = numbers.as_slice() else { return None };
    Some(Region { x, y, width, height })
}

impl Persons {
    /// The number of the photo in COCO's files.
    pub fn image(&self) -> Result<u64> {
        self.image.ok_or_else(|| {
            Error::input(
                "COCO's format needs the number of the image: name the photo by it, or give --boxes a \
                 file with COCO's annotations",
            )
        })
    }
}

impl Annotations {
    fn read(path: &Path) -> Result<Self> {
        let file: File = serde_json::from_str(&read_text(path)?)
            .map_err(|e| Error::format(format!("this is no file with COCO's annotations: {e}")))?;
        let of_persons: HashSet<u64> =
            file.categories.iter().filter(|c| c.name == "person").map(|c| c.id).collect();
        let mut regions: HashMap<u64, Vec<Region>> = HashMap::new();
        for annotation in file.annotations {
            let is_person = file.categories.is_empty()
                || annotation.category_id.is_some_and(|id| of_persons.contains(&id));
            if is_person && annotation.iscrowd == 0 && annotation.num_keypoints != Some(0) {
                let [x, y, width, height] = annotation.bbox;
                let region = Region { x, y, width, height };
                regions.entry(annotation.image_id).or_default().push(region);
            }
        }
        let mut by_name: HashMap<String, Vec<Image>> = HashMap::new();
        for FileImage { id, file_name } in file.images {
            let name = PathBuf::from(file_name);
            let regions = regions.get(&id).cloned().unwrap_or_default();
            by_name.entry(last_part(&name)).or_default().push(Image { name, id, regions });
        }
        Ok(Annotations(by_name))
    }

    /// The image whose name the path ends with.
    fn of(&self, path: &Path) -> Option<&Image> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_numbers_or_one_file() {
        let parse = |values: &[&str]| {
            Boxes::parse(&values.iter().map(|value| value.to_string()).collect::<Vec<_>>())
        };
        let Ok(Boxes::Everywhere(regions)) = parse(&["1,2,3.5,4", "-1, 0,5,6"]) else { panic!() };
        assert_eq!(regions[0], Region { x: 1.0, y: 2.0, width: 3.5, height: 4.0 });
        assert_eq!(regions[1].x, -1.0);
        assert!(matches!(parse(&[]), Ok(Boxes::Whole)));
        for values in [&["1,2,3"][..], &["1,2,3,4,5"], &["a,2,3,4"], &["1,2,3,4", "x.json"]] {
            assert!(parse(values).is_err(), "{values:?}");
        }
    }
}
