//! The command line of `journal`: reads arguments, builds clients, calls the library, prints.
//!
//! One module a command, each with its `Args` and its `run`. What enters are arguments and the environment; what leaves
//! are the library's calls, text on standard output, and progress, warnings and errors on standard error. Decides
//! nothing about history.

pub mod aws;
pub mod baseline;
pub mod check_deploy;
pub mod compact;
#[cfg(feature = "embedded")]
pub mod demo;
#[cfg(feature = "embedded")]
pub mod dev;
pub mod follow;
pub mod global;
pub mod guard;
pub mod ingest;
pub mod init;
pub mod manual;
pub mod output;
pub mod progress;
pub mod protect;
pub mod redrive;
pub mod report;
pub mod snapshot;
pub mod status;
pub mod unprotect;

use clap::{Parser, Subcommand};

pub use global::Global;

use crate::error::Result;
use crate::interrupt::Interrupt;

/// A write-ahead event journal for DynamoDB tables: every change kept, every second replayable
#[derive(Debug, Parser)]
#[command(
    name = "journal",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "Examples:
  journal init --journal file:///var/lib/journal
  journal ingest --journal s3://bucket/prefix records.jsonl.gz
  JOURNAL_URL=s3://bucket/prefix journal baseline --table notes

`replay` reads what `journal` writes. Exit codes: 0 done, 2 wrong input, 3 try again,
4 corrupt, 5 gap, 6 conflict, 7 newer format, 70 defect, 130 stopped."
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
    /// Make a journal at a location
    ///
    /// Makes the folder, where it is one, and the document that says that this is a journal. A journal that is there already
    /// is left as it is.
    Init(init::Args),
    /// Append stream records from files
    ///
    /// Files are plain, gzip or zstd, told by their first bytes. They hold `{"Records":[…]}` documents as a stream sends them
    /// to a function, one record a line, lists of records, what an event source mapping left in S3 when it gave a batch
    /// up, or documents from a journal's quarantine.
    Ingest(ingest::Args),
    /// Append what an event source mapping gave up
    ///
    /// Reads the on-failure destination of the mapping: every object of an S3 destination, or a queue's messages. Each
    /// batch is appended and marked; what is marked is passed over the next time.
    Redrive(redrive::Args),
    /// Follow the streams of live tables
    Follow(follow::Args),
    /// Show what the journal holds and how far it reaches
    Status(status::Args),
    /// Read a live table into a snapshot
    ///
    /// Then items that never change are in the journal too, and a replay needs no records from before it.
    Baseline(baseline::Args),
    /// Protect live tables: stream, event source mapping, baseline
    ///
    /// Switches the stream on with both images, makes the mapping from it to the journal's function, waits until it is
    /// enabled, reads the table into a baseline and says from when to when history can be had. What is done already is left
    /// as it is, so the same command goes on where it was stopped.
    Protect(protect::Args),
    /// Stop feeding the journal from a table; the journal stays
    Unprotect(unprotect::Args),
    /// Look whether every table is protected as it ought to be, and mend what is not
    ///
    /// Notes what happened to tables, binds new streams, reads streams beside the function and appends what it missed,
    /// drains the streams of deleted tables. Ends with 5 when something is left that somebody must mend.
    Guard(guard::Args),
    /// Merge short segments into long ones, and delete those that were merged before
    Compact(compact::Args),
    /// Make a snapshot of a table at a moment, from the journal's own records
    Snapshot(snapshot::Args),
    /// Refuse a deploy that would delete, replace or bare a table
    ///
    /// Compares the template that is to be deployed with the one that is, or reads a change set. Works offline.
    CheckDeploy(check_deploy::Args),
    /// Print the completions of a shell
    Completions(manual::CompletionsArgs),
    /// Write man pages into a folder, one a command
    Man(manual::ManArgs),
    /// Tell the incident on a DynamoDB of its own: a deploy deletes a table, and one command brings it back
    #[cfg(feature = "embedded")]
    Demo(demo::Args),
    /// Run a local DynamoDB with every table journalled, until Ctrl-C
    #[cfg(feature = "embedded")]
    Dev(dev::Args),
}

impl Cli {
    /// Sends logs to standard error, as the command needs them.
    pub fn set_up_logs(&self) {
        let reported = if matches!(self.command, Command::Ingest(_)) { "journal::append::quarantine" } else { "" };
        report::set_up_logs_without(&self.global, reported);
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Whatever the command fails with.
    pub async fn run(self, interrupt: &Interrupt) -> Result<()> {
        match self.command {
            Command::Init(args) => init::run(args, &self.global, interrupt).await,
            Command::Ingest(args) => ingest::run(args, &self.global, interrupt).await,
            Command::Redrive(args) => redrive::run(args, &self.global, interrupt).await,
            Command::Follow(args) => follow::run(args, &self.global, interrupt).await,
            Command::Status(args) => status::run(args, &self.global, interrupt).await,
            Command::Baseline(args) => baseline::run(args, &self.global, interrupt).await,
            Command::Protect(args) => protect::run(args, &self.global, interrupt).await,
            Command::Unprotect(args) => unprotect::run(args, &self.global, interrupt).await,
            Command::Guard(args) => guard::run(args, &self.global, interrupt).await,
            Command::Compact(args) => compact::run(args, &self.global, interrupt).await,
            Command::Snapshot(args) => snapshot::run(args, &self.global, interrupt).await,
            Command::CheckDeploy(args) => check_deploy::run(args, &self.global, interrupt),
            Command::Completions(args) => manual::completions(<Self as clap::CommandFactory>::command(), &args),
            Command::Man(args) => manual::man(<Self as clap::CommandFactory>::command(), &args),
            #[cfg(feature = "embedded")]
            Command::Demo(args) => demo::run(args, &self.global, interrupt).await,
            #[cfg(feature = "embedded")]
            Command::Dev(args) => dev::run(args, &self.global, interrupt).await,
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
    fn every_help_ends_with_examples() {
        let mut command = Cli::command();
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            if command.get_name() != "help" {
                let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(text.starts_with("Examples:\n"), "{}", command.get_name());
            }
        }
    }
}
