//! `journal demo`: the incident this software exists for, told on a stack of its own, and how the morning ends instead.
//!
//! Everything in it is real: the writes go through the SDK to embedded DynamoDB, a follower journals them, the deploy
//! deletes the table, and `replay` restores it. What the demo claims it checks itself, item by item.

mod app;
mod error;
mod notes;
mod replay;
mod story;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::app::{App, TABLE, difference};
use self::error::DemoError;
use self::replay::Replay;
use self::story::Story;
use super::dev::stack::{Stack, StackOptions};
use super::{Global, output};
use crate::documents::{self, EndDocument};
use crate::embedded::dynamodb_client;
use crate::error::Result;
use crate::interrupt::{Interrupt, InterruptedError};
use crate::layout;
use crate::model::{Second, StreamArn};
use crate::source::follow::{Clock as _, SystemClock};

const SEED: u64 = 2020;
const WRITES: usize = 400;
const RESTORED: &str = "notes-table-dev-restored";
/// How long the follower may take to read a deleted table's stream to its end.
const DRAIN_SECONDS: u64 = 30;
/// What `replay restore` says when the digest of what it read back is the journal's.
const PROVEN: &str = "proven";
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Tell the incident on a DynamoDB of its own: a deploy deletes a table, and one command brings it back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal demo
  journal demo --folder my-demo

