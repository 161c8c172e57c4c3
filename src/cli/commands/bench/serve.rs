//! `dyrelu bench --serve`: runs the network on request, so that another program can measure several
//! engines in turns.
//!
//! The protocol and its other end are in `tools/dyrelu_tools/compare_engines/protocol.py`.

use std::io::BufRead;
use std::time::Instant;

use dyrelu::{Error, Result, Session, Tensor};

use crate::cli::support::print::print;

/// Prints `ready`, then answers each line `run N` with the times of N runs in seconds. Returns after
/// `quit` or at the end of standard input.
///
/// Inputs and outputs stay in the same buffers for all runs, as for the other engines: new buffers
/// would add page faults to every run. `outputs` are those of an earlier run, for their sizes.
///
/// # Errors
/// [`ErrorKind::Input`](dyrelu::ErrorKind::Input) if an input is not of type f32 or a request is
/// malformed.
pub fn serve(session: &mut Session, inputs: &[Tensor], outputs: &[Tensor]) -> Result<()> {
    let views = inputs.iter().map(|x| Ok((x.shape(), x.as_f32()?))).collect::<Result<Vec<_>>>()?;
    let mut buffers: Vec<_> = outputs.iter().map(|y| vec![0.0; y.len()]).collect();
    let mut buffers: Vec<&mut [f32]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
    print("ready\n")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::input(format!("standard input: {e}")))?;
        match line.split_once(' ').map(|(word, count)| (word, count.parse::<usize>())) {
            None if line == "quit" => break,
            Some(("run", Ok(count))) => {
                let times = (0..count).map(|_| {
                    let start = Instant::now();
                    session.run_into(&views, &mut buffers)?;
                    Ok(start.elapsed().as_secs_f64().to_string())
                });
                print(&(times.collect::<Result<Vec<_>>>()?.join(" ") + "\n"))?;
            }
            _ => return Err(Error::input(format!("expected `run N` or `quit`, found {line:?}"))),
        }
    }
    Ok(())
}
