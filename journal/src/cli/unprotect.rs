//! `journal unprotect`: no mapping feeds the journal from a table any more.

use super::protect::{outcome, stopped};
use super::{Global, aws, output};
use crate::error::Result;
use crate::guard::{GuardEdges, read};
use crate::interrupt::Interrupt;
use crate::model::TableName;
use crate::protect::{Patience, ProtectError, observe, unbind};

/// Which tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal unprotect notes-table-old --function journal-stream-trigger         # says what it would do
  journal unprotect notes-table-old --function journal-stream-trigger --yes

Deletes the mappings from the table's streams to the journal's function, after what the streams hold was read. The
table, its stream and all that the journal has stay. A guard whose settings choose the table binds it again: take it
out of them first.")]
pub struct Args {
    /// The tables, by name
    #[arg(value_name = "TABLE", required = true)]
    pub tables: Vec<TableName>,
    /// The journal's function: name or ARN
    #[arg(long, env = "JOURNAL_FUNCTION", value_name = "NAME")]
    pub function: String,
    /// Yes, from now on changes of these tables are in no journal
    #[arg(long)]
    pub yes: bool,
}

/// Runs the command.
///
/// # Errors
/// When it was not confirmed, or a mapping could not be deleted.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let store = global.open().await?;
    let settings = aws::settings().await?;
    let edges = GuardEdges::of_aws(&settings, store);
    let mut failures = Vec::new();
    for table in &args.tables {
        let done = tokio::select! {
            done = one(&args, &edges, table, global.quiet) => done,
            () = interrupt.wait() => return Err(stopped(&format!("unbinding table {table}"))),
        };
        if let Err(error) = done {
            failures.push((table.clone(), error));
        }
    }
    outcome(args.tables.len(), failures)
}

async fn one(args: &Args, edges: &GuardEdges, table: &TableName, quiet: bool) -> Result<()> {
    let (service, control) = (edges.service.as_ref(), edges.control.as_ref());
    let sight = observe(service, control, &args.function, table).await?;
    let say = |text: String| if quiet { Ok(()) } else { output::line(&text) };
    if sight.mappings.is_empty() {
        say(format!("{table}: no mapping feeds {} from it; the journal stays as it is", args.function))?;
        return Ok(());
    }
    if !args.yes {
        for mapping in &sight.mappings {
            say(format!("{table}: would delete mapping {} from {}", mapping.id, mapping.source))?;
        }
        let what = format!("to stop journalling table {table}");
        return Err(ProtectError::NotConfirmed { what, flag: "--yes" }.into());
    }
    // What is in the streams now is journalled; what comes later is not.
    let budget = std::time::Duration::from_mins(5);
    read(edges, vec![table.clone()], u64::MAX, budget).await;
    let patience = Patience::default();
    let deleted = unbind(service, control, &args.function, table, edges.clock.as_ref(), patience).await?;
    for id in deleted {
        say(format!("{table}: mapping {id} is deleted; the journal stays as it is"))?;
    }
    Ok(())
}
