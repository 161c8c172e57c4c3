//! The information from which the rule of an operator infers types.

use super::Types;
use super::fresh::Fresh;
use super::sizes::may_equal;
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, Node, TensorType};
use crate::tensor::{DType, Tensor};

/// Why a rule has no result.
pub(super) enum Stop {
    /// The type depends on data or on an unknown type.
    Unknown,
    /// The inputs of the node do not fit together.
    Contradiction(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Contradiction(error)
    }
}

/// The result of a rule.
pub(super) type Answer<T> = std::result::Result<T, Stop>;

/// Returns the size 1.
pub(super) fn one() -> Dim {
    Dim::from(1)
}

/// A node and what is known about its inputs.
pub(super) struct Context<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub known: &'a Types,
    pub fresh: &'a Fresh,
}

impl<'a> Context<'a> {
    /// Returns whether optional input `i` is present.
    pub fn has(&self, i: usize) -> bool {
        self.node.input(i).is_some()
    }

    /// Returns the type of input `i`.
    pub fn ty(&self, i: usize) -> Answer<&'a TensorType> {
        self.node.input(i).and_then(|id| self.known.get(id)).ok_or(Stop::Unknown)
    }

    /// Returns the sizes of input `i`.
    pub fn dims(&self, i: usize) -> Answer<&'a [Dim]> {
        self.ty(i).map(|ty| ty.dims.as_slice())
    }

    /// Returns input `i`, if it is a constant.
    pub fn constant(&self, i: usize) -> Option<&'a Tensor> {
        self.graph.constant(self.node.input(i)?)
    }

    /// Returns the elements of input `i`, if they depend on constants and sizes only.
    pub fn elements(&self, i: usize) -> Option<&'a [Dim]> {
        self.known.elements(self.node.input(i)?)
    }

    /// Returns the elements of integer input `i` (axes, shapes, pads and so on), if they are known.
    pub fn integer_dims(&self, i: usize) -> Answer<&'a [Dim]> {
        if let Ok(ty) = self.ty(i)
            && !matches!(ty.dtype, DType::I64 | DType::I32)
        {
            return Err(Error::shape(format!(
                "input {i} must hold integers of type i64, found {ty}"
            ))
            .into());
        }
        self.elements(i).ok_or(Stop::Unknown)
    }

    /// Returns the elements of integer input `i`, if all of them are known numbers.
    pub fn integers(&self, i: usize) -> Answer<Vec<i64>> {
        self.integer_dims(i)?.iter().map(Dim::as_const).collect::<Option<_>>().ok_or(Stop::Unknown)
    }

    /// Returns the number of elements of integer vector `i`, whose elements are unknown.
    pub fn length(&self, i: usize) -> Answer<usize> {
        let dims = self.dims(i)?;
        match dims {
            [] => Ok(1),
            [length] => length.as_size().filter(|n| *n <= MAX_RANK).ok_or(Stop::Unknown),
            _ => Err(Error::shape(format!("input {i} must have one axis, found {dims:?}")).into()),
        }
    }

    /// Returns new symbols for the sizes of `rank` axes.
    pub fn fresh(&self, rank: usize) -> Vec<Dim> {
        (0..rank).map(|_| self.fresh.dim()).collect()
    }

    /// Checks that those of `inputs` whose types are known have the same element type.
    pub fn same_types(&self, inputs: impl IntoIterator<Item = usize>) -> Result<()> {
        let mut first: Option<(usize, DType)> = None;
        for i in inputs {
            let Ok(ty) = self.ty(i) else { continue };
            match first {
                None => first = Some((i, ty.dtype)),
                Some((_, dtype)) if dtype == ty.dtype => {}
                Some((j, dtype)) => {
                    return Err(Error::shape(format!(
                        "inputs {j} and {i} must have the same element type, found {dtype} and {}; \
                         one of them needs a Cast",
                        ty.dtype
                    )));
                }
            }
        }
        Ok(())
    }

    /// Checks that `fits` holds for the element type of input `i`, if that is known.
    pub fn expect_type(&self, i: usize, wanted: &str, fits: fn(DType) -> bool) -> Result<()> {
        match self.ty(i) {
            Ok(ty) if !fits(ty.dtype) => Err(Error::shape(format!(
                "input {i} must be {wanted}, found {}; it needs a Cast",
                ty.dtype
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that input `i` is a vector of `length` elements, if its type is known.
    pub fn expect_vector(&self, i: usize, what: &str, length: &Dim) -> Result<()> {
        let Ok(ty) = self.ty(i) else { return Ok(()) };
        let fits = match ty.dims.as_slice() {
            [found] => may_equal(found, length),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(Error::shape(format!("{what} must have shape [{length}], found {:?}", ty.dims)))
    }
}

/// The most axes of a tensor whose number of axes is the length of a vector. ONNX sets no limit,
/// but a hostile file could ask for a billion.
const MAX_RANK: usize = 64;
