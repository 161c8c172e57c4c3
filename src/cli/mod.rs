//! The command line. Each command is a file; what they share is here.

mod arrays;
mod bench;
mod classify;
mod convert;
mod inspect;
mod interrupt;
mod models;
mod npy;
mod photos;
mod plan;
mod run;
mod serve;
mod table;
mod verify;
mod zoo;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use dyrelu::{Error, ErrorKind, Result, simd};

/// Run convolutional networks with dynamic ReLU on CPUs.
///
/// Reads ONNX files and dyrelu's own weight files. Dynamic activations are recognised however the
/// network was written, and run as one operation.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  everything went well
  1  the command ran, but some image or folder failed or a verification was off
  2  nothing could be done: a wrong argument, or a file that cannot be used
  130, 143  stopped by SIGINT (Ctrl-C) or SIGTERM; no unfinished file is left";

#[derive(Subcommand)]
enum Command {
    /// Name what is in photos.
    Classify(classify::Arguments),
    /// Run a network on tensors from .npy files.
    Run(run::Arguments),
    /// Show a network's layers, costs and dynamic activations.
    Inspect(inspect::Arguments),
    /// Compare the engine with the plain reference, and with expected outputs.
    Verify(verify::Arguments),
    /// Convert an ONNX file to a native weight file.
    Convert(convert::Arguments),
    /// Measure how long a network takes.
    Bench(bench::Arguments),
    /// List the networks that can be named in place of a file.
    Models(zoo::Arguments),
}

/// How a command that could be run ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fine,
    Partial,
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TextOrJson {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ready = instruction_set().and_then(|()| interrupt::listen());
    let outcome = ready.and_then(|()| match arguments.command {
        Command::Classify(a) => classify::run(a),
        Command::Run(a) => run::run(a),
        Command::Inspect(a) => inspect::run(a),
        Command::Verify(a) => verify::run(a),
        Command::Convert(a) => convert::run(a),
        Command::Bench(a) => bench::run(a),
        Command::Models(a) => zoo::run(a),
    });
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(1),
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            say(format_args!("error: {e}"));
            ExitCode::from(2)
        }
    }
}

/// Whether `DYRELU_ISA`, where it is set, names instructions that this processor has.
fn instruction_set() -> Result<()> {
    let Some(wanted) = simd::unavailable_choice() else { return Ok(()) };
    let names: Vec<_> = simd::Isa::available().iter().map(|isa| isa.name()).collect();
    Err(Error::input(format!(
        "DYRELU_ISA is {wanted:?}, which this processor does not have or dyrelu does not know; it \
         may be {}",
        names.join(" or ")
    )))
}

/// Writes text to standard output as one piece.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output_failed)
}

/// A refusal to write results.
fn output_failed(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write to standard output: {e}")).because(e)
}

/// Whether the reader of our output went away, as `head` does when it has seen enough.
fn is_broken_pipe(e: &Error) -> bool {
    let source = std::error::Error::source(e);
    source
        .and_then(|s| s.downcast_ref::<std::io::Error>())
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The number of threads to run on: as asked for, or as many as this process may use.
fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Reads a number of things of which there is at least one.
fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(e) => Err(e.to_string()),
    }
}

/// Reads a quantity.
fn not_negative(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        Ok(_) => Err("must be at least 0, and finite".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// Says something to the user beside the results. Where nobody listens, nothing is said.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// `value` as JSON.
fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::Format, format!("cannot be written as JSON: {e}")))
}
