//! `dyrelu bench --serve`: runs when another program says so, which lets several engines take turns.
//!
//! The other end, and what is said, is `tools/dyrelu_tools/compare_engines/protocol.py`.

use std::io::BufRead;
use std::time::Instant;

use dyrelu::{Error, Result, Session, Tensor};

use super::print;

/// Says `ready`, then answers `run N` with the seconds of N runs, until `quit` or the end of input.
pub(super) fn serve(session: &mut Session, inputs: &[Tensor]) -> Result<()> {
    print("ready\n")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::input(format!("standard input: {e}")))?;
        match line.split_once(' ').map(|(word, count)| (word, count.parse::<usize>())) {
            None if line == "quit" => break,
            Some(("run", Ok(count))) => {
                let times = (0..count).map(|_| {
                    let start = Instant::now();
                    session.run(inputs)?;
                    Ok(start.elapsed().as_secs_f64().to_string())
                });
                print(&(times.collect::<Result<Vec<_>>>()?.join(" ") + "\n"))?;
            }
            _ => return Err(Error::input(format!("expected `run N` or `quit`, found {line:?}"))),
        }
    }
    Ok(())
}
