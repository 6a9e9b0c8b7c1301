//! `replay diff`: what differs between two states of a table, or a state and the table itself.

mod live;

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::Zoned;
use journal::cli::output::OutputError;
use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::TableName;
use serde_json::{Value, json};

use super::audit::{Painter, ShowArgs, exact, open, selection};
use super::cut::MergeArgs;
use crate::audit::{CompareReport, CompareRequest, ItemDifference, compare, differences, inert};
use crate::cut::CutRequest;
use crate::state::stopped;

/// Exit code when the states differ, as `diff` has it.
const DIFFERENT_EXIT_CODE: u8 = 1;

/// Show which items differ between two states of a table, attribute by attribute
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay diff --table notes-table-dev --from 2026-11-22T09:55:00Z --to latest
  replay diff --table notes-table-dev --from yesterday --to now --stat
  replay diff --table notes-table-dev --from sequence:100000000000000000000007 --to sequence:100000000000000000000045 --json
  replay diff --table notes-table-dev --from before:2026-11-22T10:00:00Z --to live     # with the table itself
  replay diff --table notes-table-dev --from latest --to live --whole                  # is the table what the journal says?

Only items that changed in between are read; with the live table those that the journal says changed since, each read strongly consistent, or
with --whole all of it. The exit code is 0 when the states are the same and 1 when they differ.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// The first state: a time as in --at of the other commands, or sequence:NUMBER
    #[arg(long, value_name = "CUT")]
    pub from: String,
    /// The second state; `live` is the table itself
    #[arg(long, value_name = "CUT")]
    pub to: String,
    /// With the live table: compare all of its items, also those that the journal has no change of
    #[arg(long)]
    pub whole: bool,
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
    let from = CutRequest::parse(&args.from, &now)?;
    if args.to.trim().eq_ignore_ascii_case("live") {
        return live::run(&args, from, global, interrupt).await;
    }
    if args.whole {
        return Err(live::ArgumentError::Whole.into());
    }
    let to = CutRequest::parse(&args.to, &now)?;
    let (store, timeline) = open(global, args.timeline.as_deref()).await?;
    let request = CompareRequest { table: args.table.clone(), from, to, timeline };
    let options = args.merge.options();
    let (stat, json, show) = (args.stat, args.json, args.show.clone());
    let comparing = compare(
        store,
        &request,
        |schema| selection(schema, args.key.as_deref(), args.prefix.as_deref()),
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
    let told = format!("{}; {} changed and changed back\n", counts(&report), report.changed_back);
    Ok(conclude(&args, &report, &told, global)?)
}

/// Says what was compared and read, and gives the exit code.
fn conclude(args: &Args, report: &CompareReport, told: &str, global: &Global) -> Result<ExitCode, OutputError> {
    if args.stat {
        output::print(told)?;
    } else if !global.quiet {
        output::note(told.trim_end());
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
    let CompareReport { added, removed, changed, .. } = report;
    format!("{added} items added, {removed} removed, {changed} changed")
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
