//! Our own programs around a journal in a folder: the follower that is killed and started again, and replays.

use std::sync::Arc;

use journal::layout;
use journal::model::{SequenceNumber, StreamArn, TableName, Timeline, TimelineLabel};
use journal::store::ReadStore;
use journal_tests::merged;
use journal_tests::processes::{Finished, Program, Running, journal, replay};
use replayer::merge::{MergeOptions, MergeReport, for_each_record};

use super::item::{Item, Items, KeyText, by_key, key_text, of_export_line};
use super::peer::Peer;
use super::stream::At;

/// A journal in a folder of its own, and the table it is of.
pub(crate) struct Journal {
    folder: tempfile::TempDir,
    pub(crate) url: String,
    pub(crate) table: String,
    environment: Vec<(&'static str, String)>,
}

impl Journal {
    pub(crate) fn init(peer: &Peer, table: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = journal::store::file_url(&folder.path().join("journal")).unwrap();
        let _ = journal().args(["init", "--journal", &url]).run().success();
        Self { folder, url, table: table.to_owned(), environment: peer.environment.clone() }
    }

    fn program(&self, program: Program, command: &str) -> Program {
        program
            .args([command, "--journal", &self.url, "--table", &self.table])
            .envs(self.environment.iter().map(|(name, value)| (*name, value.clone())))
    }

    /// Starts a follower that is quick to notice things.
    pub(crate) fn follow(&self) -> Running {
        let quick = ["--poll", "50ms", "--batch-age", "200ms", "--checkpoint-age", "300ms", "--table-poll", "100ms"];
        self.program(journal(), "follow").arg("--wait").args(quick).start()
    }

    /// Reads what is in the streams, then stops.
    pub(crate) async fn follow_once(&self) -> Finished {
        run(self.program(journal(), "follow").args(["--once", "--json"])).await.success()
    }

    pub(crate) async fn baseline(&self) -> Finished {
        run(self.program(journal(), "baseline")).await.success()
    }

    pub(crate) async fn verify(&self) -> Finished {
        run(self.program(replay(), "verify")).await
    }

    /// What `replay export` gives at a cut.
    pub(crate) async fn export(&self, label: Option<&str>, at: At) -> Items {
        let program = self.program(replay(), "export").args(["--format", "dynamodb-json"]);
        let text = run(cut(program, label, at)).await.success().stdout;
        by_key(text.lines().map(of_export_line))
    }

    /// Makes a new table of the state at a cut.
    pub(crate) async fn restore(&self, label: Option<&str>, at: At, to: &str) -> Finished {
        let program = self.program(replay(), "restore").args(["--as", to]);
        let program = program.arg("--run-file").arg(self.folder.path().join(format!("{to}.json")));
        run(cut(program, label, at)).await.success()
    }

    /// Every record that the journal has of a timeline, as (key, sequence number) in order of the sequence numbers, and
    /// what the merge says of them.
    pub(crate) async fn records(&self, label: &str) -> (Vec<(KeyText, SequenceNumber)>, MergeReport) {
        let timeline = self.timeline(label);
        let store: Arc<dyn ReadStore> = journal::store::open_read(&self.url).await.unwrap();
        let inputs = merged::inputs(&*store, &timeline).await.unwrap();
        let names = journal::model::KeyAttributes::new(vec![
            journal::model::KeyAttribute { name: "owner".to_owned(), key_type: journal::model::KeyType::S },
            journal::model::KeyAttribute { name: "number".to_owned(), key_type: journal::model::KeyType::N },
        ])
        .unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let report = for_each_record(store, inputs, None, MergeOptions::default(), move |record| {
            let key = journal::model::ItemKey::decode_slice(record.key, &names)?;
            let key: Item = key
                .iter()
                .map(|(name, value)| (name.clone(), journal::source::attribute::to_dynamodb_json(value).unwrap()))
                .collect();
            sender.send((key_text(&key), record.sequence)).unwrap();
            Ok(())
        })
        .await
        .unwrap();
        let mut records: Vec<_> = receiver.into_iter().collect();
        records.sort_by_key(|(_, sequence)| *sequence);
        (records, report)
    }

    fn timeline(&self, label: &str) -> Timeline {
        Timeline { table: TableName::parse(&self.table).unwrap(), label: TimelineLabel::parse(label).unwrap() }
    }

    /// Whether the timeline of this stream has ended.
    pub(crate) async fn has_ended(&self, arn: &str) -> bool {
        let timeline = StreamArn::parse(arn).unwrap().timeline().clone();
        let store = journal::store::open_read(&self.url).await.unwrap();
        !store.list_all(&layout::end_document(&timeline)).await.unwrap().is_empty()
    }
}

fn cut(program: Program, label: Option<&str>, at: At) -> Program {
    let program = match at {
        At::Second(second) => program.args(["--at", &second.to_string()]),
        At::Sequence(sequence) => program.args(["--at-sequence", &sequence.to_string()]),
    };
    match label {
        Some(label) => program.args(["--timeline", label]),
        None => program,
    }
}

/// Runs a program without standing in the way of other tasks.
async fn run(program: Program) -> Finished {
    tokio::task::spawn_blocking(move || program.run()).await.unwrap()
}

/// Kills a follower (SIGKILL), which must be running.
pub(crate) async fn kill(mut follower: Running) {
    assert!(follower.runs(), "the follower had ended by itself: {:?}", follower.wait());
    let _ = tokio::task::spawn_blocking(move || follower.kill()).await.unwrap();
}

/// Asks a follower to stop, as Ctrl-C does; it must end well.
pub(crate) async fn stop(follower: Running) -> Finished {
    tokio::task::spawn_blocking(move || follower.interrupt()).await.unwrap().success()
}
