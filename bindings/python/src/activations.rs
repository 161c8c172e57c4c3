//! The coefficients of dynamic activations for an image.

use std::collections::HashMap;

use dyrelu::{Error, Model, Result, Session, Tensor};

/// Returns the coefficients that each dynamic activation has for `image`, with the name of its node, in
/// execution order.
///
/// # Errors
///
/// As [`Session::run`], and an error of kind [`Input`](dyrelu::ErrorKind::Input) if the network does not
/// compute the coefficients of an activation as a tensor of their own.
pub fn coefficients(session: &mut Session, image: Tensor) -> Result<Vec<(String, Tensor)>> {
    let model = session.model().clone();
    let wanted = values_of_coefficients(&model);
    let mut found: HashMap<String, Tensor> = HashMap::new();
    session.run_observed(&[image], &mut |value, tensor| {
        if wanted.iter().any(|(_, name)| *name == value) {
            found.insert(value.into(), tensor.clone());
        }
    })?;
    let of_activation = |(activation, value): (&str, &str)| match found.get(value) {
        Some(tensor) => Ok((activation.to_string(), tensor.clone())),
        None => Err(Error::input(format!(
            "the coefficients of activation {activation:?} are computed inside another step"
        ))),
    };
    wanted.into_iter().map(of_activation).collect()
}

/// The names of the dynamic activations, each with that of the value that holds its coefficients.
fn values_of_coefficients(model: &Model) -> Vec<(&str, &str)> {
    let graph = model.graph();
    let activations = model.report().dynamic_activations.iter();
    let with_value = activations.filter_map(|activation| {
        let node = graph.nodes().iter().find(|node| node.name == activation.name)?;
        Some((activation.name.as_str(), graph.value(node.input(1)?).name.as_str()))
    });
    with_value.collect()
}
