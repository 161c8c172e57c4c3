//! The network written to a native file, with and without packed weights, and read again.

use std::path::Path;

use dyrelu::format::safetensors::{WeightStorage, write};
use dyrelu::{Model, Tensor, compile, format};

use super::{Check, run, same_bits};
use crate::graphs::Case;

/// Files give what the network in memory gave.
pub fn check(case: &Case, expected: &[Tensor]) -> Check {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let [plain, packed] = ["plain", "packed"].map(|name| folder.path().join(name));
    convert(case, &plain, &packed).map_err(|e| format!("cannot be converted: {e}"))?;
    for (path, what) in [(plain, "the file"), (packed, "the packed file")] {
        let found = Model::open(&path).and_then(|model| run(&model, &case.inputs));
        let found = found.map_err(|e| format!("{what} is refused: {e}"))?;
        same_bits(&found, expected).map_err(|e| format!("{what} differs: {e}"))?;
    }
    Ok(())
}

/// As `dyrelu convert` does.
fn convert(case: &Case, plain: &Path, packed: &Path) -> dyrelu::Result<()> {
    let mut graph = case.graph.clone();
    let report = compile::optimise(&mut graph)?;
    write(&graph, None, plain, WeightStorage::F32)?;
    let stored = format::open(plain)?;
    let prepared = compile::prepare(&stored, report.unrecognised)?;
    write(&stored, Some(prepared), packed, WeightStorage::F32)?;
    Ok(())
}
