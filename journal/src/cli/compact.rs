//! `journal compact`: many short segments become few long ones, and snapshots are made where replays would cost too much.

use std::fmt::Write as _;
use std::time::Duration;

use super::progress::{Progress, Unit};
use super::{Global, output};
use crate::compact::{CompactOptions, CompactReport, compact_table};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::listing;
use crate::model::{Second, TableName};
use crate::snapshot::{SnapshotOptions, SnapshotReport, snapshot_table};

/// Merge short segments into long ones, delete those that were merged before, and make the snapshots that are due
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal compact
  journal compact --table notes-table-prod --dry-run
  journal compact --grace 7d --json
  journal compact --snapshot-mib 1024

Segments of an hour, a day and a month that are over become runs sorted by key. Every second stays reachable. What was
merged is deleted by a later run, when the grace time is over: it must be longer than any replay takes. A snapshot is made
wherever a replay from the last one would read more than --snapshot-mib of segments, and more than that snapshot has.")]
pub struct Args {
    /// Only this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<TableName>,
    /// How long segments stay after they were merged
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = period)]
    pub grace: Duration,
    /// How long an hour, day or month is left alone after its end
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = period)]
    pub settle: Duration,
    /// Make a snapshot where a replay from the last would read more segments than this, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, conflicts_with = "no_snapshots", value_parser = clap::value_parser!(u32).range(1..))]
    pub snapshot_mib: u32,
    /// Make no snapshots
    #[arg(long)]
    pub no_snapshots: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the store fails, a segment is not what was written, segments contradict each other, or it was interrupted.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let store = global.open().await?;
    let options =
        CompactOptions { settle: args.settle, grace: args.grace, dry_run: args.dry_run, ..CompactOptions::default() };
    let tables = match args.table {
        Some(table) => vec![table],
        None => listing::tables(store.as_ref()).await?,
    };
    let seconds = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let now = Second::new(seconds)?;
    let snapshots = SnapshotOptions {
        replay_bytes_max: u64::from(args.snapshot_mib) << 20,
        grace: args.grace,
        dry_run: args.dry_run,
        ..SnapshotOptions::default()
    };
    let mut report = CompactReport::default();
    let mut made = SnapshotReport::default();
    for table in tables {
        let progress =
            Progress::new(format!("compacting {table}"), Unit::Count("records"), None, global.quiet || args.json);
        let done = compact_table(store.clone(), &table, now, &options, interrupt, |done| progress.set(done.records));
        report += done.await?;
        if !args.no_snapshots {
            let store = store.clone();
            made += snapshot_table(store, &table, now, &snapshots, interrupt, |done| progress.set(done.items)).await?;
        }
    }
    if args.json {
        output::json(&Summary { compact: report, snapshot: made })?;
    } else {
        let mut lines = text(&report, args.dry_run);
        if !args.no_snapshots {
            lines.push_str(&super::snapshot::text(&made, args.dry_run));
        }
        output::print(&lines)?;
    }
    Ok(())
}

/// What is printed as JSON.
#[derive(serde::Serialize)]
struct Summary {
    #[serde(flatten)]
    compact: CompactReport,
    snapshot: SnapshotReport,
}

fn text(report: &CompactReport, dry_run: bool) -> String {
    let mut text = String::new();
    let verb = if dry_run { "would be " } else { "" };
    let _ = writeln!(
        text,
        "merged       {} segments ({} bytes) of {} windows{}",
        report.inputs,
        report.bytes_in,
        report.windows,
        if dry_run { " would be" } else { "" }
    );
    if !dry_run {
        let _ = writeln!(
            text,
            "made         {} segments ({} bytes), {} records",
            report.outputs, report.bytes_out, report.records
        );
        if let Some(amplification) = report.write_amplification() {
            let _ = writeln!(text, "written      {amplification:.2} bytes for each byte read");
        }
        let _ = writeln!(
            text,
            "requests     {} objects put, {} read, {} deleted",
            report.puts, report.objects_read, report.deletes
        );
    }
    let _ = writeln!(text, "deleted      {verb}{} segments ({} bytes)", report.deleted, report.bytes_deleted);
    let _ = writeln!(text, "waiting      {} segments, for the grace time", report.waiting);
    if report.left_alone > 0 {
        let _ =
            writeln!(text, "left alone   {} segments: they hold both sides of a gap, or no second", report.left_alone);
    }
    if report.duplicates > 0 {
        let _ = writeln!(text, "duplicates   {} records", report.duplicates);
    }
    if report.breaks > 0 {
        let _ = writeln!(
            text,
            "breaks       {} records do not follow from the one before: see `replay verify`",
            report.breaks
        );
    }
    text
}

/// Reads `90s`, `10m`, `24h` or `7d`; `0s` is allowed.
fn period(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let wrong = || "write it as 90s, 10m, 24h or 7d".to_owned();
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_reach_from_nothing_to_years() {
        assert_eq!(period("0s"), Ok(Duration::ZERO));
        assert_eq!(period("7d"), Ok(Duration::from_hours(7 * 24)));
        for bad in ["", "5", "5w", "-1h", "99999999999999999999d", "9999999999999999999d"] {
            assert!(period(bad).is_err(), "{bad}");
        }
    }
}
