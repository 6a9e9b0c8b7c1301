//! `replay export`: writes a table's state at a cut.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use journal::cli::progress::{Progress, Unit};
use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::TableName;

use super::cut::{CutArgs, MergeArgs, SelectionArgs, say_undated};
use crate::output::{Destination, Format, export};

/// Write a table's state at a cut to a file or to standard output
///
/// The summary on standard error has the state digest: equal states have equal digests, whatever the format.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay export --table notes-table-dev --at 2020-03-29T10:00:00Z > notes.json
  replay export --table notes-table-dev --at '10 minutes ago' --output notes.csv
  replay export --table notes-table-dev --at latest --output notes.sqlite && sqlite3 notes.sqlite 'select count(*) from \"notes-table-dev\"'
  replay export --table notes-table-dev --at latest --output notes.parquet
  replay export --table notes-table-dev --at latest --where \"author = 'ada' AND attribute_exists(replies[0])\"
  replay export --table notes-table-dev --before '2020-03-29T10:00:00Z' --output notes.json.gz

A file whose name ends in .gz or .zst is compressed. The file appears under its name when it is whole. Endings .csv,
.parquet, .sqlite and .db choose the format; the default is what AWS's own export writes and its import reads. In SQLite and
Parquet the column _dynamodb holds what the others cannot say exactly: nothing is lost.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// When.
    #[command(flatten)]
    pub cut: CutArgs,
    /// Which items.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How items are written; by the file's name when not given, else dynamodb-json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<FormatArg>,
    /// The file; standard output when none or `-`
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// The formats by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// `{"Item":{…}}` a line, values with their types
    DynamodbJson,
    /// One plain JSON object a line
    Json,
    /// Comma-separated values, names first
    Csv,
    /// Parquet with a typed column for each attribute
    #[cfg(feature = "parquet")]
    Parquet,
    /// A database of `SQLite` with a typed column for each attribute
    #[cfg(feature = "sqlite")]
    Sqlite,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::DynamodbJson => Self::DynamodbJson,
            FormatArg::Json => Self::Json,
            FormatArg::Csv => Self::Csv,
            #[cfg(feature = "parquet")]
            FormatArg::Parquet => Self::Parquet,
            #[cfg(feature = "sqlite")]
            FormatArg::Sqlite => Self::Sqlite,
        }
    }
}

/// The format that was asked for, or that the file's name asks for.
pub(super) fn chosen(format: Option<FormatArg>, path: Option<&std::path::Path>) -> Format {
    format.map(Format::from).or_else(|| path.and_then(Format::of_name)).unwrap_or(Format::DynamodbJson)
}

/// Runs the command.
///
/// # Errors
/// When the arguments are wrong, the cut is not covered, an object cannot be read, or the output cannot be written.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let filter = args.selection.filter()?;
    let path = args.output.filter(|path| path.as_os_str() != "-");
    let format = chosen(args.format, path.as_deref());
    let (store, plan) = args.cut.plan(&args.table, global).await?;
    let selection = args.selection.selection(&plan, filter)?;
    let destination = match &path {
        Some(path) => Destination::file(path, args.force)?,
        None => Destination::stream("standard output", Box::new(output::Stdout::default())),
    };
    let bar = Progress::new("exporting", Unit::Count("items"), None, global.quiet);
    let target = (format, destination);
    let progress = move |items, total| bar.set_of(items, total);
    let report = export(store, &plan, target, selection, args.merge.options(), interrupt, progress);
    let report = report.await?;
    say_undated(&plan, &report.merge);
    if !global.quiet {
        let limited = if report.cut_short { " (the limit was reached)" } else { "" };
        output::note(&format!(
            "items   {}{limited}\nbytes   {}\ndigest  {}",
            report.items, report.bytes, report.digest
        ));
    }
    Ok(ExitCode::SUCCESS)
}
