//! `replay verify`: proves that a journal is what was written and that no change is missing.

use std::fmt::Write as _;
use std::process::ExitCode;

use journal::cli::Global;
use journal::cli::output;
use journal::cli::progress::{Progress, Unit};
use journal::error::{Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::TableName;

use super::cut::MergeArgs;
use crate::listing;
use crate::state::stopped;
use crate::verify::{ChainEnd, TimelineReport, VerifyError, verify_table};

/// Breaks and problems that the text lists; `--json` has up to a thousand.
const SHOWN_MAX: usize = 20;

/// Check every checksum of every object, and the chain of images of every key
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay verify --table notes-table-dev
  replay verify --journal s3://bucket/prefix --json > report.json
  replay verify --table notes-table-dev || echo 'look at notes-table-dev'

A record's old image must be the new image of the record before it: where it is not, a change is missing. Exit code 0: all
sound (stated gaps are listed); 5: a change is missing that no stated gap explains; 4: an object is not what was written.")]
pub struct Args {
    /// Only this table
    #[arg(long, value_name = "NAME")]
    pub table: Option<TableName>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// Runs the command.
///
/// # Errors
/// When the journal cannot be opened or read, or has no such table. What is unsound is told by the exit code.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let store = global.open_read().await?;
    let tables = match args.table {
        Some(table) => vec![table],
        None => listing::tables(&*store).await?,
    };
    if tables.is_empty() {
        return Err(VerifyError::Empty { location: store.location().to_owned() }.into());
    }
    let mut reports: Vec<TimelineReport> = Vec::new();
    for table in &tables {
        let bar = Progress::new(format!("checking {table}"), Unit::Bytes, None, global.quiet);
        let add = |bytes| bar.add(bytes);
        let checked = tokio::select! {
            checked = verify_table(store.clone(), table, args.merge.options(), interrupt, add) => checked,
            // A read that hangs is not waited for: nothing was changed.
            () = stopped(interrupt) => Err(VerifyError::Interrupted { timeline: table.to_string() }.into()),
        };
        reports.extend(checked?);
    }
    if args.json {
        output::json(&reports)?;
    } else {
        let text: String = reports.iter().map(text).collect::<Vec<_>>().join("\n");
        output::print(&text)?;
    }
    let verdicts: Vec<Kind> = reports.iter().filter_map(TimelineReport::verdict).collect();
    let worst = if verdicts.contains(&Kind::Corrupt) { Some(Kind::Corrupt) } else { verdicts.first().copied() };
    if let Some(kind) = worst {
        output::note(match kind {
            Kind::Corrupt => {
                "hint: an earlier version of an unsound object may be whole: list the versions of its key in the bucket"
            }
            _ => "hint: a change is missing between the records above; cuts outside these intervals are sound",
        });
    }
    Ok(worst.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code())))
}

fn text(report: &TimelineReport) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_text(report, &mut text);
    text
}

fn write_text(report: &TimelineReport, to: &mut String) -> std::fmt::Result {
    let verdict = match report.verdict() {
        Some(Kind::Corrupt) => "UNSOUND",
        Some(_) => "CHANGES MISSING",
        None => "sound",
    };
    writeln!(to, "table {}, timeline {}: {verdict}", report.table, report.timeline)?;
    for interval in &report.covered {
        if let (Some(from), Some(through)) = (interval.from, interval.through) {
            let end = if interval.open_end { " (the last record)" } else { "" };
            writeln!(to, "  covered    {from} to {through}{end}")?;
        }
    }
    writeln!(
        to,
        "  read       {} segments, {} snapshot parts, {} bytes",
        report.segments, report.snapshot_parts, report.bytes
    )?;
    writeln!(
        to,
        "  records    {} of {} keys, {} of them stored more than once",
        report.records, report.keys, report.duplicates
    )?;
    for (count, what) in [
        (report.undated, "records have no time"),
        (report.out_of_order, "records have an earlier time than one before them of their key"),
        (report.quarantined, "records are in quarantine: they could not be understood when they came"),
        (
            u64::try_from(report.unfinished.len()).unwrap_or(u64::MAX),
            "objects are of snapshots that were never completed",
        ),
        (u64::try_from(report.foreign.len()).unwrap_or(u64::MAX), "objects are none of a journal"),
    ] {
        if count > 0 {
            writeln!(to, "  note       {count} {what}")?;
        }
    }
    for gap in &report.gaps {
        writeln!(to, "  stated gap after {} until {}: {}", gap.from, gap.to, gap.reason)?;
    }
    if report.contradictions > 0 {
        writeln!(to, "  unsound    {} records are stored twice and do not say the same", report.contradictions)?;
    }
    for problem in report.problems.iter().take(SHOWN_MAX) {
        writeln!(to, "  unsound    {}: {}", problem.object, problem.problem)?;
    }
    more(report.unsound, to)?;
    for found in report.breaks.iter().filter(|found| found.stated.is_none()).take(SHOWN_MAX) {
        let after = found.after.as_ref().map_or_else(|| "the beginning of the stream".to_owned(), end);
        writeln!(to, "  missing    {}: between {after} and {}", found.key, end(&found.before))?;
    }
    more(report.broken, to)?;
    if report.broken_stated > 0 {
        writeln!(to, "  note       {} breaks lie in stated gaps", report.broken_stated)?;
    }
    if report.unsound > 0 && report.broken > 0 {
        writeln!(to, "  note       what is missing may be in the unsound objects")?;
    }
    Ok(())
}

fn more(count: u64, to: &mut String) -> std::fmt::Result {
    let shown = u64::try_from(SHOWN_MAX).unwrap_or(u64::MAX);
    if count > shown { writeln!(to, "             and {} more (--json has up to 1000)", count - shown) } else { Ok(()) }
}

fn end(end: &ChainEnd) -> String {
    let second = end.second.map(|second| format!(" of {second}")).unwrap_or_default();
    format!("record {}{second}", end.sequence)
}
