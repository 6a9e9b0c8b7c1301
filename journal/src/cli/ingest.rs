//! `journal ingest`: appends stream records from files.

use std::fmt::Write as _;
use std::path::PathBuf;

use thiserror::Error;

use super::progress::{Progress, Unit};
use super::{Global, output};
use crate::append::AppendReport;
use crate::error::{Classify, Kind, Result};
use crate::interrupt::Interrupt;
use crate::model::StreamArn;
use crate::source::files::{IngestOptions, Input};
use crate::source::ingest::{IngestReport, ingest};

/// What to ingest, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal ingest records.jsonl.gz more.json
  aws s3 cp s3://failed-batches/aws/lambda/… - | journal ingest -
  aws dynamodbstreams get-records --shard-iterator … | journal ingest --stream ARN -

The same file again stores nothing twice. A record that cannot be understood is kept in
quarantine as it came, and does not stop the others; --strict makes it an error at the end.")]
pub struct Args {
    /// Files to read, `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The stream of records that do not name theirs
    #[arg(long, value_name = "ARN")]
    pub stream: Option<String>,
    /// Records of one segment at most
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch_records: u32,
    /// KiB of records that go into one segment at most
    #[arg(long, value_name = "KIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch_kib: u32,
    /// Fail at the end when a record was quarantined
    #[arg(long)]
    pub strict: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Records were quarantined, and that was to be an error.
#[derive(Debug, Error)]
#[error("{count} of the records could not be understood and are in quarantine")]
pub struct QuarantinedError {
    count: u64,
}

impl Classify for QuarantinedError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("their reasons are above; everything else is in the journal".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, the store fails, or it was interrupted; with `--strict` when a record was quarantined.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let stream = args.stream.as_deref().map(StreamArn::parse).transpose()?;
    let store = global.open().await?;
    let inputs: Vec<Input> = args.files.iter().map(|path| Input::of(path)).collect();
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let options = IngestOptions {
        batch_records_max: count(args.batch_records),
        batch_bytes_max: count(args.batch_kib).saturating_mul(1024),
        stream,
    };
    let total = inputs.iter().map(Input::size).sum::<Option<u64>>();
    let mut report = IngestReport::default();
    let result = {
        let bar = Progress::new("ingesting", Unit::Bytes, total, global.quiet);
        ingest(&*store, &inputs, &options, interrupt, &mut report, |progress| {
            bar.set(progress.bytes);
            let quarantined = match progress.quarantined {
                0 => String::new(),
                count => format!(", {count} quarantined"),
            };
            bar.message(format!("{} records{quarantined}", progress.records));
        })
        .await
    };
    if args.json {
        output::json(&report)?;
    } else if !global.quiet && (report.files > 0 || report.appended != AppendReport::default()) {
        output::print(&summary(&report))?;
    }
    if report.appended.quarantined > 0 {
        output::note(&warning(&report, store.location()));
    }
    result?;
    if args.strict && report.appended.quarantined > 0 {
        return Err(QuarantinedError { count: report.appended.quarantined }.into());
    }
    Ok(())
}

fn summary(report: &IngestReport) -> String {
    let appended = &report.appended;
    format!(
        "records      {}\nduplicates   {}\nsegments     {} made ({} bytes), {} there already\nquarantined  {}\n",
        appended.records,
        report.duplicates,
        appended.segments_created,
        appended.bytes,
        appended.segments_already_there,
        appended.quarantined
    )
}

fn warning(report: &IngestReport, location: &str) -> String {
    let mut text =
        format!("warning: {} records could not be understood and are kept in quarantine:", report.appended.quarantined);
    for reason in &report.reasons {
        text.push_str("\n  ");
        text.push_str(reason);
    }
    let shown = u64::try_from(report.reasons.len()).unwrap_or(u64::MAX);
    if report.appended.quarantined > shown {
        text.push_str("\n  …");
    }
    for folder in &report.quarantine {
        let _ = write!(text, "\nthey lie in {}/{folder}", location.trim_end_matches('/'));
    }
    text
}
