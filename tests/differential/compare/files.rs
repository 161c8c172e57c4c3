//! Compares the network in memory with native files of it, with and without packed weights.

use std::path::Path;

use dyrelu::format::safetensors::{WeightStorage, write};
use dyrelu::{Model, Options, compile, format};

use super::tolerance::Tolerance;
use super::{Check, precise, run, same_bits};
use crate::graphs::Case;

/// Checks that the packed file gives the bits of the network in memory.
///
/// The file without packed weights is compiled a second time, which may fuse more operators and round
/// differently. It is checked against the tolerance.
pub fn check(case: &Case, tolerance: &mut Tolerance) -> Check {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let [plain, packed] = ["plain", "packed"].map(|name| folder.path().join(name));
    convert(case, &plain, &packed).map_err(|e| format!("cannot be converted: {e}"))?;
    let run_model = |model: dyrelu::Result<_>, name: &str| {
        let outputs = model.and_then(|model| run(&model, &case.inputs));
        outputs.map_err(|e| format!("{name} is refused: {e}"))
    };
    let from_plain = run_model(Model::open_with(&plain, precise()), "the file")?;
    tolerance.check(&from_plain).map_err(|e| format!("the file differs: {e}"))?;
    // A packed file has the weights of the default options.
    let in_memory = Model::from_graph(case.graph.clone(), Options::default());
    let expected = run_model(in_memory, "the network with rounded weights")?;
    let from_packed = run_model(Model::open(&packed), "the packed file")?;
    same_bits(&from_packed, &expected).map_err(|e| format!("the packed file differs: {e}"))?;
    Ok(())
}

/// Writes both files as `dyrelu convert` does.
fn convert(case: &Case, plain: &Path, packed: &Path) -> dyrelu::Result<()> {
    let mut graph = case.graph.clone();
    let report = compile::optimise(&mut graph)?;
    write(&graph, None, plain, WeightStorage::F32)?;
    let stored = format::open(plain)?;
    let prepared = compile::prepare(&stored, &report.unrecognised)?;
    write(&stored, Some(prepared), packed, WeightStorage::F32)?;
    Ok(())
}
