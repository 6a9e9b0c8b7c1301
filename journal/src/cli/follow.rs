//! `journal follow`: follows the streams of live tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::{Global, aws, output};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::TableName;
use crate::source::follow::{
    self, Edges, FollowError, FollowOptions, FollowReport, Stop, StoreAppend, SystemClock, TableReport,
};
use crate::source::stream_sdk::SdkStreams;

/// Follow the streams of live tables into the journal, until stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal follow --table notes
  journal follow --table notes --table users --wait
  journal follow --table notes --once        # read what is there now and stop: for cron

Stopped with Ctrl-C or SIGTERM it finishes the batch in hand and exits with 0; the same command goes on after the last
durable record, and so it does after a crash. A stream keeps its records for 24 hours: what was not read by then is a
gap, which is stated in the journal. Two followers of one table do no harm.")]
pub struct Args {
    /// A table to follow; may be given more than once
    #[arg(long = "table", required = true, value_name = "TABLE")]
    pub tables: Vec<TableName>,
    /// Read what is there now, then stop
    #[arg(long, conflicts_with = "wait")]
    pub once: bool,
    /// Wait for a table that does not exist yet or has no stream yet
    #[arg(long)]
    pub wait: bool,
    /// Stop when every timeline has ended, rather than wait for the table to be made again
    #[arg(long)]
    pub until_ended: bool,
    /// Write a shard's batch when it has so many KiB
    #[arg(long, value_name = "KIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch_kib: u32,
    /// Write a shard's batch when it has so many records
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch_records: u32,
    /// Write a shard's batch when it is so old, as in 500ms or 5s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub batch_age: Duration,
    /// Wait so long after a read that found nothing
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub poll: Duration,
    /// Reads in a row that must find nothing before a shard counts as read through
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub empty_reads: u32,
    /// Write a shard's checkpoint at most so often; after a crash so much is read again
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub checkpoint_age: Duration,
    /// Look so often whether the table is still the same
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub table_poll: Duration,
    /// Print the summary at the end as JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads `500ms`, `5s`, `2m` or `1h`: more than nothing, a day at most.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "write it as 500ms, 5s, 2m or 1h".to_owned())?;
    let milliseconds = match text.strip_prefix(digits) {
        Some("ms") => number,
        Some("s" | "") => number.saturating_mul(1000),
        Some("m") => number.saturating_mul(60_000),
        Some("h") => number.saturating_mul(3_600_000),
        _ => return Err("write it as 500ms, 5s, 2m or 1h".to_owned()),
    };
    if !(1..=86_400_000).contains(&milliseconds) {
        return Err("it must be at least 1ms and at most 24h".to_owned());
    }
    Ok(Duration::from_millis(milliseconds))
}

/// Runs the command.
///
/// # Errors
/// When the journal cannot be opened, or a table could not be followed; the others were.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let store = global.open().await?;
    let settings = aws::settings().await?;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let options = FollowOptions {
        batch_bytes: count(args.batch_kib).saturating_mul(1024),
        batch_records: count(args.batch_records),
        batch_age: args.batch_age,
        poll: args.poll,
        empty_reads: count(args.empty_reads),
        checkpoint_age: args.checkpoint_age,
        table_poll: args.table_poll,
        once: args.once,
        wait: args.wait,
        until_ended: args.until_ended,
        seed: rand::random(),
        ..FollowOptions::default()
    };
    let edges = Edges {
        service: Arc::new(SdkStreams::new(&settings)),
        durable: Arc::new(StoreAppend::new(Arc::clone(&store))),
        store,
        clock: Arc::new(SystemClock::new()),
    };
    let tables: BTreeSet<TableName> = args.tables.into_iter().collect();
    let stop = Stop::new();
    let report = {
        let following = follow::follow(edges, tables.into_iter().collect(), options, stop.clone());
        tokio::pin!(following);
        tokio::select! {
            report = &mut following => report,
            () = interrupt.wait() => {
                stop.request();
                following.await
            }
        }
    };
    if args.json {
        output::json(&as_json(&report))?;
    } else if !global.quiet {
        output::print(&summary(&report, stop.requested()))?;
    }
    outcome(report)
}

fn as_json(report: &FollowReport) -> serde_json::Value {
    report
        .tables
        .iter()
        .map(|(table, report, failure)| {
            serde_json::json!({
                "table": table,
                "report": report,
                "error": failure.as_ref().map(ToString::to_string),
            })
        })
        .collect()
}

fn summary(report: &FollowReport, stopped: bool) -> String {
    let mut text = String::new();
    for (table, report, failure) in &report.tables {
        text.push_str(&line(table, report));
        if let Some(failure) = failure {
            let _ = writeln!(text, "{table}: failed: {failure}");
        }
    }
    if stopped {
        text.push_str("stopped; the same command goes on after the last durable record\n");
    }
    text
}

fn line(table: &TableName, report: &TableReport) -> String {
    let appended = &report.appended;
    let mut text = format!(
        "{table}: {} records in {} batches, {} segments made ({} bytes), {} there already",
        appended.records, report.batches, appended.segments_created, appended.bytes, appended.segments_already_there
    );
    let mut also = |count: u64, what: &str| {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    };
    also(appended.quarantined, "quarantined");
    also(report.older_than_stream, "left out for they are older than their stream");
    also(report.gaps, "gaps stated");
    also(report.timelines_ended, "timelines ended");
    text.push('\n');
    text
}

/// The error of the one table that failed, or of all that did.
fn outcome(report: FollowReport) -> Result<()> {
    let of = report.tables.len();
    let mut failed: Vec<_> =
        report.tables.into_iter().filter_map(|(table, _, failure)| Some((table, failure?))).collect();
    if of == 1
        && let Some((_, failure)) = failed.pop()
    {
        return Err(failure);
    }
    let Some((_, first)) = failed.first() else { return Ok(()) };
    let names: Vec<&str> = failed.iter().map(|(table, _)| table.as_str()).collect();
    Err(FollowError::Tables { failed: failed.len(), of, names: names.join(", "), kind: first.kind() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        for bad in ["", "s", "0s", "-1s", "5 s", "25h", "5d", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_failed_table_of_two_is_named_with_its_kind() {
        let notes = TableName::parse("notes").unwrap();
        let failure = FollowError::NoStream { table: notes.clone() };
        let report = FollowReport {
            tables: vec![
                (TableName::parse("users").unwrap(), TableReport::default(), None),
                (notes, TableReport::default(), Some(failure.into())),
            ],
        };
        assert!(summary(&report, true).contains("notes: failed: table notes has no stream"));
        let error = outcome(report).unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 tables could not be followed: notes");
        assert_eq!(error.kind().exit_code(), 2);
    }
}
