//! `journal guard`: whether every table is protected as it ought to be.

use std::fmt::Write as _;
use std::time::Duration;

use super::protect::{MappingArgs, TableArgs, stopped};
use super::{Global, aws, output};
use crate::error::Result;
use crate::guard::{GuardEdges, GuardReport, GuardSettings, Level, Powers, guard};
use crate::interrupt::Interrupt;
use crate::protect::Selection;

/// Which tables ought to be protected, and what may be mended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal guard notes-table-prod --function journal-stream-trigger
  journal guard --tag stage=prod --check            # looks, and changes nothing
  journal guard 'notes-*' --switch-streams --json
  journal guard                                     # the tables that the journal knows

Reading streams beside the function makes the guard the second reader of each shard, and DynamoDB allows two: with
another consumer besides the function, or for a global table, give --no-reading. Coverage then ends at the last record.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// The tables; none of the three for those that the journal knows.
    #[command(flatten)]
    pub tables: TableArgs,
    /// The function and how it is fed.
    #[command(flatten)]
    pub mapping: MappingArgs,
    /// Look only: mend nothing, read no stream, write nothing
    #[arg(long, conflicts_with_all = ["switch_streams"])]
    pub check: bool,
    /// Switch streams on too. A template without the stream switches it off again with its next deploy
    #[arg(long)]
    pub switch_streams: bool,
    /// Do not read streams beside the function
    #[arg(long)]
    pub no_reading: bool,
    /// So many seconds the function may be behind before it is an alarm
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    pub fresh: u64,
    /// So many seconds the reading of all streams may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub read_seconds: u64,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// When something is left that somebody must mend, or tables, mappings or the journal cannot be listed.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let none = args.tables.is_empty();
    let mut selection = if none { Selection::default() } else { args.tables.selection()? };
    selection.known = none;
    let store = global.open().await?;
    let settings = aws::settings().await?;
    let edges = GuardEdges::of_aws(&settings, store);
    let settings = GuardSettings {
        mapping: args.mapping.settings(),
        powers: (!args.check).then_some(Powers { mappings: true, streams: args.switch_streams }),
        reads: !args.no_reading,
        fresh_seconds: args.fresh,
        read_budget: Duration::from_secs(args.read_seconds),
        ..GuardSettings::new(args.mapping.function.clone(), selection)
    };
    let report = tokio::select! {
        report = guard(&edges, &settings) => report?,
        () = interrupt.wait() => return Err(stopped("looking after tables")),
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::print(&text(&report, global.quiet))?;
    }
    Ok(report.outcome()?)
}

fn text(report: &GuardReport, quiet: bool) -> String {
    let mut text = String::new();
    for table in &report.tables {
        let alarms = table.alarms();
        if quiet && alarms == 0 {
            continue;
        }
        let state = if alarms == 0 { "protected" } else { "NOT PROTECTED" };
        let _ = writeln!(text, "{}  {state}", table.table);
        for event in &table.events {
            let _ = writeln!(text, "  event     {} {}", event.at, event.text);
        }
        for repair in &table.repairs {
            let _ = writeln!(text, "  mended    {repair}");
        }
        let appended = &table.read.appended;
        if appended.records > 0 || table.read.timelines_ended > 0 {
            let _ = writeln!(
                text,
                "  read      {} records appended, {} timelines ended",
                appended.records, table.read.timelines_ended
            );
        }
        for finding in &table.findings {
            let level = if finding.level == Level::Alarm { "ALARM " } else { "notice" };
            let _ = writeln!(text, "  {level}    {}", finding.text);
            if let Some(hint) = &finding.hint {
                let _ = writeln!(text, "            {hint}");
            }
        }
    }
    if report.tables.is_empty() && !quiet {
        text.push_str("no table is chosen\n");
    }
    text
}
