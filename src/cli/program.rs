//! The program: its commands, and what its exit code means.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::commands::{
    bench, classify, convert, evaluate, explain, inspect, keypoints, models, run, shells, verify,
};
use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::is_broken_pipe;
use crate::cli::support::{interrupt, messages, version};
use dyrelu::{Error, Result, simd};

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
  130, 143  stopped by SIGINT (Ctrl-C) or SIGTERM; no unfinished file is left";

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
    Models(models::Arguments),
    /// Print what makes a shell complete commands and options.
    Completions(shells::Arguments),
    /// Print the manual page, or write one per command.
    Man(shells::ManArguments),
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
        Command::Models(a) => models::run(a),
        Command::Completions(a) => shells::completions(a, Arguments::command()),
        Command::Man(a) => shells::man(a, Arguments::command()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands after the options in the help of each command.
    fn endings() -> Vec<(String, String)> {
        let program = Arguments::command();
        let mut endings = vec![("dyrelu".to_string(), EXIT_CODES.to_string())];
        endings.extend(program.get_subcommands().filter_map(|command| {
            Some((command.get_name().to_string(), command.get_after_help()?.to_string()))
        }));
        assert!(endings.len() > 10);
        endings
    }

    /// A terminal breaks long lines anywhere, and clap breaks paragraphs by words.
    #[test]
    fn help_fits_80_columns() {
        for (command, ending) in endings() {
            let mut is_paragraph = false;
            for line in ending.lines() {
                let is_fixed = line.starts_with(' ') || line.ends_with(':');
                assert!(!is_fixed || line.chars().count() <= 80, "{command}: {line}");
                let continues = is_paragraph && !line.is_empty() && !is_fixed;
                assert!(!continues, "{command}: a paragraph is one line: {line}");
                is_paragraph = !line.is_empty() && !is_fixed;
            }
        }
    }

    #[test]
    fn examples_in_the_help_have_valid_arguments() {
        let mut examples = 0;
        for (command, ending) in endings() {
            for line in ending.replace("\\\n", " ").lines().filter(|line| line.starts_with("  ")) {
                let Some(start) = line.find("dyrelu ") else { continue };
                let words = line[start..].split_whitespace();
                let words = words.take_while(|word| !["#", "|", ">", ">>"].contains(word));
                let words: Vec<_> = words.map(|word| word.trim_matches('\'')).collect();
                // A quoted argument with spaces is not taken apart as a shell does it.
                if line[start..].matches('\'').count() == 0 {
                    let parsed = Arguments::try_parse_from(&words);
                    assert!(parsed.is_ok(), "{command}: {line}\n{}", parsed.err().unwrap());
                    examples += 1;
                }
            }
        }
        assert!(examples > 30, "{examples}");
    }
}
