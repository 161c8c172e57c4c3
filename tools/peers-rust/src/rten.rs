//! rten, with an optimised graph, weights packed during loading, and a thread pool of its own.

use std::sync::Arc;

use anyhow::{Context, Result};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::array::Array;
use crate::{Engine, Job};

pub struct Rten {
    model: Model,
    options: RunOptions,
    input: (NodeId, Tensor<f32>),
    output: NodeId,
}

pub fn load(job: Job) -> Result<Rten> {
    // Parts of loading run in the default pool, whose size is RTEN_NUM_THREADS.
    let mut options = ModelOptions::with_all_ops();
    let model = options.enable_optimization(true).prepack_weights(true).load_file(job.network)?;
    let pool = ThreadPool::with_num_threads(job.threads);
    let id = *model.input_ids().first().context("the network has no input")?;
    let output = *model.output_ids().first().context("the network has no output")?;
    let input = Tensor::from_data(&job.input.shape, job.input.values);
    Ok(Rten {
        model,
        options: RunOptions::default().with_thread_pool(Some(Arc::new(pool))),
        input: (id, input),
        output,
    })
}

impl Engine for Rten {
    fn run(&mut self) -> Result<Array> {
        let inputs = vec![(self.input.0, self.input.1.view().into())];
        let [output] = self.model.run_n(inputs, [self.output], Some(self.options.clone()))?;
        let scores: Tensor<f32> = output.try_into()?;
        Ok(Array { shape: scores.shape().to_vec(), values: scores.to_vec() })
    }
}
