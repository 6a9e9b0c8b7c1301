//! `replay sql`: SQL over the journal.

mod prompt;

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use datafusion::arrow::datatypes::SchemaRef;
use journal::cli::{Global, output};
use journal::error::{Classify, Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::TableName;
use thiserror::Error;

use super::cut::MergeArgs;
use crate::audit::VALUE_CHARS_MAX;
use crate::output::Destination;
use crate::sql::{SqlFormat, SqlOptions, SqlReport, SqlSession, SqlWriter};

/// Longest text of statements that is read from standard input.
const SQL_BYTES_MAX: u64 = 1 << 20;

/// Ask a journal in SQL
///
/// The table `changes` has a row a change: "table", timeline, sequence, second, kind, actor, key, the key's attributes by their names,
/// old and new (items as JSON). `state_at('TABLE', 'CUT')` has a row an item. `json_get(new, 'replies[0].author')`, `json_number`,
/// `json_type` and `json_length` look into items. Names are written as they are: noteId needs no quotes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay sql \"SELECT kind, count(*) FROM changes WHERE table = 'notes-table-dev' GROUP BY kind\"
  replay sql --table notes-table-dev \"SELECT date_trunc('hour', second) AS hour, count(*) FROM changes GROUP BY 1 ORDER BY 1\"
  replay sql --table notes-table-dev \"SELECT second, kind, json_get(new, 'author') FROM changes WHERE noteId = '5b1a' ORDER BY second\"
  replay sql \"SELECT item FROM state_at('notes-table-dev', '2026-11-22T09:59:59Z') WHERE json_length(item, 'replies') > 3\"
  replay sql --format parquet --output changes.parquet \"SELECT * FROM changes WHERE second >= '2026-11-22T00:00:00Z'\"
  replay sql \"EXPLAIN SELECT count(*) FROM changes WHERE table = 'notes-table-dev' AND kind = 'REMOVE'\"
  replay sql --table notes-table-dev          # a prompt; statements end with ;

What is asked of table, timeline, second, kind and the key's attributes is answered by names, key filters and indexes; images are read
only where a column of them is asked for. The exit code is 4 when a segment could not be read: it is named, the others are in the answer.")]
pub struct Args {
    /// The statements; from standard input or a prompt when not given
    #[arg(value_name = "SQL")]
    pub sql: Option<String>,
    /// Only these tables; may be given several times
    #[arg(long, value_name = "NAME")]
    pub table: Vec<TableName>,
    /// How the answer is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "table")]
    pub format: FormatArg,
    /// The file; standard output when none or `-`
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// The attribute in which the app writes who made a change: the column actor
    #[arg(long, value_name = "NAME")]
    pub actor_attribute: Option<String>,
    /// Characters of a value that are shown; 120 in tables, all in CSV and JSON
    #[arg(long, value_name = "COUNT", value_parser = super::audit::width)]
    pub width: Option<usize>,
    /// Say on standard error how much was read
    #[arg(long)]
    pub explain: bool,
    /// `state_at` goes on where history is known to be incomplete, with what the journal has
    #[arg(long)]
    pub allow_partial: bool,
    /// Memory for sorts, joins and groups, in MiB; more goes through temporary files where it can
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub query_memory_mib: u32,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// The formats by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// For people; long values are cut with a note
    Table,
    /// Comma-separated values, names first
    Csv,
    /// One JSON object a line
    Json,
    /// A Parquet file
    Parquet,
}

impl FormatArg {
    fn format(self) -> SqlFormat {
        match self {
            Self::Table => SqlFormat::Table,
            Self::Csv => SqlFormat::Csv,
            Self::Json => SqlFormat::Json,
            Self::Parquet => SqlFormat::Parquet,
        }
    }
}

/// What is wrong with how statements and output were given.
#[derive(Debug, Error)]
enum ArgumentError {
    #[error("Parquet is no text for a terminal")]
    Terminal,
    #[error("one file takes the answer of one statement, and there are more")]
    Several,
    #[error("cannot read statements from standard input")]
    Input { source: std::io::Error },
    #[error("the statements have more than {SQL_BYTES_MAX} bytes")]
    Long,
}

impl Classify for ArgumentError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Terminal => "give a file with --output".to_owned(),
            Self::Several => "run them one by one, each with its own --output".to_owned(),
            Self::Input { .. } | Self::Long => "give one statement as the argument".to_owned(),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// When a statement cannot be answered, the journal cannot be read, or the output cannot be written. Segments that are corrupt
/// are told by the exit code.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let path = args.output.clone().filter(|path| path.as_os_str() != "-");
    if args.format == FormatArg::Parquet && path.is_none() && std::io::stdout().is_terminal() {
        return Err(ArgumentError::Terminal.into());
    }
    let bytes = usize::try_from(args.query_memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    let options = SqlOptions {
        tables: args.table.clone(),
        actor_attribute: args.actor_attribute.clone(),
        merge: args.merge.options(),
        query_bytes_max: bytes,
        allow_partial: args.allow_partial,
    };
    let session = SqlSession::open(global.open_read().await?, options, interrupt).await?;
    let asking = Asking { args: &args, path, quiet: global.quiet };
    let sql = match &args.sql {
        Some(sql) => sql.clone(),
        None if std::io::stdin().is_terminal() => return prompt::run(&session, &asking).await,
        None => from_input()?,
    };
    let mut state = Told::default();
    asking.answer(&session, &sql, &mut state).await?;
    Ok(state.exit_code())
}

fn from_input() -> Result<String, ArgumentError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(SQL_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|source| ArgumentError::Input { source })?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > SQL_BYTES_MAX {
        return Err(ArgumentError::Long);
    }
    Ok(text)
}

