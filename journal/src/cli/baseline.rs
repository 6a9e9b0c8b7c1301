//! `journal baseline`: reads a live table into a snapshot.

use super::Global;
use crate::error::Result;
use crate::interrupt::Interrupt;

/// Read a live table into a snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal baseline --table notes")]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// When the table cannot be read or the store fails.
pub async fn run(_args: Args, _global: &Global, _interrupt: &Interrupt) -> Result<()> {
    Ok(())
}
