//! The command line of `replay`: reads arguments, builds clients, calls the library, prints.
//!
//! One module a command, each with its `Args` and its `run`. Data goes to standard output, everything else to standard
//! error. Decides nothing about history.

pub mod audit;
pub mod blame;
pub mod cut;
pub mod diff;
pub mod export;
pub mod log;
pub mod restore;
pub mod rewind;
pub mod schema;
pub mod show;
#[cfg(feature = "sql")]
pub mod sql;
pub mod tables;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use journal::cli::{Global, manual};
use journal::error::Result;
use journal::interrupt::Interrupt;

/// Exit code of `show`, `log` and `blame` when the item is not there: neither success nor an error.
pub const ABSENT_EXIT_CODE: u8 = 10;

/// Reads a write-ahead event journal for DynamoDB: any table as it was at any second
#[derive(Debug, Parser)]
#[command(
    name = "replay",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "Examples:
  replay export --journal s3://bucket/prefix --table notes-table-dev --at '10 minutes ago' --output notes.json
  replay show --table notes-table-dev --key noteId=5b1a --at 2020-03-29T10:00:00Z
  replay restore --table notes-table-dev --at latest --as notes-table-dev-restored
  replay rewind --table notes-table-dev --before 2026-11-22T10:00:00Z
  replay log --table notes-table-dev --since '2 hours ago'
  replay verify --table notes-table-dev

Exit codes: 0 done, 1 different (diff), 2 wrong input, 3 try again, 4 corrupt, 5 gap, 6 conflict, 7 newer format, 10 item absent (show, log,
blame), 70 defect, 130 stopped."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a table's state at a cut to a file or to standard output
    Export(export::Args),
    /// Show one item at a cut
    Show(show::Args),
    /// Show the changes of an item, of items with a prefix, or of the whole table, newest first
    Log(log::Args),
    /// Show which items differ between two states of a table
    Diff(diff::Args),
    /// Show for each attribute of an item the change that last set it
    Blame(blame::Args),
    /// Ask a journal in SQL
    #[cfg(feature = "sql")]
    Sql(Box<sql::Args>),
    /// Show the tables in the journal: their keys, timelines, sizes, and the times that are covered
    Tables(tables::Args),
    /// Show which attributes the items of a table have had: types, since when, in what share
    Schema(schema::Args),
    /// Print the completions of a shell
    Completions(manual::CompletionsArgs),
    /// Write man pages into a folder, one a command
    Man(manual::ManArgs),
    /// Make a new table with a table's state at a cut, and prove it
    Restore(restore::Args),
    /// Take a table back in place: undo what changed after a cut, or in a window, and nothing else
    Rewind(rewind::Args),
    /// Check every checksum, and that no change is missing
    Verify(verify::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever the command fails with.
    pub async fn run(self, interrupt: &Interrupt) -> Result<ExitCode> {
        match self.command {
            Command::Export(args) => Box::pin(export::run(args, &self.global, interrupt)).await,
            Command::Show(args) => show::run(args, &self.global, interrupt).await,
            Command::Log(args) => log::run(args, &self.global, interrupt).await,
            Command::Diff(args) => diff::run(args, &self.global, interrupt).await,
            Command::Blame(args) => blame::run(args, &self.global, interrupt).await,
            #[cfg(feature = "sql")]
            Command::Sql(args) => sql::run(*args, &self.global, interrupt).await,
            Command::Tables(args) => tables::run(args, &self.global, interrupt).await,
            Command::Schema(args) => schema::run(args, &self.global, interrupt).await,
            Command::Completions(args) => {
                manual::completions(<Self as clap::CommandFactory>::command(), &args).map(|()| ExitCode::SUCCESS)
            }
            Command::Man(args) => {
                manual::man(<Self as clap::CommandFactory>::command(), &args).map(|()| ExitCode::SUCCESS)
            }
            Command::Restore(args) => Box::pin(restore::run(args, &self.global, interrupt)).await,
            Command::Rewind(args) => Box::pin(rewind::run(args, &self.global, interrupt)).await,
            Command::Verify(args) => verify::run(args, &self.global, interrupt).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_examples_from_the_notes_table() {
        let mut command = Cli::command();
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            if command.get_name() != "help" {
                let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(text.starts_with("Examples:\n"), "{}", command.get_name());
                assert!(text.contains("notes-table-dev"), "{}", command.get_name());
            }
        }
    }
}
