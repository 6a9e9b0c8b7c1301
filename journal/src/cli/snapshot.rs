//! `journal snapshot`: a table's state at a moment, folded from the journal's own records.

use std::fmt::Write as _;

use thiserror::Error;

use super::{Global, output};
use crate::error::{Classify, Kind, Result};
use crate::interrupt::Interrupt;
use crate::model::{Second, TableName};
use crate::snapshot::{SnapshotOptions, SnapshotReport, latest_cut, snapshot_at};

/// Make a snapshot of a table at a moment, from the journal's own records
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal snapshot --table notes --at 2026-11-22T09:59:59Z
  journal snapshot --table notes --at latest --json

Replays of moments near it read it instead of the records from before; `replay … --explain` shows which. Nothing of
the live table is read. One that was stopped is gone on with by the same command. `journal compact` makes snapshots by
itself where they are due.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "TABLE")]
    pub table: TableName,
    /// The moment: RFC 3339 with a zone, seconds since 1970, or `latest`, the last one that no late record can change
    #[arg(long, value_name = "TIME")]
    pub at: String,
    /// Only say what would be read
    #[arg(long)]
    pub dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// What is wrong with the moment.
#[derive(Debug, Error)]
enum MomentError {
    #[error("{text:?} is not a moment")]
    Syntax { text: String },
    #[error("table {table} has no moment yet that no late record can change")]
    Nothing { table: TableName },
}

impl Classify for MomentError {
    fn kind(&self) -> Kind {
        match self {
            Self::Syntax { .. } => Kind::Invalid,
            Self::Nothing { .. } => Kind::Gap,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax { .. } => {
                "write it as 2026-11-22T09:59:59Z, as 2026-11-22T10:59:59+01:00, in seconds since 1970, or latest"
                    .to_owned()
            }
            Self::Nothing { table } => format!("`journal status --table {table}` shows what is covered"),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// When the moment is not one, is not covered or not settled yet, the records do not make the whole table, the store fails,
/// or it was interrupted.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let asked = if args.at == "latest" { None } else { Some(moment(&args.at)?) };
    let store = global.open().await?;
    let now = Second::new(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0))?;
    let options = SnapshotOptions { dry_run: args.dry_run, ..SnapshotOptions::default() };
    let cut = match asked {
        Some(cut) => cut,
        None => match latest_cut(store.as_ref(), &args.table, now, &options).await? {
            Some(cut) => cut,
            None => return Err(MomentError::Nothing { table: args.table }.into()),
        },
    };
    if !global.quiet && !args.json {
        output::note(&format!("table {} at {cut}", args.table));
    }
    let report = snapshot_at(store, &args.table, cut, now, &options, interrupt).await?;
    if args.json {
        output::json(&report)?;
    } else {
        output::print(&text(&report, args.dry_run))?;
    }
    Ok(())
}

pub(super) fn text(report: &SnapshotReport, dry_run: bool) -> String {
    let mut text = String::new();
    if report.already_there {
        let _ = writeln!(text, "snapshot     is there already");
    }
    for name in &report.snapshots {
        let _ = writeln!(text, "snapshot     {name}{}", if dry_run { " would be made" } else { "" });
    }
    if report.snapshots.is_empty() {
        let _ = writeln!(text, "snapshots    none was made");
    } else if dry_run {
        let _ = writeln!(text, "reads        {} objects ({} bytes)", report.objects_read, report.bytes_in);
    } else {
        let _ = writeln!(
            text,
            "holds        {} items, {} tombstones; {} parts ({} bytes) were written",
            report.items, report.tombstones, report.parts, report.bytes_out
        );
        let _ = writeln!(
            text,
            "requests     {} objects put, {} read ({} bytes)",
            report.puts, report.objects_read, report.bytes_in
        );
    }
    for segment in &report.undated {
        let _ = writeln!(
            text,
            "left alone   {}: {} records of {} have no second, so no snapshot can be made of them; replays read them",
            segment.timeline, segment.count, segment.object
        );
    }
    if report.deleted > 0 {
        let _ = writeln!(text, "deleted      {} objects that a dead snapshot had left", report.deleted);
    }
    text
}

fn moment(text: &str) -> std::result::Result<Second, MomentError> {
    let wrong = || MomentError::Syntax { text: text.chars().take(64).collect() };
    let seconds = if let Ok(seconds) = text.parse::<u64>() {
        seconds
    } else {
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        u64::try_from(time.as_second()).map_err(|_| wrong())?
    };
    Second::new(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_without_seconds_is_named() {
        let stream = crate::model::StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
        let (timeline, object) = (stream.timeline().clone(), "notes/1/segments/0/undated/x.seg".to_owned());
        let undated = vec![crate::snapshot::UndatedSegment { timeline, object, count: 3 }];
        let told = text(&SnapshotReport { undated, ..SnapshotReport::default() }, false);
        assert!(
            told.contains("3 records of notes/1/segments/0/undated/x.seg") && told.contains("replays read"),
            "{told}"
        );
    }

    #[test]
    fn a_moment_has_a_zone_or_is_a_number() {
        assert_eq!(moment("2020-03-29T10:00:00Z").unwrap().get(), 1_585_476_000);
        assert_eq!(moment("2020-03-29T12:00:00+02:00").unwrap().get(), 1_585_476_000);
        assert_eq!(moment("1585476000").unwrap().get(), 1_585_476_000);
        for bad in ["", "yesterday", "2020-03-29", "2020-03-29T10:00:00", "-5", "99999999999999999999"] {
            let error = moment(bad).unwrap_err();
            assert!(error.hint().unwrap().contains("latest"), "{bad}");
        }
    }
}
