//! Exports: items as text, to a file or to standard output.
//!
//! What enters are decoded items in key order; what leaves are bytes in one of three formats, spelled out in SEMANTICS.md,
//! "Export formats". Knows nothing of runs or cuts.

mod csv;
mod destination;
pub(crate) mod json;

use std::io::{self, Write};
use std::sync::Arc;

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::Attributes;
use journal::source::attribute::write_dynamodb_json;
use journal::store::ReadStore;

use crate::digest::StateDigest;
use crate::merge::{MergeOptions, MergeReport};
use crate::plan::ReplayPlan;
use crate::state::{Flow, Selection, StateError, stopped, visit_items};

pub use self::csv::{COLUMNS_MAX, CsvColumns};
pub use destination::{Destination, OutputError};
pub use json::write_plain_json;

/// How items are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"Item":{…}}` a line, as AWS's own export to S3 writes it, and as its import reads it.
    DynamodbJson,
    /// One plain JSON object a line.
    Json,
    /// Comma-separated values with a line of names first.
    Csv,
}

/// What an export did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ExportReport {
    /// Items written.
    pub items: u64,
    /// Bytes written, after compression.
    pub bytes: u64,
    /// The state digest of the items written.
    pub digest: StateDigest,
    /// Whether a limit ended it before the last item.
    pub cut_short: bool,
    /// What the merge did.
    pub merge: MergeReport,
}

/// Writes the selected items of a plan's state. `progress` hears of the items written so far, now and then.
///
/// # Errors
/// When an object cannot be read or is not what was written, the destination cannot be written, or `interrupt` asks to
/// stop: then no file is left behind.
pub async fn export(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    (format, destination): (Format, Destination),
    selection: Selection,
    options: MergeOptions,
    interrupt: &Interrupt,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<ExportReport> {
    let columns = match format {
        Format::Csv => {
            let columns = CsvColumns::of_key(plan.key.as_ref());
            let first = visit_items(
                Arc::clone(&store),
                plan,
                selection.clone(),
                options.clone(),
                interrupt,
                columns,
                |columns: &mut CsvColumns, item| {
                    columns.see(&item.attributes)?;
                    Ok(Flow::Continue)
                },
            );
            Some(first.await?.0)
        }
        _ => None,
    };
    let mut writer = Writer { format, columns, destination };
    writer.begin().map_err(|error| writer.destination.failed(error))?;
    let state = (writer, 0u64);
    let visited = visit_items(store, plan, selection, options, interrupt, state, move |(writer, items), item| {
        writer.item(&item.attributes).map_err(|error| writer.destination.failed(error))?;
        *items += 1;
        if items.is_multiple_of(1024) {
            progress(*items);
        }
        Ok(Flow::Continue)
    });
    let ((writer, items), visited) = visited.await?;
    let bytes = finish(writer.destination, interrupt).await?;
    Ok(ExportReport { items, bytes, digest: visited.digest, cut_short: visited.cut_short, merge: visited.merge })
}

/// Finishes the destination on a thread that may block: a pipe that nobody reads must not keep one who asks to stop.
async fn finish(destination: Destination, interrupt: &Interrupt) -> Result<u64> {
    let finishing = tokio::task::spawn_blocking(move || destination.finish());
    tokio::select! {
        biased;
        finished = finishing => Ok(finished.map_err(|_| StateError::Lost)??),
        () = stopped(interrupt) => Err(StateError::Interrupted.into()),
    }
}

struct Writer {
    format: Format,
    columns: Option<CsvColumns>,
    destination: Destination,
}

impl Writer {
    fn begin(&mut self) -> io::Result<()> {
        match &self.columns {
            Some(columns) => columns.write_header(&mut self.destination),
            None => Ok(()),
        }
    }

    fn item(&mut self, item: &Attributes) -> io::Result<()> {
        write_item(self.format, self.columns.as_ref(), item, &mut self.destination)
    }
}

/// Writes one item with its line end.
///
/// # Errors
/// When `to` cannot be written.
pub fn write_item(
    format: Format,
    columns: Option<&CsvColumns>,
    item: &Attributes,
    to: &mut impl Write,
) -> io::Result<()> {
    match (format, columns) {
        (Format::Csv, Some(columns)) => return columns.write_row(item, to),
        (Format::DynamodbJson, _) => {
            to.write_all(b"{\"Item\":")?;
            write_dynamodb_json(item, to)?;
            to.write_all(b"}")?;
        }
        (Format::Json | Format::Csv, _) => write_plain_json(item, to)?,
    }
    to.write_all(b"\n")
}

#[cfg(test)]
mod tests;
