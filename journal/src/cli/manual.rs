//! Shell completions and man pages, made from the command lines' own definitions.
//!
//! What enters is a command with all its subcommands; what leaves is a script on standard output, or a folder of pages. Both
//! programs use it.

use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use thiserror::Error;

use super::output;
use crate::error::{Classify, Kind, Result};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal completions bash > ~/.local/share/bash-completion/completions/journal
  replay completions zsh > ~/.zfunc/_replay        # then `replay log --table notes-table-dev --<TAB>`")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Write man pages into a folder, one a command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal man ~/.local/share/man/man1
  replay man ~/.local/share/man/man1 && man replay-log    # with its examples of notes-table-dev")]
pub struct ManArgs {
    /// The folder; it is made when it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// A page could not be written.
#[derive(Debug, Error)]
#[error("cannot write man page {}", .path.display())]
pub struct PageError {
    path: PathBuf,
    source: io::Error,
}

impl Classify for PageError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("give a folder that can be written".to_owned())
    }
}

/// Prints the completions of `command`.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(mut command: Command, args: &CompletionsArgs) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    Ok(output::print_bytes(&script)?)
}

/// Writes a page for `command` and for each of its subcommands: `NAME.1`, `NAME-SUBCOMMAND.1`.
///
/// # Errors
/// When the folder or a page cannot be written.
pub fn man(mut command: Command, args: &ManArgs) -> Result<()> {
    command.build();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PageError { path, source }
    };
    std::fs::create_dir_all(&args.folder).map_err(failed(&args.folder))?;
    let name = command.get_name().to_owned();
    let subcommands: Vec<Command> = command.get_subcommands().filter(|one| one.get_name() != "help").cloned().collect();
    let pages = std::iter::once((name.clone(), command))
        .chain(subcommands.into_iter().map(|one| (format!("{name}-{}", one.get_name()), one)));
    for (title, command) in pages {
        let path = args.folder.join(format!("{title}.1"));
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).title(title.clone()).render(&mut page);
        rendered.and_then(|()| std::fs::write(&path, &page)).map_err(failed(&path))?;
    }
    Ok(())
}
