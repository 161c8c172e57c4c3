//! `dyrelu explain`: shows what the dynamic activations of a network do with photos.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::support::outcome::Outcome;
use crate::cli::support::photos::{Found, Source, Sources};
use crate::cli::support::preparation::Preparation;
use crate::cli::support::print::{count, print};
use crate::cli::support::progress::progress;
use crate::cli::support::table::{Narrow, sentences, table};
use crate::cli::support::values::{not_negative, positive, threads};
use crate::cli::support::{messages, model, target};
use dyrelu::explain::{Explainer, Summary};
use dyrelu::format::Replacement;
use dyrelu::format::safetensors::{WeightStorage, write as write_network};
use dyrelu::vision::DecodeOptions;
use dyrelu::{Error, Result};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu explain efficientnet-lite0-dyrelu-b photos/ --out dynamics
  dyrelu explain net.onnx --preprocess imagenet photos/ --out dynamics
  dyrelu explain net.onnx photos/ --out dynamics --freeze faster.safetensors

The folder gets index.html, a page with all pictures that opens without a network connection, and the \
numbers: activations.csv with a row per activation, and coefficients.csv with a row per coefficient. \
A hundred photos give stable shares; the first ones are shown with their attention.")]
pub struct Arguments {
    /// Network: a file, or a name from `dyrelu models`.
    model: PathBuf,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Largest deviation between photos, as a mean over channels, of the coefficients of an activation
    /// that counts as static.
    #[arg(long, value_name = "DEVIATION", default_value_t = 0.01, value_parser = not_negative)]
    tolerance: f64,
    /// Native weight file to write: the network with constants, the means over the photos, in place of the
    /// coefficients of static activations.
    #[arg(long, value_name = "FILE")]
    freeze: Option<PathBuf>,
    /// Preparation of photos, in place of that of the model file, as `dyrelu classify` takes it.
    #[arg(long, value_name = "imagenet|imagenet-inception|clip|JSON|FILE")]
    preprocess: Option<String>,
    /// Number of threads; by default all that this process may use.
    #[arg(long, short = 'j', value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    #[command(flatten)]
    photos: Sources,
    #[command(flatten)]
    engine: model::Engine,
}

pub fn run(arguments: Arguments) -> Result<Outcome> {
    let mut source = Source::open(&arguments.photos)?;
    if source.look_ahead(1) == 0 {
        return Err(source.nothing_found());
    }
    target::check_folder(&arguments.out)?;
    arguments.freeze.as_deref().map_or(Ok(()), target::check_file)?;
    let model = model::open(Some(&arguments.model), &arguments.engine)?;
    let of_model = |e: Error| e.in_file(&arguments.model);
    let preparation = Preparation::of_argument(arguments.preprocess.clone());
    let preprocess = preparation.photos_of_model(&model).map_err(of_model)?;
    let mut explainer = Explainer::new(&model, threads(arguments.threads)).map_err(of_model)?;
    let mut failed = false;
    let progress = progress(&arguments.photos, source.look_ahead(2), 0);
    for found in source {
        let photo = match found {
            Found::Photo(photo) => photo,
            Found::Failure(e) => {
                failed = true;
                progress.suspend(|| messages::error(e));
                continue;
            }
            Found::Note(text) => {
                progress.suspend(|| messages::note(text));
                continue;
            }
        };
        let name = photo.name.clone();
        let added = photo
            .load(&DecodeOptions::default())
            .and_then(|photo| explainer.add(&name, &preprocess.apply(&photo)?));
        if let Err(e) = added {
            failed = true;
            progress.suspend(|| messages::error(e.in_file(&name)));
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if explainer.photos() == 0 {
        return Err(Error::input("none of the photos could be used, so nothing was written"));
    }
    let summary = explainer.summary(arguments.tolerance);
    let name = arguments.model.file_name().unwrap_or_default().to_string_lossy();
    write(&arguments.out, explainer.files(&name, &summary)?)?;
    if let Some(path) = &arguments.freeze {
        let (graph, frozen) = explainer.freeze(&summary)?;
        write_network(&graph, None, path, WeightStorage::F32)?;
        let frozen = count(frozen, "activation");
        print(&format!("{}: {frozen} with constant coefficients\n", path.display()))?;
    }
    print(&text(&summary, explainer.photos(), &arguments.out))?;
    Ok(if failed { Outcome::Partial } else { Outcome::Success })
}

/// Writes all files, or none under its name.
fn write<const N: usize>(folder: &Path, files: [(&str, String); N]) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut replacements = Vec::new();
    for (name, contents) in files {
        let path = folder.join(name);
        let mut file = Replacement::of(&path)?;
        file.write_all(contents.as_bytes()).map_err(|e| Error::io(&path, e))?;
        replacements.push(file);
    }
    replacements.into_iter().try_for_each(Replacement::keep)
}

fn text(summary: &Summary, photos: usize, out: &Path) -> String {
    let header = ["activation", "form", "K", "slope <0, >1", "|offset| >0.05", "deviation", ""];
    let percent =
        |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.0}%", 100.0 * share));
    let rows = summary.activations.iter().map(|a| {
        let deviation = a.deviation.map_or("-".into(), |d| format!("{d:.4}"));
        let note = if a.is_static { "static" } else { "" };
        let (unusual, shifted) = (percent(a.unusual_slopes), percent(a.intercepts));
        [a.name.clone(), a.form.into(), a.k.to_string(), unusual, shifted, deviation, note.into()]
    });
    let mut text =
        table(header.map(String::from), rows.collect(), &[2, 3, 4, 5], Narrow::Shorten(0));
    let fixed = summary.activations.iter().filter(|a| a.is_static).count();
    text.push_str(&sentences(&format!(
        "\n{} over {}; {}",
        count(summary.activations.len(), "dynamic activation"),
        count(photos, "photo"),
        summary.shares()
    )));
    text.push_str(&match photos {
        1 => "one photo cannot show whether coefficients depend on it: give several\n".to_string(),
        _ => format!("{fixed} are static: their coefficients hardly differ between photos\n"),
    });
    text.push_str(&format!("{}\n", out.join("index.html").display()));
    text
}
