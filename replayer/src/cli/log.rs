//! `replay log`: who changed what, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use journal::cli::{Global, output};
use journal::error::Result;
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::{Attributes, ChangeKind, TableName};
use serde_json::json;

use super::ABSENT_EXIT_CODE;
use super::audit::{Painter, ShowArgs, conclude, exact, head, open, second, selection};
use super::cut::MergeArgs;
use crate::audit::{Actor, Change, Direction, HistoryRequest, differences, history, inert, why_empty};
use crate::key_schema::{KeySchema, KeySelection};
use crate::merge::Columns;
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
        columns: if args.oneline && args.show.actor_attribute.is_none() { Columns::Keys } else { Columns::All },
    };
    let options = args.merge.options();
    let painter = Painter::new(&args.show);
    let mut counts = Counts::default();
    let keys = |schema: &KeySchema| selection(schema, args.key.as_deref(), args.prefix.as_deref());
    let reading = history(Arc::clone(&store), request.clone(), keys, &options, |change| {
        if args.stat {
            counts.add(&change, &painter);
            return Ok(());
        }
        Ok(output::print(&one(&change, &args, &painter))?)
    });
    let history = tokio::select! {
        history = reading => history?,
        () = stopped(interrupt) => {
            let (step, resume) = ("reading the changes".to_owned(), "run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    if args.stat {
        output::print(&counts.text())?;
    }
    if history.more && !global.quiet {
        output::note(&format!(
            "note: --limit {} was reached, and there may be more; a higher one shows more",
            args.limit
        ));
    }
    if let Some(kind) = conclude(&history, &args.show, &args.table) {
        return Ok(ExitCode::from(kind.exit_code()));
    }
    if history.changes > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if !global.quiet {
        let why = why_empty(store, &request, keys, &options).await?;
        output::note(&format!("{why}; `journal status --table {}` says what is covered", args.table));
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

/// What `--stat` counts.
#[derive(Default)]
struct Counts {
    changes: u64,
    keys: BTreeSet<String>,
    kinds: BTreeMap<String, u64>,
    actors: BTreeMap<String, u64>,
    attributes: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, change: &Change, painter: &Painter<'_>) {
        self.changes += 1;
        *self.kinds.entry(change.kind.as_str().to_owned()).or_insert(0) += 1;
        *self.actors.entry(painter.actor(change).unwrap_or_else(|| "not known".to_owned())).or_insert(0) += 1;
        self.keys.insert(painter.key(&change.key));
        let (old, new) = sides(change);
        let names: BTreeSet<&String> =
            old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect();
        for name in names {
            *self.attributes.entry(inert(name)).or_insert(0) += 1;
        }
    }

    fn text(self) -> String {
        let mut text = format!("{} changes of {} items\n", self.changes, self.keys.len());
        for (title, counts) in [("kind", self.kinds), ("by", self.actors), ("attribute", self.attributes)] {
            let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
            counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            for (name, count) in counts {
                let _ = writeln!(text, "  {title:<9}  {count:>8}  {name}");
            }
        }
        text
    }
}
