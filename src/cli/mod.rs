//! The command line: one file per command. This file has what several commands share.

mod arrays;
mod bench;
mod classify;
mod convert;
mod evaluate;
mod explain;
mod inspect;
mod interrupt;
mod keypoints;
mod labels;
mod measure;
mod messages;
mod models;
mod npy;
mod output;
mod photos;
mod pipeline;
mod plan;
mod preparation;
mod record;
mod rows;
mod run;
mod serve;
mod shells;
mod sweep;
mod table;
mod verify;
mod version;
mod work;
mod zoo;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use dyrelu::{Error, ErrorKind, Result, simd};

/// Run convolutional networks with dynamic ReLU on CPUs.
///
/// Reads ONNX files and native weight files. Recognises dynamic activations however the network
/// was written, and runs each as one operation.
#[derive(Parser)]
#[command(version, long_version = version::long(), arg_required_else_help = true, after_help = EXIT_CODES)]
#[command(max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    messages: messages::MessageOptions,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the command ran, but an image, a folder or a verification failed
  2  nothing was done: an argument is wrong, or a file cannot be used
  130, 143  stopped by SIGINT (Ctrl-C) or SIGTERM; no unfinished file is left, and results that
     were written are complete";

#[derive(Subcommand)]
enum Command {
    /// Classify photos.
    Classify(classify::Arguments),
    /// Measure how often a network is right, on photos whose classes are known.
    Evaluate(evaluate::Arguments),
    /// Find the key points of persons in photos.
    Keypoints(keypoints::Arguments),
    /// Run a network on arrays from .npy files.
    Run(run::Arguments),
    /// Show the layers, costs and dynamic activations of a network.
    Inspect(inspect::Arguments),
    /// Show what the dynamic activations of a network do with photos.
    Explain(explain::Arguments),
    /// Compare the results of the engine with the reference executor, and with expected outputs.
    Verify(verify::Arguments),
    /// Convert an ONNX file to a native weight file.
    Convert(convert::Arguments),
    /// Measure how long a network takes.
    Bench(bench::Arguments),
    /// List the networks that commands accept by name instead of a file.
    Models(zoo::Arguments),
    /// Print what makes a shell complete commands and options.
    Completions(shells::Arguments),
    /// Print the manual page, or write one per command.
    Man(shells::ManArguments),
}

/// The outcome of a command that did not end with an error. It decides the exit code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Exit code 0.
    Success,
    /// Exit code 1: part of the work failed.
    Partial,
    /// Exit code 128 + the number of the signal that stopped the work.
    Stopped(u8),
}

/// The format of printed results.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TextOrJson {
    /// Tables and sentences for people.
    Text,
    /// JSON for programs.
    Json,
}

/// Runs the command that the program's arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.messages.apply();
    let ready = instruction_set().and_then(|()| interrupt::listen());
    let outcome = ready.and_then(|()| match arguments.command {
        Command::Classify(a) => classify::run(a),
        Command::Evaluate(a) => evaluate::run(a),
        Command::Keypoints(a) => keypoints::run(a),
        Command::Run(a) => run::run(a),
        Command::Inspect(a) => inspect::run(a),
        Command::Explain(a) => explain::run(a),
        Command::Verify(a) => verify::run(a),
        Command::Convert(a) => convert::run(a),
        Command::Bench(a) => bench::run(a),
        Command::Models(a) => zoo::run(a),
        Command::Completions(a) => shells::completions(a),
        Command::Man(a) => shells::man(a),
    });
    match outcome {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(1),
        Ok(Outcome::Stopped(signal)) => ExitCode::from(128 + signal),
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            messages::error(&e);
            ExitCode::from(2)
        }
    }
}

/// Checks that `DYRELU_ISA`, if it is set, names an instruction set that this processor has.
fn instruction_set() -> Result<()> {
    let Some(choice) = simd::unavailable_choice() else { return Ok(()) };
    let names: Vec<_> = simd::Isa::available().iter().map(|isa| isa.name()).collect();
    Err(Error::input(format!(
        "DYRELU_ISA is {choice:?}, which is not an instruction set of this processor; expected {}",
        names.join(" or ")
    )))
}

/// Writes text to standard output and flushes it.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output_failed)
}

/// The error for results that could not be written.
fn output_failed(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write to standard output: {e}")).because(e)
}

/// Whether writing failed because the reader of the output closed it, as `head` does.
fn is_broken_pipe(e: &Error) -> bool {
    let source = std::error::Error::source(e);
    source
        .and_then(|s| s.downcast_ref::<std::io::Error>())
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The number of threads to run on: `option` if it is given, else as many as this process may use.
fn threads(option: Option<usize>) -> usize {
    option.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Parses the value of an option that must be at least 1.
fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(e) => Err(e.to_string()),
    }
}

/// Parses the value of an option that must be finite and at least 0.
fn not_negative(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        Ok(_) => Err("must be at least 0, and finite".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// Writes a line to standard error. A write that fails is ignored: there is nowhere to report it.
fn print_stderr(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Serialises a result of a command.
fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::Format, format!("cannot write the result as JSON: {e}")))
}
