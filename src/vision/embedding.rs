//! Embeddings: the vector that a network computes of a photo before it scores classes.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::graph::{Graph, Op, TensorType, ValueId};
use crate::tensor::{DType, Tensor};

/// The value of a network that is the embedding of a photo.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// The name of the value.
    pub name: String,
    /// Its index among the outputs of the network.
    pub output: usize,
}

impl Embedding {
    /// Makes the value or the node `layer` an output of the network, or by default what its last fully
    /// connected layer or convolution reads.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if there is no such value, and [`Graph`](crate::ErrorKind::Graph)
    /// if the network contradicts itself.
    pub fn of(graph: &mut Graph, layer: Option<&str>) -> Result<Self> {
        graph.validate()?;
        let value = match layer {
            Some(name) => named(graph, name)?,
            None => before_the_last_layer(graph).ok_or_else(|| {
                Error::input(
                    "it is not clear which value the last layer of this network reads; name the \
                     layer whose output is the embedding",
                )
            })?,
        };
        let mut outputs = graph.outputs().to_vec();
        let output = outputs.iter().position(|&output| output == value).unwrap_or_else(|| {
            outputs.push(value);
            outputs.len() - 1
        });
        graph.set_outputs(outputs);
        Ok(Embedding { name: graph.value(value).name.clone(), output })
    }

    /// Returns the number of features of a photo, if a value of type `ty` is an embedding.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if it is not a vector or a map per photo, or if the number of
    /// its features is not fixed.
    pub fn features(&self, ty: Option<&TensorType>) -> Result<usize> {
        let shape: Option<Vec<Option<usize>>> =
            ty.map(|ty| ty.dims.iter().map(|dim| dim.as_size()).collect());
        let features = match shape.as_deref() {
            Some([_, features] | [_, features, _, _]) => *features,
            _ => None,
        };
        features.ok_or_else(|| {
            let found = shape.map_or("a shape that depends on the photo".into(), |shape| {
                let sizes = shape.iter().map(|size| size.map_or("?".into(), |n| n.to_string()));
                format!("the shape [{}]", sizes.collect::<Vec<String>>().join(", "))
            });
            Error::input(format!(
                "the embedding is [photos, features] or [photos, features, height, width]; {:?} has \
                 {found}",
                self.name
            ))
        })
    }

    /// Returns the features of each of `photos` photos in what a run gave. Those of a map are the means of
    /// its channels.
    ///
    /// # Errors
    ///
    /// [`Input`](crate::ErrorKind::Input) if the shape is none of an embedding.
    pub(super) fn pooled(&self, value: &Tensor, photos: usize) -> Result<Vec<Vec<f32>>> {
        let (features, pixels) = match *value.shape() {
            [count, features] if count == photos => (features, 1),
            [count, features, height, width] if count == photos => (features, height * width),
            _ => {
                return Err(Error::input(format!(
                    "the embedding of {photos} photos is [{photos}, features] or [{photos}, features, \
                     height, width]; {:?} has the shape {:?}",
                    self.name,
                    value.shape()
                )));
            }
        };
        let value = value.cast(DType::F32)?;
        let values = value.as_f32()?;
        let mean = |map: &[f32]| {
            let sum: f64 = map.iter().map(|&v| f64::from(v)).sum();
            (sum / pixels as f64) as f32
        };
        let pooled = (0..photos).map(|photo| {
            let map = |feature| {
                let start = (photo * features + feature) * pixels;
                &values[start..start + pixels]
            };
            (0..features).map(|feature| mean(map(feature))).collect()
        });
        Ok(pooled.collect())
    }
}

/// Returns the value of this name, or the first output of the node of this name.
fn named(graph: &Graph, name: &str) -> Result<ValueId> {
    let computed = || graph.nodes().iter().flat_map(|node| node.outputs.iter().flatten().copied());
    let value = computed().find(|&value| graph.value(value).name == name);
    let node = || graph.nodes().iter().find(|node| node.name == name)?.outputs[0];
    value.or_else(node).ok_or_else(|| {
        let mut similar: Vec<String> = computed()
            .map(|value| &graph.value(value).name)
            .filter(|value| value.contains(name))
            .map(|value| format!("{value:?}"))
            .collect();
        let count = similar.len();
        similar.truncate(5);
        let hint = match count {
            0 => String::new(),
            1..=5 => format!("; similar ones: {}", similar.join(", ")),
            _ => format!("; {count} names contain this, such as {}", similar.join(", ")),
        };
        Error::input(format!("the network computes no value and has no node {name:?}{hint}"))
    })
}

