//! The arguments of `replay restore`, and what can be wrong with them as a whole.

use std::path::PathBuf;
use std::str::FromStr;

use journal::error::{Classify, Kind};
use journal::model::{TableName, TableNameError};
use thiserror::Error;

use super::super::cut::{CutArgs, MergeArgs};
use super::super::export::FormatArg;

/// Make a new table, or a file, with a table's state at a cut, and prove that it is the same
///
/// The new table gets the key, indexes, billing, stream, TTL, tags and protection that the journal knows of. It is read
/// back at the end, and its state digest must be that of the journal. Several tables are restored at one cut.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "Examples:
  replay restore --table notes-table-dev --before 2020-03-29T10:00:00Z --as notes-table-dev-restored
  replay restore --table notes-table-dev --at '10 minutes ago' --as notes-restored --write-rate 500
  replay restore --table notes-table-dev --at latest --as notes-table-dev --plan
  replay restore --table notes-table-dev --at latest --as notes-of-ada --only \"author = 'ada'\"
  replay restore --table notes-table-dev --before 2020-03-29T10:00:00Z --into notes-table-dev --only 'user#42*' --apply
  replay restore --table notes-table-dev --at latest --output notes.sqlite
  replay restore --table notes-table-dev --at latest --as notes-restored --import s3://my-journal-imports/staging
  replay restore --all --before 2020-03-29T10:00:00Z --as-suffix=-restored
  replay restore --as notes-table-dev=notes-restored --as users-table-dev=users-restored --at yesterday
  replay restore --table notes-table-dev --table users-table-dev --at latest --output backup/ --format parquet
  replay restore --resume 20200329t100000z-3f2a

AWS settings come the standard way (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB). A restore that was stopped or
killed says how to continue it, and knows the table it made by the service's own id. A table that exists is only
written to with --into and --apply. Of several tables none is made before all of them can be.")]
pub struct Args {
    /// The table; several times for several tables at one cut
    #[arg(long, value_name = "NAME")]
    pub table: Vec<TableName>,
    /// Every table of the journal that was there at the cut
    #[arg(long, conflicts_with_all = ["table", "into", "timeline", "at_sequence", "before_sequence"])]
    pub all: bool,
    /// The new table's name; TABLE=NAME, several times, where there are several tables
    #[arg(long = "as", visible_alias = "to", value_name = "[TABLE=]NAME")]
    pub target: Vec<Target>,
    /// New tables are named as the old ones, with this before
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["target", "output", "into", "resume"])]
    pub as_prefix: Option<String>,
    /// New tables are named as the old ones, with this behind
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with_all = ["target", "output", "into", "resume"]
    )]
    pub as_suffix: Option<String>,
    /// A table that is there: only what differs is written or deleted, and nothing without --apply
    #[arg(long, value_name = "NAME", conflicts_with_all = ["target", "output", "resume", "run_file", "partition_key", "import"])]
    pub into: Option<TableName>,
    /// Carry out the differences that --into found
    #[arg(long, requires = "into")]
    pub apply: bool,
    /// A file instead of a table; its ending chooses the format, as in `replay export`. A folder for several tables
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["target", "resume", "partition_key", "write_rate"])]
    pub output: Option<PathBuf>,
    /// The file's format
    #[arg(long, value_name = "FORMAT", requires = "output")]
    pub format: Option<FormatArg>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Have the service import the items from objects below this place, instead of writing them: no write capacity is used
    #[arg(long, value_name = "s3://BUCKET/PREFIX", conflicts_with_all = ["output", "write_rate", "resume"])]
    pub import: Option<String>,
    /// How the objects of an import are compressed
    #[arg(long, value_name = "COMPRESSION", default_value = "zstd", requires = "import")]
    pub import_compression: CompressionArg,
    /// Only these items: a key (NAME=VALUE or DynamoDB JSON), a prefix of the partition key (TEXT*), or a condition
    #[arg(long, value_name = "KEY|PREFIX*|CONDITION")]
    pub only: Option<String>,
    /// When.
    #[command(flatten)]
    pub cut: CutArgs,
    /// Continue a restore that was stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "table", "all", "target", "at", "before", "at_sequence", "before_sequence", "timeline", "allow_partial",
        "partition_key", "only",
    ])]
    pub resume: Option<String>,
    /// Where the run is kept until it is proven, instead of the user's folder for the state of programs
    #[arg(long, value_name = "FILE")]
    pub run_file: Option<PathBuf>,
    /// Which key attribute is the partition key, where the journal has no description of the table
    #[arg(long, value_name = "NAME")]
    pub partition_key: Option<String>,
    /// Requests at once
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Write capacity units a second at most
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..))]
    pub write_rate: Option<u32>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub plan: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// How objects are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CompressionArg {
    /// Zstandard
    Zstd,
    /// gzip
    Gzip,
}

/// A new table's name, and whose state it gets where that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The table in the journal.
    pub table: Option<TableName>,
    /// The new table.
    pub name: TableName,
}

impl FromStr for Target {
    type Err = TableNameError;

    fn from_str(text: &str) -> Result<Self, TableNameError> {
        // No table's name has `=` in it.
        let (table, name) = text.split_once('=').map_or((None, text), |(table, name)| (Some(table), name));
        Ok(Self { table: table.map(TableName::parse).transpose()?, name: TableName::parse(name)? })
    }
}

/// What is wrong with the arguments as a whole.
#[derive(Debug, Error)]
pub(super) enum ArgumentError {
    /// Nothing says what or where to.
    #[error("a restore needs a table (--table, several times, or --all) and where it goes: --as, --into or --output")]
    Missing,
    /// A way of restoring that is for one table.
    #[error("{what} is for one table, and there are {tables}")]
    OnlyOne {
        /// The argument.
        what: &'static str,
        /// How many tables.
        tables: usize,
    },
    /// A table without a new name.
    #[error("nothing says what the new table with the state of {table} is called")]
    NoName {
        /// The table.
        table: TableName,
    },
    /// A name for a table that is not restored.
    #[error("--as names a table for {table}, which --table does not name")]
    NotChosen {
        /// The table.
        table: TableName,
    },
    /// A table is named twice, or two get one name.
    #[error("{what} {table} is named twice")]
    Twice {
        /// What the name is of.
        what: &'static str,
        /// The name.
        table: TableName,
    },
    /// A folder is asked for, and a file is there.
    #[error("{} is a file, and several tables go to a folder", .path.display())]
    NotFolder {
        /// The file.
        path: PathBuf,
    },
    /// The run file is there.
    #[error("a restore is kept in {} already", .path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
    },
}

impl Classify for ArgumentError {
    fn kind(&self) -> Kind {
        match self {
            Self::RunFile { .. } | Self::NotFolder { .. } => Kind::Conflict,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::OnlyOne { what: "--at-sequence" | "--before-sequence", .. } => Some(
                "a sequence number is of one table's stream: choose a second for all with --at or --before, or restore each table by \
                 itself"
                    .to_owned(),
            ),
            Self::OnlyOne { .. } => Some("restore each table by itself, with the same --at".to_owned()),
            Self::NoName { table } => {
                Some(format!("give --as {table}=NAME, or --as-prefix or --as-suffix for all tables"))
            }
            Self::NotChosen { table } => Some(format!("give --table {table} too, or --as TABLE=NAME without any --table")),
            Self::NotFolder { .. } => Some("name another folder with --output; it is made where there is none".to_owned()),
            Self::RunFile { path } => {
                Some(format!("continue it with --resume RUN --run-file {}, or keep this one elsewhere", path.display()))
            }
            Self::Missing | Self::Twice { .. } => None,
        }
    }
}