Needs no AWS account and no network. JOURNAL_URL is not used: the journal lies in the demo's folder, which is kept.")]
pub struct Args {
    /// Where database and journal are kept [default: a new folder under the system's temporary one]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a step fails, or the restored table is not what was written.
pub async fn run(args: Args, _global: &Global, interrupt: &Interrupt) -> Result<()> {
    let program = Replay::find()?;
    let folder = make_folder(args.folder)?;
    let options = StackOptions {
        folder: folder.clone(),
        port: None,
        leave_streams_alone: true,
        listener: Arc::new(|notice| tracing::info!("{notice}")),
    };
    let stack = Stack::start(options).await?;
    let told = tokio::select! {
        told = tell(&stack, program, &folder) => told,
        () = interrupt.wait() => Err(stopped(&folder).into()),
    };
    let ended = stack.stop().await;
    let end = told?;
    ended?;
    output::print(&end)?;
    Ok(())
}

fn stopped(folder: &Path) -> InterruptedError {
    InterruptedError {
        step: "telling the demo".to_owned(),
        resume: format!("run it again for another one; what this one wrote is in {}", folder.display()),
    }
}

async fn tell(stack: &Stack, program: PathBuf, folder: &Path) -> Result<String> {
    let story = Story::new();
    let mut app = App::new(dynamodb_client(stack.endpoint()))?;
    let replay = Replay::new(program, stack.location(), stack.endpoint());

    story.chapter("1. Spring 2020: an app where people in quarantine leave notes for each other").await?;
    app.make_table().await?;
    let stream = app.stream().await?;
    story.say(&format!("table    {TABLE}, on embedded DynamoDB at {}", stack.endpoint())).await?;
    story.say(&format!("journal  {}, fed from the table's stream", stack.location())).await?;
    for write in notes::history(SEED, WRITES) {
        app.write(write).await?;
    }
    let replies: usize = app.wrote().values().map(|note| note.replies.len()).sum();
    let notes = app.wrote().len();
    story
        .say(&format!("{WRITES} writes later (new notes, replies, corrections, some taken back) it holds {notes} notes with {replies} replies:"))
        .await?;
    let mut shown: Vec<_> = app.wrote().iter().collect();
    shown.sort_by_key(|(_, note)| std::cmp::Reverse(note.replies.len()));
    let mut begins = BTreeSet::new();
    for (_, note) in shown.iter().filter(|(_, note)| begins.insert(note.content.get(..24))).take(3) {
        story.note(note).await?;
    }
    let remembered = shown.first().map(|(id, _)| (*id).clone()).unwrap_or_default();

    let (before, deploy) = next_second().await;
    let cut = before.to_string();
    story.chapter("2. The bad deploy: another project under the same service name").await?;
    app.delete_table().await?;
    story.command(&format!("aws dynamodb delete-table --table-name {TABLE}")).await?;
    story.say(&format!("{deploy}: CloudFormation updates the stack and deletes the table")).await?;
    app.make_table().await?;
    story.say("the next deploy makes one of the same name").await?;
    let left = app.read(TABLE).await?.len();
    story.command(&format!("aws dynamodb scan --table-name {TABLE} --select COUNT")).await?;
    story.printed(&format!("{{ \"Count\": {left} }}"))?;
    story.say("no backup, no point-in-time recovery, nothing in the logs").await?;

    let last = drained(stack, &stream).await?;
    story.chapter("3. One command: the table as it was the second before").await?;
    let arguments = ["restore", "--table", TABLE, "--at", &cut, "--as", RESTORED];
    story.command(&format!("export JOURNAL_URL={}", stack.location())).await?;
    story.command(&format!("replay {}", arguments.join(" "))).await?;
    let printed = replay.run(&arguments).await?;
    story.printed(&printed)?;

    story.chapter("4. The proof").await?;
    if !printed.contains(PROVEN) {
        return Err(DemoError::NotProven.into());
    }
    let restored = app.read(RESTORED).await?;
    if let Some(difference) = difference(app.wrote(), &restored) {
        return Err(DemoError::Differs { table: RESTORED.to_owned(), difference }.into());
    }
    story.proven("replay: the state digest of what was read back equals the journal's").await?;
    story
        .proven(&format!(
            "this demo, on its own: {} of {notes} notes are equal, every reply in its place",
            restored.len()
        ))
        .await?;
    if let Some(note) = restored.get(&remembered) {
        story.note(note).await?;
    }
    Ok(after(folder, stack.location(), &cut, last.as_deref(), &remembered))
}

/// What to try next.
fn after(folder: &Path, location: &str, cut: &str, last: Option<&str>, note: &str) -> String {
    let last = last.map(|last| format!("  replay export --table {TABLE} --at-sequence {last}\n")).unwrap_or_default();
    format!(
        "
Database and journal are kept in {folder}. Try next:
  export JOURNAL_URL={location}
  journal status
  replay export --table {TABLE} --at {cut} --format json
{last}  replay show --table {TABLE} --at {cut} --key noteId={note}
  replay verify
  journal dev --folder {folder}
",
        folder = folder.display(),
    )
}

/// Waits until the clock has passed into a new second, and gives that second and the one before: everything that was
/// written has a second up to that one.
async fn next_second() -> (Second, Second) {
    let clock = SystemClock::new();
    let before = clock.now();
    loop {
        let now = clock.now();
        if now > before {
            return (now.before(), now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until the journal holds the whole stream of the deleted table, and gives its last sequence number.
async fn drained(stack: &Stack, stream: &StreamArn) -> Result<Option<String>> {
    let key = layout::end_document(stream.timeline());
    let end = async {
        loop {
            let end: Option<EndDocument> = documents::read(stack.store(), &key).await?;
            if let Some(end) = end {
                return Ok(end.last_sequence.map(|last| last.to_string()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(DRAIN_SECONDS), end)
        .await
        .unwrap_or_else(|_| Err(DemoError::NotDrained { seconds: DRAIN_SECONDS }.into()))
}

/// The folder that was named, new or empty; or a new one.
fn make_folder(named: Option<PathBuf>) -> Result<PathBuf, DemoError> {
    if let Some(path) = named {
        let failed = |source| DemoError::Folder { path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(failed)?;
        if std::fs::read_dir(&path).map_err(failed)?.next().is_some() {
            return Err(DemoError::NotEmpty { path });
        }
        return Ok(path);
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let mut more = 1u32;
    loop {
        let suffix = if more == 1 { String::new() } else { format!("-{more}") };
        let path = std::env::temp_dir().join(format!("journal-demo-{now}{suffix}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && more < 1000 => more += 1,
            Err(source) => return Err(DemoError::Folder { path, source }),
        }
    }
}
