//! The attributes of a node, with their types checked.

use super::proto::{self, attribute_type as kind};
use crate::error::{Error, Result};

/// The attributes of one node.
pub(super) struct Attributes<'n>(&'n [proto::Attribute]);

impl<'n> Attributes<'n> {
    pub(super) fn of(node: &'n proto::Node) -> Self {
        Attributes(&node.attribute)
    }

    fn find(&self, name: &str, wanted: i32, what: &str) -> Result<Option<&'n proto::Attribute>> {
        let Some(found) = self.0.iter().find(|a| a.name == name) else { return Ok(None) };
        // Files from before IR version 3 do not state the type.
        if found.r#type != wanted && found.r#type != kind::UNDEFINED {
            return Err(Error::format(format!("attribute {name:?} should be {what}")));
        }
        Ok(Some(found))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|a| a.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.find(name, kind::INT, "an integer")?.map_or(default, |a| a.i))
    }

    /// Returns a flag. Other integers than 0 and 1 are errors, because engines read them differently.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.int(name, default.into())? {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                Err(Error::format(format!("attribute {name:?} should be 0 or 1, found {other}")))
            }
        }
    }

    pub(super) fn size(&self, name: &str, default: usize) -> Result<usize> {
        match self.find(name, kind::INT, "an integer")? {
            Some(a) => as_size(name, a.i),
            None => Ok(default),
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.find(name, kind::FLOAT, "a number")?.map_or(default, |a| a.f))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<&'n [f32]>> {
        Ok(self.find(name, kind::FLOATS, "a list of numbers")?.map(|a| a.floats.as_slice()))
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'n [i64]>> {
        Ok(self.find(name, kind::INTS, "a list of integers")?.map(|a| a.ints.as_slice()))
    }

    /// Returns a list of sizes, empty if the attribute is absent.
    pub(super) fn sizes(&self, name: &str) -> Result<Vec<usize>> {
        self.ints(name)?.unwrap_or(&[]).iter().map(|&i| as_size(name, i)).collect()
    }

    pub(super) fn string(&self, name: &str, default: &'static str) -> Result<&'n str> {
        match self.find(name, kind::STRING, "a string")? {
            Some(a) => std::str::from_utf8(&a.s)
                .map_err(|_| Error::format(format!("attribute {name:?} is not valid text"))),
            None => Ok(default),
        }
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'n proto::Tensor>> {
        Ok(self.find(name, kind::TENSOR, "a tensor")?.and_then(|a| a.t.as_ref()))
    }

    pub(super) fn sparse_tensor(&self, name: &str) -> Result<Option<&'n proto::SparseTensor>> {
        let found = self.find(name, kind::SPARSE_TENSOR, "a sparse tensor")?;
        Ok(found.and_then(|a| a.sparse_tensor.as_ref()))
    }
}

fn as_size(name: &str, value: i64) -> Result<usize> {
    usize::try_from(value)
        .map_err(|_| Error::format(format!("attribute {name:?} must not be negative: {value}")))
}
