//! `journal dev`: the local stack kept running: a DynamoDB whose every table is journalled and can be rewound.

mod followers;
pub(super) mod stack;

use std::path::PathBuf;
use std::sync::Arc;

use self::stack::{Stack, StackOptions};
use super::{Global, output};
use crate::embedded;
use crate::error::Result;
use crate::interrupt::Interrupt;

/// Run a local DynamoDB with every table journalled, until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal dev
  journal dev --port 8123 --folder /var/tmp/shop-dev

Data and journal stay in the folder; the same command goes on with them. JOURNAL_URL is not used: a local table does not
belong into the journal of real ones.")]
pub struct Args {
    /// Where DynamoDB listens, on 127.0.0.1; 0 takes a free port
    #[arg(long, default_value_t = 8000, value_name = "PORT")]
    pub port: u16,
    /// Where database and journal are kept
    #[arg(long, default_value = ".journal-dev", value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Do not switch on the streams of tables that are made without one; they are not journalled then
    #[arg(long)]
    pub leave_streams_alone: bool,
}

/// Runs the command.
///
/// # Errors
/// When the port is taken, the folder is in use or cannot be written, or the journal cannot be brought to the end.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let quiet = global.quiet;
    let again = again(&args);
    let options = StackOptions {
        folder: args.folder,
        port: Some(args.port),
        leave_streams_alone: args.leave_streams_alone,
        listener: Arc::new(move |notice| {
            if !quiet {
                output::note(&notice.to_string());
            }
        }),
    };
    let stack = Stack::start(options).await?;
    if let Err(error) = output::print(&welcome(stack.endpoint(), stack.location())) {
        stack.stop().await?;
        return Err(error.into());
    }
    interrupt.wait().await;
    output::note("stopping: the journal is brought to the end of every stream");
    stack.stop().await?;
    output::note(&format!("stopped; start again with: {again}"));
    Ok(())
}

/// The command that goes on where this one stops.
fn again(args: &Args) -> String {
    let leave = if args.leave_streams_alone { " --leave-streams-alone" } else { "" };
    format!("journal dev --port {} --folder {}{leave}", args.port, args.folder.display())
}

fn welcome(endpoint: &str, location: &str) -> String {
    let environment = embedded::environment(endpoint).map(|(name, value)| format!("  export {name}={value}"));
    let exports = environment.join("\n");
    format!(
        "DynamoDB listens on {endpoint}, every table is journalled to {location}

Point an app, the AWS CLI or an SDK at it:
{exports}

Rewind a table from another terminal, with the settings above and
  export JOURNAL_URL={location}
  replay export --table TABLE --at '10 minutes ago' --format json
  replay restore --table TABLE --at '10 minutes ago' --as TABLE-restored

Ctrl-C stops; data and journal are kept
"
    )
}

#[cfg(test)]
mod tests;
