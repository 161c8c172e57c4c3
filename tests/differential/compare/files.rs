//! The network written to a native file, with and without packed weights, and read again.

use std::path::Path;

use dyrelu::format::safetensors::{WeightStorage, write};
use dyrelu::{Model, Tensor, compile, format};

use super::tolerance::Tolerance;
use super::{Check, run, same_bits};
use crate::graphs::Case;

/// The packed file gives what the network in memory gave. The other one is compiled a second time,
/// which may find more to join: its results may be rounded otherwise.
pub fn check(case: &Case, expected: &[Tensor], tolerance: &mut Tolerance) -> Check {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let [plain, packed] = ["plain", "packed"].map(|name| folder.path().join(name));
    convert(case, &plain, &packed).map_err(|e| format!("cannot be converted: {e}"))?;
    let open = |path: &Path, what: &str| {
        let found = Model::open(path).and_then(|model| run(&model, &case.inputs));
        found.map_err(|e| format!("{what} is refused: {e}"))
    };
    let from_plain = open(&plain, "the file")?;
    tolerance.check(&from_plain).map_err(|e| format!("the file differs: {e}"))?;
    let from_packed = open(&packed, "the packed file")?;
    same_bits(&from_packed, expected).map_err(|e| format!("the packed file differs: {e}"))?;
    Ok(())
}

/// As `dyrelu convert` does.
fn convert(case: &Case, plain: &Path, packed: &Path) -> dyrelu::Result<()> {
    let mut graph = case.graph.clone();
    let report = compile::optimise(&mut graph)?;
    write(&graph, None, plain, WeightStorage::F32)?;
    let stored = format::open(plain)?;
    let prepared = compile::prepare(&stored, &report.unrecognised)?;
    write(&stored, Some(prepared), packed, WeightStorage::F32)?;
    Ok(())
}
