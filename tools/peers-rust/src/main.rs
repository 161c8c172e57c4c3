//! The worker of an engine in Rust: `peers-rust ENGINE NETWORK.onnx THREADS BATCH X.npy Y.npy`.
//!
//! Loads the network, writes its first output to Y.npy and warms up. Then it follows the protocol of
//! `dyrelu_tools/compare_engines/protocol.py`: it prints `ready`, and answers each `run N` with the
//! times of N runs in seconds, until `quit`.

mod array;
mod rten;
mod tract;

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::array::Array;

const WARM_UP: usize = 3;
const WARM_UP_TIME: Duration = Duration::from_secs(1);

/// The network and settings that an engine loads.
struct Job<'a> {
    network: &'a Path,
    threads: usize,
    input: Array,
}

/// A loaded network, which runs on the input of its job.
trait Engine {
    fn run(&mut self) -> Result<Array>;
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [engine, network, threads, batch, x, y] = words.as_slice() else {
        bail!("usage: peers-rust ENGINE NETWORK.onnx THREADS BATCH X.npy Y.npy");
    };
    let input = Array::read(x)?;
    let batch: usize = batch.parse().context("BATCH")?;
    if input.shape.first() != Some(&batch) {
        bail!("{x} has an array of shape {:?}, expected a batch of {batch}", input.shape);
    }
    let job =
        Job { network: Path::new(network), threads: threads.parse().context("THREADS")?, input };
    let mut engine: Box<dyn Engine> = match engine.as_str() {
        "rten" => Box::new(rten::load(job)?),
        "tract" => Box::new(tract::load(job)?),
        other => bail!("unknown engine {other:?}, expected rten or tract"),
    };
    engine.run()?.write(y)?;
    serve(engine.as_mut())
}

fn serve(engine: &mut dyn Engine) -> Result<()> {
    let start = Instant::now();
    for _ in 0..WARM_UP {
        engine.run()?;
        if start.elapsed() > WARM_UP_TIME {
            break;
        }
    }
    answer("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            None if line == "quit" => break,
            Some(("run", count)) => {
                let count: usize = count.parse().with_context(|| format!("command {line:?}"))?;
                let times: Vec<String> = (0..count)
                    .map(|_| {
                        let start = Instant::now();
                        engine.run()?;
                        Ok(start.elapsed().as_secs_f64().to_string())
                    })
                    .collect::<Result<_>>()?;
                answer(&times.join(" "))?;
            }
            _ => bail!("unknown command {line:?}"),
        }
    }
    Ok(())
}

fn answer(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
