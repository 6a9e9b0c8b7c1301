//! `replay log`: who changed what, and when.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::ValueEnum;
use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::{Attributes, ChangeKind, TableName};
use serde_json::json;

use super::ABSENT_EXIT_CODE;
use super::audit::{Painter, ShowArgs, conclude, exact, head, open, second};
use super::cut::MergeArgs;
use crate::audit::{Actor, Change, Direction, History, HistoryRequest, differences, history, inert};
use crate::key_schema::KeySelection;
use crate::state::stopped;

/// Changes that are held in memory at most.
const LIMIT_MAX: usize = 1_000_000;

/// Show the changes of an item, of items with a prefix, or of the whole table, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay log --table notes-table-dev --key noteId=5b1a
  replay log --table notes-table-dev --since '2 hours ago' --kind remove --oneline
  replay log --table notes-table-dev --prefix 2026- --by ttl --json | jq .key
  replay log --table notes-table-dev --since 2026-11-22T09:00:00Z --stat --limit 100000
  replay log --table notes-table-dev --key 5b1a --reverse --actor-attribute author

The exit code is 10 when an item was asked for and no change of it was found.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: TableName,
    /// Only this item: NAME=VALUE[,NAME=VALUE], a bare value, or DynamoDB JSON
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub key: Option<String>,
    /// Only items whose partition key, a string, begins so
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Only changes at or after this second
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only changes at or before this second
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only changes of this kind; may be given several times
    #[arg(long, value_name = "KIND", value_enum)]
    pub kind: Vec<KindArg>,
    /// Only deletes by time to live, or only what anybody else did
    #[arg(long, value_name = "WHO", value_enum)]
    pub by: Option<ByArg>,
    /// Only this stream of the table
    #[arg(long, value_name = "LABEL")]
    pub timeline: Option<String>,
    /// So many changes at most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = limit)]
    pub limit: usize,
    /// Oldest first
    #[arg(long)]
    pub reverse: bool,
    /// One line a change
    #[arg(long, conflicts_with_all = ["stat", "json"])]
    pub oneline: bool,
    /// Only counts: by kind, by actor, by attribute
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

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// An item that was not there.
    Insert,
    /// An item that was there.
    Modify,
    /// An item that is there no more.
    Remove,
}

/// Who.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    /// Time to live.
    Ttl,
    /// Anybody else.
    User,
}

fn limit(text: &str) -> std::result::Result<usize, String> {
    let wrong = || format!("it must be a number from 1 to {LIMIT_MAX}");
    text.parse().ok().filter(|count| (1..=LIMIT_MAX).contains(count)).ok_or_else(wrong)
}

/// Runs the command.
///
/// # Errors
/// When the arguments are wrong or the journal cannot be read. Segments that are corrupt are told by the exit code.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let since = args.since.as_deref().map(second).transpose()?;
    let until = args.until.as_deref().map(second).transpose()?;
    let (store, timeline) = open(global, args.timeline.as_deref()).await?;
    let request = HistoryRequest {
        table: args.table.clone(),
        timeline,
        keys: KeySelection::default(),
        since,
        until,
        kinds: args.kind.iter().map(|kind| kind.kind()).collect(),
        by: args.by.map(|by| if by == ByArg::Ttl { Actor::Ttl } else { Actor::User }),
        limit: args.limit,
        direction: if args.reverse { Direction::OldestFirst } else { Direction::NewestFirst },
    };
    let options = args.merge.options();
    let reading = history(
        store,
        request,
        |schema| {
            Ok(match (&args.key, &args.prefix) {
                (Some(text), _) => KeySelection::only(&schema.parse_key(text)?),
                (None, Some(text)) => schema.parse_prefix(text)?,
                (None, None) => KeySelection::default(),
            })
        },
        &options,
    );
    let history = tokio::select! {
        history = reading => history?,
        () = stopped(interrupt) => {
            let (step, resume) = ("reading the changes".to_owned(), "run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    let painter = Painter::new(&args.show);
    if args.stat {
        output::print(&stat(&history, &painter))?;
    } else {
        for change in &history.changes {
            output::print(&one(change, &args, &painter))?;
        }
    }
    if history.more && !global.quiet {
        output::note(&format!("note: there are more than the {} changes shown; --limit shows more", args.limit));
    }
    if let Some(kind) = conclude(&history, &args.show, &args.table) {
        return Ok(ExitCode::from(kind.exit_code()));
    }
    if !history.changes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !global.quiet {
        output::note(&format!(
            "no change of table {} in the journal fits; `journal status --table {0}` says what it covers",
            args.table
        ));
    }
    Ok(if args.key.is_some() { ExitCode::from(ABSENT_EXIT_CODE) } else { ExitCode::SUCCESS })
}

impl KindArg {
    fn kind(self) -> ChangeKind {
        match self {
            Self::Insert => ChangeKind::Insert,
            Self::Modify => ChangeKind::Modify,
            Self::Remove => ChangeKind::Remove,
        }
    }
}

fn sides(change: &Change) -> (Attributes, Attributes) {
    (change.old.clone().unwrap_or_default(), change.new.clone().unwrap_or_default())
}

fn one(change: &Change, args: &Args, painter: &Painter<'_>) -> String {
    let (old, new) = sides(change);
    if args.json {
        let mut document = head(change, painter);
        let differences = differences(&old, &new);
        let listed = differences.iter().map(|difference| {
            json!({
                "path": difference.path,
                "operation": difference.operation.as_str(),
                "before": difference.before.as_ref().map(exact),
                "after": difference.after.as_ref().map(exact),
            })
        });
        if let Some(document) = document.as_object_mut() {
            document.insert("differences".to_owned(), listed.collect());
        }
        // JSON escapes control characters; what else a terminal might obey is escaped the same way.
        return format!("{}\n", inert(&document.to_string()));
    }
    let mut text = format!("{}\n", painter.line(change));
    if !args.oneline {
        let _ = writeln!(text, "  sequence number {}, timeline {}", change.sequence, change.timeline.label);
        for difference in differences(&old, &new) {
            let _ = writeln!(text, "  {}", painter.difference(&difference));
        }
        text.push('\n');
    }
    text
}

fn stat(history: &History, painter: &Painter<'_>) -> String {
    let (mut kinds, mut actors, mut attributes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut keys = std::collections::BTreeSet::new();
    for change in &history.changes {
        *kinds.entry(change.kind.as_str().to_owned()).or_insert(0u64) += 1;
        *actors.entry(painter.actor(change).unwrap_or_else(|| "not known".to_owned())).or_insert(0u64) += 1;
        keys.insert(painter.key(&change.key));
        let (old, new) = sides(change);
        let mut names: Vec<&String> =
            old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            *attributes.entry(inert(name)).or_insert(0u64) += 1;
        }
    }
    let mut text = format!("{} changes of {} items\n", history.changes.len(), keys.len());
    for (title, counts) in [("kind", kinds), ("by", actors), ("attribute", attributes)] {
        let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        for (name, count) in counts {
            let _ = writeln!(text, "  {title:<9}  {count:>8}  {name}");
        }
    }
    text
}
