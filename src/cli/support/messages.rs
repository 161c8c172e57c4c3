//! What commands say on standard error: errors, notes, and progress.

use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::OnceLock;

use super::print::print_stderr;

/// The options for messages, shared by all commands.
#[derive(clap::Args, Clone, Copy)]
#[command(next_help_heading = "Messages")]
pub struct MessageOptions {
    /// Print errors only, on standard error.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Also print which network, instruction set and preparation of photos are used.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Draw no progress bar. There is none either where standard error is no terminal.
    #[arg(long, global = true)]
    no_progress: bool,
    /// When to colour messages; auto is in a terminal, if NO_COLOR is not set.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

static ARGUMENTS: OnceLock<MessageOptions> = OnceLock::new();

impl MessageOptions {
    /// Makes the functions of this file follow the options.
    pub fn apply(self) {
        // Only the first call counts, and there is one.
        let _ = ARGUMENTS.set(self);
    }
}

fn has(option: impl Fn(&MessageOptions) -> bool) -> bool {
    ARGUMENTS.get().is_some_and(option)
}

fn is_coloured() -> bool {
    match ARGUMENTS.get().map_or(Color::Never, |arguments| arguments.color) {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
            cfg!(unix) && std::io::stderr().is_terminal() && !refused
        }
    }
}

fn labelled(label: &str, style: &str, text: impl Display) {
    if is_coloured() {
        print_stderr(format_args!("\x1b[{style}m{label}:\x1b[0m {text}"));
    } else {
        print_stderr(format_args!("{label}: {text}"));
    }
}

/// Prints an error.
pub fn error(text: impl Display) {
    labelled("error", "1;31", text);
}

/// Prints a remark, unless the user wants errors only.
pub fn note(text: impl Display) {
    if !has(|arguments| arguments.quiet) {
        labelled("note", "1;36", text);
    }
}

/// Prints a summary of the work, unless the user wants errors only.
pub fn summary(text: impl Display) {
    if !has(|arguments| arguments.quiet) {
        print_stderr(text);
    }
}

/// Prints a detail, if the user wants details.
pub fn detail(text: impl Display) {
    if has(|arguments| arguments.verbose) {
        print_stderr(text);
    }
}

/// Whether progress may be drawn.
pub fn may_draw_progress() -> bool {
    !has(|arguments| arguments.quiet || arguments.no_progress)
}
