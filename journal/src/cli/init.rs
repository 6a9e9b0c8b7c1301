//! `journal init`: makes a journal at a location.

use super::{Global, output};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::store;

/// Nothing but what every command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal init --journal file:///var/lib/journal
  journal init --journal s3://my-journal-bucket/production

A bucket must exist and keep versions:
  aws s3api put-bucket-versioning --bucket my-journal-bucket \\
    --versioning-configuration Status=Enabled")]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// When the location cannot be opened or holds something else.
pub async fn run(_args: Args, global: &Global, _interrupt: &Interrupt) -> Result<()> {
    let location = global.location()?;
    store::init(location).await?;
    output::line(&format!("{location} is a journal"))?;
    Ok(())
}
