//! tract, with a fixed batch and optimisations for this processor. Matrix products use a thread pool.

use anyhow::{Context, Result};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use crate::array::Array;
use crate::{Engine, Job};

pub struct Tract {
    state: TypedSimpleState,
    input: TValue,
}

pub fn load(job: Job) -> Result<Tract> {
    if job.threads > 1 {
        set_default_executor(Executor::multithread(job.threads));
    }
    let input = Tensor::from_shape(&job.input.shape, &job.input.values)?;
    let fact = InferenceFact::dt_shape(f32::datum_type(), &job.input.shape);
    let model = tract_onnx::onnx().model_for_path(job.network)?.with_input_fact(0, fact)?;
    let state = model.into_optimized()?.into_runnable()?.spawn()?;
    Ok(Tract { state, input: input.into_tvalue() })
}

impl Engine for Tract {
    fn run(&mut self) -> Result<Array> {
        let outputs = self.state.run(tvec!(self.input.clone()))?;
        let scores = outputs.first().context("the network has no output")?;
        let view = scores.to_plain_array_view::<f32>()?;
        Ok(Array { shape: view.shape().to_vec(), values: view.iter().copied().collect() })
    }
}