/// What was told over all statements.
#[derive(Debug, Default)]
struct Told {
    answers: u64,
    is_corrupt: bool,
}

impl Told {
    fn exit_code(&self) -> ExitCode {
        if self.is_corrupt { ExitCode::from(Kind::Corrupt.exit_code()) } else { ExitCode::SUCCESS }
    }
}

/// How statements are asked and answers written.
struct Asking<'a> {
    args: &'a Args,
    path: Option<PathBuf>,
    quiet: bool,
}

impl Asking<'_> {
    async fn answer(&self, session: &SqlSession, sql: &str, told: &mut Told) -> Result<()> {
        let answers = std::cell::Cell::new(told.answers);
        let begin = |schema: SchemaRef| -> Result<(SqlWriter, String)> {
            let destination = match &self.path {
                Some(_) if answers.get() > 0 => return Err(ArgumentError::Several.into()),
                Some(path) => Destination::file(path, self.args.force)?,
                None => Destination::stream("standard output", Box::new(output::Stdout::default())),
            };
            answers.set(answers.get() + 1);
            let name =
                self.path.as_ref().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
            let width = match self.args.format {
                FormatArg::Table => Some(self.args.width.unwrap_or(VALUE_CHARS_MAX)),
                _ => self.args.width,
            };
            let writer = SqlWriter::begin(self.args.format.format(), width, schema, destination);
            Ok((writer.map_err(|source| written(&name, source))?, name))
        };
        let take = |(writer, name): &mut (SqlWriter, String), batch: &_| {
            Ok(writer.batch(batch).map_err(|source| written(name, source))?)
        };
        let end = |(writer, name): (SqlWriter, String), report: SqlReport| {
            let destination = writer.finish().map_err(|source| written(&name, source))?;
            destination.finish()?;
            told.is_corrupt |= !report.unreadable.is_empty();
            self.say(&report);
            Ok(())
        };
        session.run(sql, begin, take, end).await?;
        told.answers = answers.get();
        Ok(())
    }

    fn say(&self, report: &SqlReport) {
        let empty = report.rows == 0;
        if !self.quiet || empty {
            for note in &report.notes {
                output::note(&format!("note: {note}"));
            }
        }
        for scan in &report.scans {
            if self.args.explain {
                output::note(&format!(
                    "read {} of {} segments of {}, {} of {} bytes, {} rows ({}){}{}",
                    scan.opened,
                    scan.segments,
                    scan.timeline,
                    scan.bytes_read,
                    scan.segment_bytes,
                    scan.rows,
                    scan.source,
                    if scan.asked.is_empty() { "" } else { ": " },
                    scan.asked
                ));
            }
            if empty && scan.rows == 0 && !self.quiet {
                let asked = if scan.asked.is_empty() { String::new() } else { format!(" with {}", scan.asked) };
                output::note(&format!("note: {} has nothing of {}{asked}", scan.timeline, scan.source));
            }
        }
        for unreadable in &report.unreadable {
            output::note(&format!(
                "warning: {} cannot be read, what it holds is missing: {}",
                unreadable.object, unreadable.reason
            ));
        }
        if !report.unreadable.is_empty() {
            output::note(
                "hint: an earlier version of an unsound object may be whole: list the versions of its key in the bucket",
            );
        }
    }
}

fn written(name: &str, source: std::io::Error) -> crate::output::OutputError {
    crate::output::OutputError::Write { name: name.to_owned(), source }
}
