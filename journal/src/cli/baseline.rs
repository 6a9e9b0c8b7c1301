//! `journal baseline`: reads a live table into a snapshot.

use super::progress::{Progress, Unit};
use super::{Global, aws, output};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::TableName;
use crate::table::{BaselineOptions, BaselineReport, baseline};

/// What to read, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal baseline --table notes
  journal baseline --table notes --read-units 50 --eventually-consistent
  AWS_ENDPOINT_URL_DYNAMODB=http://localhost:8000 journal baseline --table notes

Safe while the table is written to: a key with any record in the stream is taken from its
records, the others did not change while they were read. Follow the stream before or soon
after. An unfinished baseline does not count.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: String,
    /// Segments to scan at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub segments: u32,
    /// Read at half the price; what was written within the last second may be missed
    #[arg(long)]
    pub eventually_consistent: bool,
    /// Read units a second at most, so that the table's users keep theirs
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..))]
    pub read_units: Option<u32>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the table cannot be read, got another stream meanwhile, the store fails, or it was interrupted.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let table = TableName::parse(&args.table)?;
    let store = global.open().await?;
    let client = aws::tables().await?;
    let options = BaselineOptions {
        segments: args.segments,
        consistent: !args.eventually_consistent,
        read_units: args.read_units.map(f64::from),
    };
    let report = {
        let bar = Progress::new(format!("reading {table}"), Unit::Count("items"), None, global.quiet);
        baseline(&client, store, &table, &options, interrupt, |progress| {
            bar.set(progress.items);
            let expected = progress.items_expected.map(|count| format!("of about {count}, ")).unwrap_or_default();
            let retries = if progress.retries == 0 { String::new() } else { format!(", {} retries", progress.retries) };
            bar.message(format!("{expected}{:.0} read units{retries}", progress.read_units));
        })
        .await?
    };
    if args.json {
        output::json(&report)?;
    } else if !global.quiet {
        output::print(&summary(&report))?;
    }
    Ok(())
}

fn summary(report: &BaselineReport) -> String {
    let bytes: u64 = report.snapshot.parts.iter().map(|part| part.size).sum();
    format!(
        "table     {}\nstream    {}\nsnapshot  {}\nitems     {} in {} parts ({bytes} bytes)\nread      {:.0} read units, {} to {}\n",
        report.table,
        report.stream,
        report.name,
        report.snapshot.items,
        report.snapshot.parts.len(),
        report.read_units,
        report.snapshot.started,
        report.snapshot.finished
    )
}
