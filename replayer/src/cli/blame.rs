//! `replay blame`: for each attribute of an item the change that last set it.

use std::process::ExitCode;
use std::sync::Arc;

use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::{Second, TableName};
use serde_json::json;

use super::ABSENT_EXIT_CODE;
use super::audit::{Painter, ShowArgs, conclude, exact, head, open, second};
use super::cut::MergeArgs;
use crate::audit::{Change, Direction, HistoryRequest, Origin, blame, history, inert, shown, why_empty};
use crate::key_schema::{KeySchema, KeySelection};
use crate::merge::Columns;
use crate::state::stopped;

/// Changes of one item that are looked at; older ones are said to be left out.
const CHANGES_MAX: usize = 1_000_000;

/// Show for each attribute of an item, nested ones too, the change that last set it and the value before
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay blame --table notes-table-dev --key noteId=5b1a
  replay blame --table notes-table-dev --key 5b1a --until 2026-11-22T10:00:00Z
  replay blame --table notes-table-dev --key 5b1a --json | jq 'select(.path == \"content\")'

The exit code is 10 when the item is not there.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// The item: NAME=VALUE[,NAME=VALUE], a bare value, or DynamoDB JSON
    #[arg(long, value_name = "KEY")]
    pub key: String,
    /// As the item was at this second
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only this stream of the table; the newest that has the item by default
    #[arg(long, value_name = "LABEL")]
    pub timeline: Option<String>,
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
/// When the arguments are wrong or the journal cannot be read. Segments that are corrupt are told by the exit code.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let until = args.until.as_deref().map(second).transpose()?;
    let (store, timeline) = open(global, args.timeline.as_deref()).await?;
    let request = HistoryRequest {
        table: args.table.clone(),
        timeline,
        keys: KeySelection::default(),
        since: None,
        until,
        kinds: Vec::new(),
        by: None,
        limit: CHANGES_MAX,
        direction: Direction::NewestFirst,
        columns: Columns::All,
    };
    let options = args.merge.options();
    let mut changes: Vec<Change> = Vec::new();
    let keys = |schema: &KeySchema| Ok(KeySelection::only(&schema.parse_key(&args.key)?));
    let reading = history(Arc::clone(&store), request.clone(), keys, &options, |change| {
        // A table made again under its name is another table: its items have nothing to do with the old one's.
        if changes.first().is_none_or(|newest| newest.timeline == change.timeline) {
            changes.push(change);
        }
        Ok(())
    });
    let history = tokio::select! {
        history = reading => history?,
        () = stopped(interrupt) => {
            let (step, resume) = ("reading the item's changes".to_owned(), "run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    changes.reverse();
    let images: Vec<_> = changes
        .iter()
        .map(|change| (change.old.clone().unwrap_or_default(), change.new.clone().unwrap_or_default()))
        .collect();
    let painter = Painter::new(&args.show);
    let origins = blame(&images);
    for origin in &origins {
        let change = origin.change.and_then(|at| changes.get(at));
        if args.json {
            let document = json!({
                "path": origin.path,
                "value": exact(&origin.value),
                "before": origin.before.as_ref().map(exact),
                "change": change.map(|change| head(change, &painter)),
            });
            output::print(&format!("{}\n", inert(&document.to_string())))?;
        } else {
            output::print(&text(origin, change.map(|change| (change, painter.actor(change))), &args.show))?;
        }
    }
    if history.more && !global.quiet {
        output::note(&format!("note: only the last {CHANGES_MAX} changes of the item were looked at"));
    }
    if let Some(kind) = conclude(&history, &args.show, &args.table) {
        return Ok(ExitCode::from(kind.exit_code()));
    }
    if changes.last().is_some_and(|last| last.new.is_some()) {
        return Ok(ExitCode::SUCCESS);
    }
    if !global.quiet {
        output::note(&match changes.last() {
            Some(last) => {
                let second = last.second.map(|second| format!(" at {second}")).unwrap_or_default();
                format!("the item was removed{second}; --until shows it as it was before")
            }
            None => why_empty(store, &request, keys, &options).await?,
        });
    }
    Ok(ExitCode::from(ABSENT_EXIT_CODE))
}

fn text(origin: &Origin, change: Option<(&Change, Option<String>)>, show: &ShowArgs) -> String {
    let value = shown(&origin.value, show.width);
    let set = match change {
        Some((change, actor)) => {
            let second = change.second.map_or_else(|| "no time".to_owned(), Second::to_rfc3339);
            let actor = actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
            let before = match &origin.before {
                Some(before) => format!(", before {}", shown(before, show.width)),
                None => ", before nothing".to_owned(),
            };
            format!("{second}  {:<6}{actor}{before}  ({})", change.kind.as_str(), change.sequence)
        }
        None => "before the first change in the journal".to_owned(),
    };
    format!("{}: {value}\n  {set}\n", inert(&origin.path))
}
