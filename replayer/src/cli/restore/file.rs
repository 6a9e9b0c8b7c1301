//! `replay restore --output`: a table's state in a file, read back and compared.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use journal::cli::progress::{Progress, Unit};
use journal::cli::{Global, output};
use journal::error::{Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::TableName;
use journal::store::ReadStore;
use serde::Serialize;

use super::super::cut::{say_undated, schema};
use super::super::export::chosen;
use super::arguments::Args;
use super::only;
use crate::digest::StateDigest;
use crate::merge::MergeOptions;
use crate::output::{Destination, Format, export, prove};
use crate::plan::ReplayPlan;
use crate::state::Selection;

/// What a restore to a file did.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FileReport {
    /// The table.
    pub(super) table: TableName,
    /// The file.
    pub(super) file: PathBuf,
    /// Its format.
    pub(super) format: Format,
    /// Items.
    pub(super) items: u64,
    /// Bytes.
    pub(super) bytes: u64,
    /// The state digest of what was written.
    pub(super) digest: StateDigest,
    /// Whether the file was read back and its digest is the journal's: JSON and CSV leave types out, and cannot be.
    pub(super) proven: bool,
}

/// Writes one table's file.
pub(super) async fn run(
    (table, path): (&TableName, &Path),
    args: &Args,
    global: &Global,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    let format = chosen(args.format, Some(path));
    let (store, plan) = args.cut.plan(table, global).await?;
    let selection = only::selection(args.only.as_deref(), schema(&plan)?)?;
    let destination = Destination::file(path, args.force)?;
    if args.plan {
        return Ok(ExitCode::SUCCESS);
    }
    let how = (args.merge.options(), interrupt, global);
    let done = restore(store, &plan, (format, path, destination), selection, how).await;
    let report = done.inspect_err(|error| {
        if matches!(error.kind(), Kind::Interrupted | Kind::Unavailable) {
            output::note("to begin anew: run the same command again; a file gets its name when it is whole");
        }
    })?;
    if args.json {
        output::json(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the file and reads it back.
pub(super) async fn restore(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    (format, path, destination): (Format, &Path, Destination),
    selection: Selection,
    (options, interrupt, global): (MergeOptions, &Interrupt, &Global),
) -> Result<FileReport> {
    let bar = Progress::new(format!("writing {}", path.display()), Unit::Count("items"), None, global.quiet);
    let progress = move |items, total| bar.set_of(items, total);
    let written = export(store, plan, (format, destination), selection, options, interrupt, progress).await?;
    say_undated(plan, &written.merge);
    let (path, schema, digest) = (path.to_owned(), schema(plan)?.clone(), written.digest);
    let file = path.clone();
    // Reading is bound to a thread; it ends by itself.
    let proven = tokio::task::spawn_blocking(move || prove(&path, format, &schema, digest));
    let proven = proven.await.map_err(|_| crate::state::StateError::Lost)??;
    if !global.quiet {
        let said = if proven {
            "proven: the file was read back, and its digest is that of the journal"
        } else {
            "not proven: this format leaves types out; dynamodb-json, sqlite and parquet keep them"
        };
        output::note(&format!(
            "file    {}\nitems   {}\nbytes   {}\ndigest  {digest}\n{said}",
            file.display(),
            written.items,
            written.bytes
        ));
    }
    Ok(FileReport {
        table: plan.timeline.table.clone(),
        file,
        format,
        items: written.items,
        bytes: written.bytes,
        digest,
        proven,
    })
}
