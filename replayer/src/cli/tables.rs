//! `replay tables`: what is in the journal.

use std::fmt::Write as _;
use std::process::ExitCode;

use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::{Second, TableName};
use serde_json::{Value, json};

use crate::audit::{inert, key_schema_of};
use crate::coverage::CoveredTimeline;
use crate::listing;
use crate::merge::UnreadableList;
use crate::plan::covered;
use crate::state::stopped;

/// Show the tables in the journal: their keys, timelines, sizes, and the times that are covered
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay tables
  replay tables --json | jq -r '.[] | select(.table == \"notes-table-dev\") | .timelines[].covered[]'

`journal status` says more of lag and gaps, `replay schema` more of a table's items.")]
pub struct Args {
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the journal cannot be read, or a document in it is not what was written.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let reading = async {
        let store = global.open_read().await?;
        let mut found = Vec::new();
        for table in listing::tables(&*store).await? {
            let mut timelines = Vec::new();
            for timeline in covered(&*store, &table).await? {
                // Where nothing can be read the key is not known.
                let key = key_schema_of(&*store, &timeline.objects, Some(&UnreadableList::default())).await?;
                timelines.push((timeline, key.map(|key| key.to_string())));
            }
            found.push((table, timelines));
        }
        Ok::<_, journal::Error>(found)
    };
    let found = tokio::select! {
        found = reading => found?,
        () = stopped(interrupt) => {
            let (step, resume) = ("reading the journal".to_owned(), "run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    if args.json {
        let tables: Vec<Value> = found.iter().map(|(table, timelines)| document(table, timelines)).collect();
        output::print(&format!("{}\n", inert(&Value::from(tables).to_string())))?;
    } else if found.is_empty() {
        output::note(
            "the journal has no table yet: fill it with `journal follow --table TABLE` or `journal ingest FILE`",
        );
    } else {
        let text: Vec<String> = found.iter().map(|(table, timelines)| text(table, timelines)).collect();
        output::print(&text.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

type Found = (CoveredTimeline, Option<String>);

fn intervals(timeline: &CoveredTimeline) -> Vec<(Second, Second)> {
    timeline.intervals.iter().filter_map(|interval| Some((interval.from?, interval.through?))).collect()
}

/// Segments that are read, and their bytes: not those that compaction replaced.
fn size(timeline: &CoveredTimeline) -> (usize, u64) {
    let superseded = timeline.objects.superseded();
    let kept = timeline.objects.segments.iter().filter(|segment| !superseded.contains(&segment.key));
    kept.fold((0, 0), |(count, bytes), segment| (count + 1, bytes + segment.size))
}

fn text(table: &TableName, timelines: &[Found]) -> String {
    let mut text = format!("{table}\n");
    for (timeline, key) in timelines {
        let (segments, bytes) = size(timeline);
        let _ = writeln!(
            text,
            "  {}  key {}, {segments} segments ({bytes} bytes), {} snapshots",
            timeline.objects.timeline.label,
            key.as_deref().map_or_else(|| "not known".to_owned(), inert),
            timeline.objects.snapshots.len(),
        );
        for (from, through) in intervals(timeline) {
            let _ = writeln!(text, "    covered {from} to {through}");
        }
    }
    text
}

fn document(table: &TableName, timelines: &[Found]) -> Value {
    let timelines: Vec<Value> = timelines
        .iter()
        .map(|(timeline, key)| {
            let (segments, bytes) = size(timeline);
            let covered: Vec<Value> = intervals(timeline)
                .iter()
                .map(|(from, through)| json!({ "from": from.to_rfc3339(), "through": through.to_rfc3339() }))
                .collect();
            json!({
                "timeline": timeline.objects.timeline.label.as_str(),
                "key": key,
                "segments": segments,
                "segment_bytes": bytes,
                "snapshots": timeline.objects.snapshots.len(),
                "covered": covered,
            })
        })
        .collect();
    json!({ "table": table.as_str(), "timelines": timelines })
}
