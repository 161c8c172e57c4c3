//! `dyrelu completions` and `dyrelu man`: what shells and manuals need, made from the arguments.

use std::path::PathBuf;

use clap::Command;

use crate::cli::support::outcome::Outcome;
use crate::cli::support::print::print;
use dyrelu::{Error, Result};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu completions bash > ~/.local/share/bash-completion/completions/dyrelu
  dyrelu completions zsh > ~/.zfunc/_dyrelu
  dyrelu completions fish > ~/.config/fish/completions/dyrelu.fish
  dyrelu completions powershell >> $PROFILE")]
#[group(id = "completions")]
pub struct Arguments {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dyrelu man | man -l -
  dyrelu man --output ~/.local/share/man/man1")]
#[group(id = "man")]
pub struct ManArguments {
    /// Folder to write a page per command to, such as dyrelu-classify.1.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// `command` describes the arguments of the program.
pub fn completions(arguments: Arguments, mut command: Command) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "dyrelu", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Success)
}

/// `command` describes the arguments of the program.
pub fn man(arguments: ManArguments, command: Command) -> Result<Outcome> {
    match arguments.output {
        Some(folder) => {
            std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
            clap_mangen::generate_to(command, &folder).map_err(|e| Error::io(&folder, e))?;
        }
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            rendered.map_err(|e| Error::io("the manual page", e))?;
            print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(Outcome::Success)
}
