//! Exports: items in a file or on standard output.
//!
//! What enters are items in key order, as their bytes; what leaves are bytes in one of five formats, spelled out in SEMANTICS.md,
//! "Export formats". Knows nothing of runs or cuts.

mod columned;
mod csv;
mod destination;
pub(crate) mod json;
mod names;
#[cfg(feature = "parquet")]
mod parquet;
mod read_back;
mod spliced;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "parquet", feature = "sqlite"))]
pub mod typed;

use std::io::{self, Write};
use std::sync::Arc;

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::Attributes;
use journal::source::attribute::write_dynamodb_json;
use journal::store::ReadStore;

use self::spliced::{Lines, SplicedSink, Written};
use crate::audit::InertJson;
use crate::digest::StateDigest;
use crate::merge::{MergeOptions, MergeReport};
use crate::plan::ReplayPlan;
use crate::state::{EncodedItem, Selection, StateError, Visited, stopped, visit_parts};

pub use self::csv::{COLUMNS_MAX, CsvColumns};
#[cfg(feature = "parquet")]
pub use self::parquet::ParquetWriter;
pub use destination::{Destination, OutputError};
pub use json::write_plain_json;
pub use read_back::{prove, read_back};

/// How items are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `{"Item":{…}}` a line, as AWS's own export to S3 writes it, and as its import reads it.
    DynamodbJson,
    /// One plain JSON object a line.
    Json,
    /// Comma-separated values with a line of names first.
    Csv,
    /// Parquet with typed columns.
    #[cfg(feature = "parquet")]
    Parquet,
    /// A database of `SQLite` with typed columns.
    #[cfg(feature = "sqlite")]
    Sqlite,
}

impl Format {
    /// The ending of a file's name that asks for it.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::DynamodbJson | Self::Json => "json",
            Self::Csv => "csv",
            #[cfg(feature = "parquet")]
            Self::Parquet => "parquet",
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "sqlite",
        }
    }

    /// The format that a file's name asks for by its ending, that of a compression left aside; none where it says nothing.
    #[must_use]
    pub fn of_name(path: &std::path::Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" => Some(Self::Csv),
            #[cfg(feature = "parquet")]
            "parquet" => Some(Self::Parquet),
            #[cfg(feature = "sqlite")]
            "sqlite" | "sqlite3" | "db" => Some(Self::Sqlite),
            _ => None,
        }
    }
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The table.
    pub table: String,
    /// Its timeline.
    pub timeline: String,
    /// The cut.
    pub cut: String,
}

impl About {
    /// The state of a plan.
    #[must_use]
    pub fn plan(plan: &ReplayPlan) -> Self {
        Self {
            table: plan.timeline.table.to_string(),
            timeline: plan.timeline.label.to_string(),
            cut: plan.cut.to_string(),
        }
    }

    /// Names and values, with what was written.
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    fn said(&self, visited: &Visited) -> [(&'static str, String); 5] {
        [
            ("table", self.table.clone()),
            ("timeline", self.timeline.clone()),
            ("cut", self.cut.clone()),
            ("items", visited.digest.items().to_string()),
            ("digest", visited.digest.to_string()),
        ]
    }
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

/// Writes the selected items of a plan's state. `progress` hears, now and then, of the items read so far and of how many
/// there will be, where that is known: formats with columns read the state a second time where its first items do not tell which columns
/// there are.
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
    progress: impl Fn(u64, Option<u64>) + Send + 'static,
) -> Result<ExportReport> {
    if !matches!(format, Format::DynamodbJson | Format::Json) {
        return columned::export(store, plan, (format, destination), selection, options, interrupt, progress).await;
    }
    // A line needs to know of no other: lines are made on all threads.
    let sink = SplicedSink::new(destination);
    let written = Written::default();
    let again = written.clone();
    let begin = move || again.again(format);
    let visit = |lines: &mut Lines, item: EncodedItem<'_>| lines.item(&item);
    let take = move |sink: &mut SplicedSink, lines: Lines| {
        progress(sink.write(&lines)?, None);
        written.add(lines);
        Ok(())
    };
    let visited = visit_parts(store, plan, selection, options, interrupt, sink, (begin, visit, take));
    let (sink, visited) = visited.await?;
    let bytes = finish(move || sink.finish(), interrupt).await?;
    let items = visited.digest.items();
    Ok(ExportReport { items, bytes, digest: visited.digest, cut_short: visited.cut_short, merge: visited.merge })
}

/// Finishes the file on a thread that may block: a pipe that nobody reads must not keep one who asks to stop.
async fn finish<E: Send + 'static>(
    finish: impl FnOnce() -> Result<u64, E> + Send + 'static,
    interrupt: &Interrupt,
) -> Result<u64>
where
    journal::error::Error: From<E>,
{
    let finishing = tokio::task::spawn_blocking(finish);
    tokio::select! {
        biased;
        finished = finishing => Ok(finished.map_err(|_| StateError::Lost)??),
        () = stopped(interrupt) => Err(StateError::Interrupted.into()),
    }
}

/// Writes one item with its line end; formats that are no text as plain JSON.
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
            write_dynamodb_json(item, &mut InertJson(&mut *to))?;
            to.write_all(b"}")?;
        }
        _ => write_plain_json(item, &mut InertJson(&mut *to))?,
    }
    to.write_all(b"\n")
}

#[cfg(test)]
mod tests;
