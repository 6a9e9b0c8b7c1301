//! `replay diff`: what differs between two states of a table.

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::Zoned;
use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::TableName;
use serde_json::{Value, json};

use super::audit::{Painter, ShowArgs, exact, open};
use super::cut::MergeArgs;
use crate::audit::{CompareReport, CompareRequest, ItemDifference, compare, differences, inert};
use crate::cut::CutRequest;
use crate::key_schema::KeySelection;
use crate::state::stopped;

/// Exit code when the states differ, as `diff` has it.
const DIFFERENT_EXIT_CODE: u8 = 1;

/// Show which items differ between two states of a table, attribute by attribute
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay diff --table notes-table-dev --from 2026-11-22T09:55:00Z --to latest
  replay diff --table notes-table-dev --from yesterday --to now --stat
  replay diff --table notes-table-dev --from sequence:100000000000000000000007 --to sequence:100000000000000000000045 --json

Only items that changed in between are read. The exit code is 0 when the states are the same and 1 when they differ.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// The first state: a time as in --at of the other commands, or sequence:NUMBER
    #[arg(long, value_name = "CUT")]
    pub from: String,
    /// The second state
    #[arg(long, value_name = "CUT")]
    pub to: String,
    /// Only this item: NAME=VALUE[,NAME=VALUE], a bare value, or DynamoDB JSON
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub key: Option<String>,
    /// Only items whose partition key, a string, begins so
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// The stream's label, where the cuts could mean several timelines of the table
    #[arg(long, value_name = "LABEL")]
    pub timeline: Option<String>,
    /// Only counts
    #[arg(long, conflicts_with = "json")]
    pub stat: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How it is shown.
    #[command(flatten)]
    pub show: ShowArgs,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// Runs the command.
///
/// # Errors
/// When the arguments are wrong, a cut is not covered, the two do not lie in one stretch of history, or an object cannot be
/// read.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let now = Zoned::now();
    let (from, to) = (CutRequest::parse(&args.from, &now)?, CutRequest::parse(&args.to, &now)?);
    let (store, timeline) = open(global, args.timeline.as_deref()).await?;
    let request = CompareRequest { table: args.table.clone(), from, to, timeline };
    let options = args.merge.options();
    let (stat, json, show) = (args.stat, args.json, args.show.clone());
    let comparing = compare(
        store,
        &request,
        |schema| {
            Ok(match (&args.key, &args.prefix) {
                (Some(text), _) => KeySelection::only(&schema.parse_key(text)?),
                (None, Some(text)) => schema.parse_prefix(text)?,
                (None, None) => KeySelection::default(),
            })
        },
        &options,
        move |difference| {
            if !stat {
                output::print(&one(&difference, json, &Painter::new(&show)))?;
            }
            Ok(())
        },
    );
    let report = tokio::select! {
        report = comparing => report?,
        () = stopped(interrupt) => {
            let (step, resume) = ("comparing".to_owned(), "run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    if args.stat {
        output::print(&counts(&report))?;
    } else if !global.quiet {
        output::note(counts(&report).trim_end());
    }
    if args.show.explain {
        output::note(&format!(
            "read {} of {} segments of the timeline, {} bytes",
            report.opened, report.segments, report.bytes_read
        ));
    }
    Ok(if report.differs() { ExitCode::from(DIFFERENT_EXIT_CODE) } else { ExitCode::SUCCESS })
}

fn counts(report: &CompareReport) -> String {
    let CompareReport { added, removed, changed, changed_back, .. } = report;
    format!("{added} items added, {removed} removed, {changed} changed; {changed_back} changed and changed back\n")
}

fn one(difference: &ItemDifference, json: bool, painter: &Painter<'_>) -> String {
    let empty = journal::model::Attributes::new();
    let (before, after) = (difference.before.as_ref(), difference.after.as_ref());
    if json {
        let exactly = |item: Option<&journal::model::Attributes>| {
            item.map(|item| {
                item.iter().map(|(name, value)| (name.clone(), exact(value))).collect::<serde_json::Map<_, _>>()
            })
            .map_or(Value::Null, Value::Object)
        };
        let document =
            json!({ "key": exactly(Some(&difference.key)), "before": exactly(before), "after": exactly(after) });
        return format!("{}\n", inert(&document.to_string()));
    }
    let sign = match (before, after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    let mut text = format!("{sign} {}\n", painter.key(&difference.key));
    for found in differences(before.unwrap_or(&empty), after.unwrap_or(&empty)) {
        let _ = writeln!(text, "    {}", painter.difference(&found));
    }
    text
}