/// Returns what the last convolution or product with weights reads, on the way back from the first
/// output. Returns `None` where several values that depend on the photo meet on this way.
fn before_the_last_layer(graph: &Graph) -> Option<ValueId> {
    let mut of_photo: HashSet<ValueId> = graph.inputs().iter().copied().collect();
    for node in graph.nodes() {
        let depends = node.inputs.iter().flatten().any(|input| of_photo.contains(input));
        // Sizes are those of all photos.
        if depends && !matches!(node.op, Op::Shape { .. } | Op::Size) {
            of_photo.extend(node.outputs.iter().flatten());
        }
    }
    let mut value = *graph.outputs().first()?;
    loop {
        let producer = |node: &&crate::graph::Node| node.outputs.contains(&Some(value));
        let node = graph.nodes().iter().find(producer)?;
        let mut inputs = node.inputs.iter().flatten().filter(|input| of_photo.contains(input));
        let input = *inputs.next()?;
        if inputs.next().is_some() {
            return None;
        }
        if matches!(node.op, Op::Gemm(_) | Op::MatMul | Op::Conv(_) | Op::ConvTranspose(_)) {
            return Some(input);
        }
        value = input;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Binary, Dim, PoolKind, Softmax};

    /// Two layers, whose scores go through a softmax.
    fn graph() -> Graph {
        let mut graph = Graph::new("layers");
        let dims = vec![Dim::symbol("N"), 2.into(), 1.into(), 1.into()];
        let x = graph.add_input("x", TensorType { dtype: DType::F32, dims });
        let pooled = graph.apply("pooled", Op::GlobalPool(PoolKind::Average), &[x]);
        let flat = graph.apply("flat", Op::Flatten { axis: 1 }, &[pooled]);
        let weights = |size| Tensor::new(&[2, size], vec![1.0; 2 * size]).unwrap();
        let first = graph.add_constant("w1", weights(2));
        let hidden = graph.apply("hidden", Op::MatMul, &[flat, first]);
        let second = graph.add_constant("w2", weights(3));
        let product = graph.apply("product", Op::MatMul, &[hidden, second]);
        let bias = graph.add_constant("bias", Tensor::new(&[3], vec![1.0; 3]).unwrap());
        let logits = graph.apply("logits", Op::Binary(Binary::Add), &[product, bias]);
        let softmax = Op::Softmax(Softmax { axis: 1, flatten: false });
        let scores = graph.apply("scores", softmax, &[logits]);
        graph.set_outputs(vec![scores]);
        graph
    }

    #[test]
    fn the_last_layer_is_found_behind_bias_and_softmax() {
        let mut graph = graph();
        let found = Embedding::of(&mut graph, None).unwrap();
        assert_eq!((found.name.as_str(), found.output, graph.outputs().len()), ("hidden", 1, 2));
        // An output is not computed twice.
        let found = Embedding::of(&mut graph, Some("scores")).unwrap();
        assert_eq!((found.output, graph.outputs().len()), (0, 2));
    }

    #[test]
    fn a_last_layer_that_is_not_clear_and_names_that_are_wrong_are_refused() {
        let mut graph = graph();
        let error = Embedding::of(&mut graph, Some("hid")).unwrap_err().to_string();
        assert!(error.contains(r#"no node "hid"; similar ones: "hidden""#), "{error}");
        let value = |name| {
            let id = graph.nodes().iter().map(|node| node.output());
            id.into_iter().find(|&id| graph.value(id).name == name).unwrap()
        };
        let (logits, scores) = (value("logits"), value("scores"));
        let sum = graph.apply("sum", Op::Binary(Binary::Add), &[logits, scores]);
        graph.set_outputs(vec![sum]);
        let error = Embedding::of(&mut graph, None).unwrap_err().to_string();
        assert!(error.contains("not clear which value the last layer"), "{error}");
    }

    #[test]
    fn maps_are_averaged_and_tokens_are_refused() {
        let embedding = Embedding { name: "map".into(), output: 0 };
        let map =
            Tensor::new(&[2, 2, 1, 2], vec![1.0f32, 3.0, 5.0, 9.0, 0.0, 1.0, 2.0, 2.0]).unwrap();
        let expected = [[2.0, 7.0], [0.5, 2.0]].map(Vec::from);
        assert_eq!(embedding.pooled(&map, 2).unwrap(), expected);
        let tokens = Tensor::new(&[1, 4, 2], vec![0.0f32; 8]).unwrap();
        let error = embedding.pooled(&tokens, 1).unwrap_err().to_string();
        assert!(error.contains("\"map\" has the shape [1, 4, 2]"), "{error}");
        let dims = vec![1.into(), Dim::symbol("L"), 2.into()];
        let ty = TensorType { dtype: DType::F32, dims };
        let error = embedding.features(Some(&ty)).unwrap_err().to_string();
        assert!(error.contains("has the shape [1, ?, 2]"), "{error}");
    }
}
