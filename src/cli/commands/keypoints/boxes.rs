//! The boxes of persons: from arguments, or from a file with COCO's annotations.

use std::path::{Path, PathBuf};

use crate::cli::support::coco::{Coco, Person};
use dyrelu::vision::{Photo, Region};
use dyrelu::{Error, Result};

/// The boxes that the arguments name.
pub enum Boxes {
    /// One person, in the whole photo.
    Whole,
    /// The same boxes in every photo.
    Everywhere(Vec<Region>),
    /// The annotations of a file.
    Annotated(PathBuf, Coco),
}

/// The persons of a photo.
pub struct Persons {
    /// One box per person.
    pub regions: Vec<Region>,
    /// The number of the photo in COCO's files, if it is known.
    image: Option<u64>,
}

impl Boxes {
    /// Parses the values of `--boxes`: boxes, or one file.
    pub fn parse(values: &[String]) -> Result<Self> {
        let regions: Option<Vec<Region>> = values.iter().map(|value| region(value)).collect();
        match (values, regions) {
            ([], _) => Ok(Boxes::Whole),
            (_, Some(regions)) => Ok(Boxes::Everywhere(regions)),
            // Numbers with commas are a box that is wrong, unless there is such a file.
            ([file], None) if Path::new(file).exists() || !is_list_of_numbers(file) => {
                let path = PathBuf::from(file);
                let annotations = Coco::read(&path).map_err(|e| e.in_file(&path))?;
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
                let image = annotations.image(path).ok_or_else(|| {
                    let file = file.display();
                    Error::input(format!("{file} has no image with the name of this photo"))
                })?;
                let labelled = image.persons.iter().filter(|person| person.is_labelled());
                let regions = labelled.map(Person::region).collect();
                return Ok(Persons { regions, image: Some(image.id) });
            }
        };
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        Ok(Persons { regions, image: stem.and_then(|stem| stem.parse().ok()) })
    }
}

fn is_list_of_numbers(text: &str) -> bool {
    text.contains(',') && text.split(',').all(|part| part.trim().parse::<f32>().is_ok())
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
