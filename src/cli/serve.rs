//! `dyrelu bench --serve`: runs when another program says so, which lets several engines take turns.
//!
//! The other end, and what is said, is `tools/dyrelu_tools/compare_engines/protocol.py`.

use std::io::BufRead;
use std::time::Instant;

use dyrelu::{Error, Result, Session, Tensor};

use super::print;

/// Says `ready`, then answers `run N` with the seconds of N runs, until `quit` or the end of input.
///
/// Inputs and outputs, which are as long as these `outputs`, stay where they are from run to run, as
/// the other engines are given theirs: a large one that is new at every run would cost page faults.
///
/// # Errors
/// `Input` where some are not of type f32, or what is said is something else.
pub(super) fn serve(session: &mut Session, inputs: &[Tensor], outputs: &[Tensor]) -> Result<()> {
    let views = inputs.iter().map(|x| Ok((x.shape(), x.as_f32()?))).collect::<Result<Vec<_>>>()?;
    let mut room: Vec<_> = outputs.iter().map(|y| vec![0.0; y.len()]).collect();
    let mut room: Vec<&mut [f32]> = room.iter_mut().map(Vec::as_mut_slice).collect();
    print("ready\n")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::input(format!("standard input: {e}")))?;
        match line.split_once(' ').map(|(word, count)| (word, count.parse::<usize>())) {
            None if line == "quit" => break,
            Some(("run", Ok(count))) => {
                let times = (0..count).map(|_| {
                    let start = Instant::now();
                    session.run_into(&views, &mut room)?;
                    Ok(start.elapsed().as_secs_f64().to_string())
                });
                print(&(times.collect::<Result<Vec<_>>>()?.join(" ") + "\n"))?;
            }
            _ => return Err(Error::input(format!("expected `run N` or `quit`, found {line:?}"))),
        }
    }
    Ok(())
}
