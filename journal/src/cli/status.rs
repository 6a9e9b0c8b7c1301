//! `journal status`: what the journal holds and how far it reaches.

use std::fmt::Write as _;

use super::{Global, output};
use crate::error::Result;
use crate::interrupt::{Interrupt, InterruptedError};
use crate::model::{Second, TableName};
use crate::status::{JournalStatus, TimelineStatus, status};

/// Events that are shown of a timeline.
const EVENTS_SHOWN_MAX: usize = 10;

/// Show tables, timelines, coverage, lag, segments, bytes and gaps
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal status
  journal status --table notes-table-dev
  journal status --json | jq '.tables[].timelines[].lag_seconds'")]
pub struct Args {
    /// Only this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<TableName>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the journal cannot be read, a document is not what was written, or there is no such table.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let store = global.open_read().await?;
    let now = u64::try_from(jiff::Timestamp::now().as_second()).ok().and_then(|now| Second::new(now).ok());
    let report = tokio::select! {
        report = status(store, args.table.as_ref(), now.unwrap_or(Second::MAX)) => report?,
        () = interrupt.wait() => {
            return Err(InterruptedError { step: "reading the journal".to_owned(), resume: "run the same command again".to_owned() }.into());
        }
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(())
}

fn text(report: &JournalStatus) -> String {
    let mut text = format!("{}\n", report.journal);
    if report.tables.is_empty() {
        text.push_str("no tables yet: fill it with `journal follow --table TABLE` or `journal ingest FILE`\n");
    }
    for table in &report.tables {
        let _ = writeln!(text, "\n{}", table.table);
        if table.timelines.is_empty() {
            text.push_str("  nothing yet\n");
        }
        for timeline in &table.timelines {
            timeline_text(&mut text, timeline);
        }
    }
    if report.quarantined_of_unknown_tables > 0 {
        let _ = writeln!(
            text,
            "\n{} records of unknown tables are in {}",
            report.quarantined_of_unknown_tables,
            crate::layout::UNKNOWN_QUARANTINE
        );
    }
    text
}

fn timeline_text(text: &mut String, timeline: &TimelineStatus) {
    let _ = write!(text, "  {}  {}", timeline.label, timeline.state);
    if let Some(end) = &timeline.end {
        let _ = write!(text, ": {end}");
    }
    if let Some(lag) = timeline.lag_seconds {
        let _ = write!(text, ", {lag} s behind, {} open shards", timeline.open_shards);
    }
    text.push('\n');
    let _ = writeln!(text, "    segments    {} ({})", timeline.segments, bytes(timeline.segment_bytes));
    if let Some(items) = timeline.snapshot_items {
        let _ = writeln!(
            text,
            "    baselines   {} ({}), the newest with {items} items",
            timeline.snapshots,
            bytes(timeline.snapshot_bytes)
        );
    }
    for interval in &timeline.coverage {
        let second = |second: Option<Second>| second.map_or_else(|| "no time".to_owned(), Second::to_rfc3339);
        let whole = match interval.whole {
            Some(true) => "whole",
            Some(false) => "NOT WHOLE",
            None => "not known to be whole",
        };
        let (from, through) = (second(interval.from), second(interval.through));
        let _ = writeln!(text, "    covered     {from} to {through}, {whole}: {}", interval.because);
    }
    if timeline.coverage.is_empty() {
        text.push_str("    covered     nothing yet\n");
    }
    for gap in &timeline.gaps {
        let _ = writeln!(text, "    GAP         {} to {}: {}", gap.from, gap.to, gap.reason);
    }
    let hidden = timeline.events.len().saturating_sub(EVENTS_SHOWN_MAX);
    if hidden > 0 {
        let _ = writeln!(text, "    event       {hidden} older ones: see --json");
    }
    for event in timeline.events.iter().skip(hidden) {
        let by = event.by.as_ref().and_then(|by| by.principal.as_deref());
        let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
        let seen = if event.seen { " (seen)" } else { "" };
        let _ = writeln!(text, "    event       {}{seen} {}{by}", event.at, event.text);
    }
    if let Some((first, last)) = timeline.sequences {
        let _ = writeln!(text, "    sequences   {first} to {last}");
    }
    if timeline.quarantined > 0 {
        let _ = writeln!(text, "    QUARANTINE  {} records could not be understood", timeline.quarantined);
    }
    if timeline.foreign > 0 {
        let _ =
            writeln!(text, "    foreign     {} objects that no journal writes; see `replay verify`", timeline.foreign);
    }
}

/// Bytes as people read them, exact below 10 KiB.
fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 10 << 10 {
        return format!("{bytes} bytes");
    }
    let mut tenths = bytes.saturating_mul(10) >> 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths >>= 10;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units.get(unit).unwrap_or(&"KiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(10_239), "10239 bytes");
        assert_eq!(bytes(10_240), "10.0 KiB");
        assert_eq!(bytes(1 << 30), "1.0 GiB");
        assert_eq!(bytes(u64::MAX), "1677721.5 TiB");
    }
}
