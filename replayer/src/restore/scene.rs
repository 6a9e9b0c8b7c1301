//! A journal of notes, the plan of its state, and a run that restores it.

use std::path::PathBuf;

use journal::append::{Batch, append};
use journal::documents::StartDocument;
use journal::model::{
    AttributeValue, Attributes, ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Number,
    Second, SequenceNumber, StreamArn, StreamRecord,
};
use journal::store::WriteStore as _;
use journal::store::memory::MemoryStore;
use journal::table::recreate::{PointInTimeRecovery, SettingsAfter};

use super::fake::FakeService;
use super::*;
use crate::cut::{Cut, CutRequest};
use crate::plan::{ReplayRequest, plan};

pub(crate) fn options(concurrency: usize) -> RestoreOptions {
    RestoreOptions { concurrency, pause: Duration::from_micros(10), ..RestoreOptions::default() }
}

pub(crate) fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:us-east-1:0:table/notes-table-dev/stream/1").unwrap()
}

fn item(number: u64) -> Attributes {
    Attributes::from([
        ("content".to_owned(), AttributeValue::S(format!("note {number}"))),
        ("score".to_owned(), AttributeValue::N(Number::parse("1.50").unwrap())),
    ])
}

/// An item with its key.
pub(crate) fn whole_item(number: u64) -> Attributes {
    let mut whole = item(number);
    whole.insert("noteId".to_owned(), AttributeValue::S(format!("note-{number:05}")));
    whole
}

/// The table's key.
pub(crate) fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap()
}

/// A journal with `items` items, all made at second 1000.
async fn journal(items: u64) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let names = names();
    let key = |n: u64| Attributes::from([("noteId".to_owned(), AttributeValue::S(format!("note-{n:05}")))]);
    let records = (0..items)
        .map(|n| StreamRecord {
            stream: stream(),
            key_attributes: names.clone(),
            record: ChangeRecord {
                key: ItemKey::encode(&names, &key(n)).unwrap(),
                sequence: SequenceNumber::parse(&(n + 1).to_string()).unwrap(),
                second: Some(Second::new(1000).unwrap()),
                kind: ChangeKind::Insert,
                old: None,
                new: Some(Image::encode(&item(n)).unwrap()),
                user: None,
            },
        })
        .collect();
    append(&*store, Batch { records, quarantined: Vec::new() }).await.unwrap();
    let start = StartDocument { covered_from: Second::new(900).unwrap(), whole: true, reason: String::new() };
    let bytes = journal::documents::to_bytes(&start).unwrap();
    store.replace(&journal::layout::start_document(stream().timeline()), bytes).await.unwrap();
    store
}

/// All that a restore sets at its end.
pub(crate) fn settings_of_all_kinds() -> SettingsAfter {
    SettingsAfter {
        time_to_live: Some("expiresAt".to_owned()),
        tags: [("team name", "it's"), ("stage", "dev")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        point_in_time_recovery: Some(PointInTimeRecovery { days: Some(7) }),
        deletion_protection: true,
        by_hand: Vec::new(),
        notes: Vec::new(),
    }
}

/// Runs a restore until the service does not answer it, and ends it there.
pub(crate) async fn kill_when_it_hangs(service: &FakeService, restore: impl Future<Output = Result<RestoreReport>>) {
    let hung = Arc::clone(&service.lock().hung);
    tokio::select! {
        ended = restore => panic!("it ended: {ended:?}"),
        () = hung.notified() => {}
    }
}

pub(crate) struct Scene {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) plan: ReplayPlan,
    pub(crate) target: TargetPlan,
    pub(crate) selection: Selection,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) interrupt: Interrupt,
}

impl Scene {
    pub(crate) async fn new(items: u64) -> Self {
        let store = journal(items).await;
        let request = ReplayRequest {
            table: stream().timeline().table.clone(),
            cut: CutRequest::Cut(Cut::at(Second::new(1000).unwrap())),
            timeline: None,
            allow_partial: false,
        };
        let plan = plan(&*store, &request).await.unwrap();
        let target = plan_target(&plan, &TableName::parse("notes-restored").unwrap(), None).unwrap();
        Self {
            store,
            plan,
            target,
            selection: Selection::default(),
            folder: tempfile::tempdir().unwrap(),
            interrupt: Interrupt::manual(),
        }
    }

    /// Chooses items by a condition.
    pub(crate) fn choose(&mut self, condition: &str) {
        self.selection.filter = Some(crate::filter::Filter::parse(condition).unwrap());
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("sub").join("run.json")
    }

    pub(crate) fn run(&self) -> RunFile {
        let source = (self.plan.timeline.table.clone(), self.plan.timeline.label.clone());
        let name = self.target.name.clone();
        let from = Source::new("r1".to_owned(), "memory:".to_owned(), self.plan.cut, false, None);
        RunFile::new(self.path(), from, source, name)
    }

    pub(crate) async fn restore(&self, service: &Arc<FakeService>, run: &mut RunFile) -> Result<RestoreReport> {
        self.restoring(service, &options(3)).run(&self.target, run).await
    }

    pub(crate) fn restoring<'a>(&'a self, service: &Arc<FakeService>, options: &'a RestoreOptions) -> Restore<'a> {
        let (store, service): (Arc<dyn ReadStore>, Arc<dyn TableService>) = (self.store.clone(), service.clone());
        let selection = self.selection.clone();
        Restore {
            store,
            plan: &self.plan,
            selection,
            service,
            options,
            interrupt: &self.interrupt,
            progress: &|_, _, _| {},
        }
    }
}
