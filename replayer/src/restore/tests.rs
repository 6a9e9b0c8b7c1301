use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use journal::append::{Batch, append};
use journal::documents::StartDocument;
use journal::error::Kind;
use journal::model::{
    AttributeValue, Attributes, ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Number,
    Second, SequenceNumber, StreamArn, StreamRecord,
};
use journal::store::memory::MemoryStore;
use journal::store::{ReadStore as _, WriteStore as _};
use journal::table::recreate::PointInTimeRecovery;

use super::*;
use crate::cut::{Cut, CutRequest};
use crate::plan::{ReplayRequest, plan};

/// A service in memory that does to a restore what a real one does.
#[derive(Debug, Default)]
pub(crate) struct FakeService {
    state: Mutex<FakeState>,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one way in which the service misbehaves")]
pub(crate) struct FakeState {
    table: Option<TargetTable>,
    pub(crate) items: BTreeMap<String, SdkItem>,
    pub(crate) made: u32,
    pub(crate) puts: u32,
    /// Answers to `put`, taken one after the other before any is given honestly.
    put_faults: Vec<Fault>,
    /// Stops the restore after so many puts.
    stop_after: Option<(u32, Interrupt)>,
    /// Keys that vanish when they are written.
    loses: HashSet<String>,
    pub(crate) settings: Vec<String>,
    refuses_settings: bool,
    describes_until_active: u32,
    /// Where objects for imports lie.
    pub(crate) imports_from: Option<Arc<MemoryStore>>,
    pub(crate) import_fails: bool,
    import: Option<super::import::Import>,
    /// Calls begun.
    pub(crate) calls: u32,
    /// The call at which everything ends, and whether it is still done.
    pub(crate) dies_at: Option<(u32, bool)>,
    dead: bool,
    /// Pages of scans given.
    pub(crate) scanned: u32,
    /// Items replaced on a condition.
    pub(crate) replaced: u32,
    /// The key of an item that somebody changes right before it is read alone.
    pub(crate) meddles_with: Option<String>,
    /// Whether the table has another key than the journal's.
    pub(crate) other_key: bool,
}

impl FakeState {
    /// A table that is there, with items.
    pub(crate) fn holding(table: TargetTable, items: Vec<SdkItem>) -> Self {
        let items = items.into_iter().map(|item| (key_of(&item), item)).collect();
        Self { table: Some(table), items, ..Self::default() }
    }

    /// Lives again.
    pub(crate) fn revive(&mut self) {
        (self.dies_at, self.dead) = (None, false);
    }
}

#[derive(Debug, Clone)]
enum Fault {
    Unprocessed(usize),
    Throttled,
    Refused,
}

fn key_of(item: &SdkItem) -> String {
    item["noteId"].as_s().unwrap().clone()
}

impl FakeService {
    pub(crate) fn with(state: FakeState) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    /// A call begins: an error when this is the end, or after it.
    fn begins(&self) -> Result<(), ServiceError> {
        let mut state = self.lock();
        state.calls += 1;
        state.dead |= state.dies_at.is_some_and(|(call, after)| !after && state.calls >= call);
        if state.dead { Err(gone()) } else { Ok(()) }
    }

    /// A call was done: an error when its answer is lost.
    fn ends<T>(&self, answer: T) -> Result<T, ServiceError> {
        let mut state = self.lock();
        state.dead |= state.dies_at.is_some_and(|(call, _)| state.calls >= call);
        if state.dead { Err(gone()) } else { Ok(answer) }
    }
}

fn gone() -> ServiceError {
    ServiceError::Unavailable { reason: "it is gone".to_owned() }
}

#[async_trait]
impl TableService for FakeService {
    async fn describe(&self, _: &TableName) -> Result<Option<TargetTable>, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        if let Some(left) = state.describes_until_active.checked_sub(1) {
            state.describes_until_active = left;
        } else if let Some(table) = &mut state.table {
            table.status = "ACTIVE".to_owned();
        }
        let table = state.table.clone();
        drop(state);
        self.ends(table)
    }

    async fn create(&self, input: CreateTableInputBuilder) -> Result<TargetTable, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        if state.table.is_some() {
            return Err(ServiceError::InUse);
        }
        state.made += 1;
        let table = TargetTable {
            arn: input.get_table_name().clone(),
            id: Some(format!("id-{}", state.made)),
            created_milliseconds: Some(i64::from(state.made)),
            status: "CREATING".to_owned(),
            indexes_active: true,
        };
        state.table = Some(table.clone());
        drop(state);
        self.ends(table)
    }

    async fn put(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        assert!(batch.len() <= 25);
        self.begins()?;
        let mut state = self.lock();
        state.puts += 1;
        if let Some((puts, interrupt)) = &state.stop_after
            && state.puts >= *puts
        {
            interrupt.trigger();
        }
        let fault = if state.put_faults.is_empty() { None } else { Some(state.put_faults.remove(0)) };
        let taken = match fault {
            Some(Fault::Throttled) => return Err(ServiceError::Throttled { reason: "too fast".to_owned() }),
            Some(Fault::Refused) => return Err(ServiceError::Refused { reason: "no".to_owned() }),
            Some(Fault::Unprocessed(left)) => batch.len().saturating_sub(left),
            None => batch.len(),
        };
        for item in batch.items().take(taken) {
            let item = journal::source::sdk::item_to_sdk(&journal::source::attribute::parse_item(item).unwrap());
            if !state.loses.contains(&key_of(&item)) {
                state.items.insert(key_of(&item), item);
            }
        }
        drop(state);
        self.ends((taken..batch.len()).collect())
    }

    async fn scan(
        &self,
        _: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        state.scanned += 1;
        let after = start.map(|start| key_of(&start));
        let of_segment = |key: &String| {
            key.bytes().map(i32::from).sum::<i32>() % total == segment && after.as_ref().is_none_or(|after| key > after)
        };
        let items: Vec<SdkItem> =
            state.items.iter().filter(|(key, _)| of_segment(key)).take(7).map(|(_, item)| item.clone()).collect();
        let next = if items.len() == 7 { items.last().cloned() } else { None };
        drop(state);
        self.ends(ScanPage { items, next })
    }

    async fn set_time_to_live(&self, _: &TableName, attribute: &str) -> Result<(), ServiceError> {
        self.set(format!("ttl {attribute}"))
    }

    async fn tag(&self, _: &str, tags: &[(String, String)]) -> Result<(), ServiceError> {
        self.set(format!("{} tags", tags.len()))
    }

    async fn set_recovery(&self, _: &TableName, _: PointInTimeRecovery) -> Result<(), ServiceError> {
        self.set("recovery".to_owned())
    }

    async fn protect(&self, _: &TableName) -> Result<(), ServiceError> {
        self.set("protection".to_owned())
    }
}

#[async_trait]
impl ItemService for FakeService {
    async fn key(&self, _: &TableName) -> Result<Vec<KeyElement>, ServiceError> {
        self.begins()?;
        let (name, key_type) = if self.lock().other_key { ("id", "N") } else { ("noteId", "S") };
        self.ends(vec![KeyElement { name: name.to_owned(), key_type: key_type.to_owned() }])
    }

    async fn get(&self, _: &TableName, key: &SdkItem) -> Result<Option<SdkItem>, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        let key = key_of(key);
        if state.meddles_with.as_ref() == Some(&key) {
            let meddled = aws_sdk_dynamodb::types::AttributeValue::S("meddled".to_owned());
            state.items.get_mut(&key).unwrap().insert("content".to_owned(), meddled);
        }
        let item = state.items.get(&key).cloned();
        drop(state);
        self.ends(item)
    }

    async fn get_many(
        &self,
        _: &TableName,
        mut keys: Vec<SdkItem>,
    ) -> Result<(Vec<SdkItem>, Vec<SdkItem>), ServiceError> {
        self.begins()?;
        // A service may leave keys for another request.
        let left = keys.split_off(keys.len().div_ceil(2));
        let state = self.lock();
        let found = keys.iter().filter_map(|key| state.items.get(&key_of(key)).cloned()).collect();
        drop(state);
        self.ends((found, left))
    }

    async fn replace(
        &self,
        _: &TableName,
        key: &SdkItem,
        expected: Option<&SdkItem>,
        wanted: Option<&SdkItem>,
    ) -> Result<Option<bool>, ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        let key = key_of(key);
        if state.items.get(&key) != expected {
            drop(state);
            return self.ends(None);
        }
        state.replaced += 1;
        match wanted {
            Some(item) => drop(state.items.insert(key, item.clone())),
            None => drop(state.items.remove(&key)),
        }
        drop(state);
        self.ends(Some(true))
    }
}

#[async_trait]
impl ImportService for FakeService {
    async fn import(&self, import: &super::import::Import) -> Result<String, ServiceError> {
        self.begins()?;
        let running = self.lock().import.clone();
        if let Some(running) = running {
            return if running.token == import.token {
                self.ends("import".to_owned())
            } else {
                Err(ServiceError::InUse)
            };
        }
        if self.lock().table.is_some() {
            return Err(ServiceError::InUse);
        }
        let store = self.lock().imports_from.clone().unwrap();
        let mut state = FakeState::default();
        for object in store.list_all(&import.prefix).await.unwrap() {
            let bytes = store.get(&object.key).await.unwrap();
            let mut text = Vec::new();
            if object.key.strip_suffix(".gz").is_some() {
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*bytes), &mut text).unwrap();
            } else {
                text = zstd::decode_all(&*bytes).unwrap();
            }
            for line in String::from_utf8(text).unwrap().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let item = journal::source::attribute::parse_item(line["Item"].to_string().as_bytes()).unwrap();
                let item = journal::source::sdk::item_to_sdk(&item);
                assert!(state.items.insert(key_of(&item), item).is_none(), "an item is there twice");
            }
        }
        let mut mine = self.lock();
        mine.made += 1;
        mine.items = state.items;
        mine.import = Some(import.clone());
        mine.table = Some(TargetTable {
            arn: import.input.get_table_name().clone(),
            id: Some("imported".to_owned()),
            created_milliseconds: Some(1),
            status: "CREATING".to_owned(),
            indexes_active: true,
        });
        drop(mine);
        self.ends("import".to_owned())
    }

    async fn import_status(&self, arn: &str) -> Result<ImportStatus, ServiceError> {
        self.begins()?;
        assert_eq!(arn, "import");
        self.ends(if self.lock().import_fails {
            ImportStatus::Failed { code: "ItemValidationError".to_owned(), reason: "one line".to_owned() }
        } else {
            ImportStatus::Completed
        })
    }

    async fn find_import(&self, _: Option<&str>, prefix: &str) -> Result<Option<String>, ServiceError> {
        self.begins()?;
        let found = self.lock().import.as_ref().is_some_and(|import| import.prefix == prefix);
        self.ends(found.then(|| "import".to_owned()))
    }

    async fn set_stream(
        &self,
        _: &TableName,
        _: aws_sdk_dynamodb::types::StreamSpecification,
    ) -> Result<(), ServiceError> {
        self.set("stream".to_owned())
    }

    async fn set_class(&self, _: &TableName, _: aws_sdk_dynamodb::types::TableClass) -> Result<(), ServiceError> {
        self.set("class".to_owned())
    }
}

impl FakeService {
    fn set(&self, setting: String) -> Result<(), ServiceError> {
        self.begins()?;
        let mut state = self.lock();
        if state.refuses_settings {
            return Err(ServiceError::Denied { reason: "not you".to_owned() });
        }
        state.settings.push(setting);
        drop(state);
        self.ends(())
    }
}

pub(crate) fn options(concurrency: usize) -> RestoreOptions {
    RestoreOptions { concurrency, pause: Duration::from_micros(10), ..RestoreOptions::default() }
}

fn stream() -> StreamArn {
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

/// A journal with `items` items, all made at second 1000.
async fn journal(items: u64) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let names = KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap();
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

pub(crate) struct Scene {
    store: Arc<MemoryStore>,
    plan: ReplayPlan,
    pub(crate) target: TargetPlan,
    selection: Selection,
    folder: tempfile::TempDir,
    interrupt: Interrupt,
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
        RunFile::new(self.path(), "r1".to_owned(), "memory:".to_owned(), source, self.plan.cut, name)
    }

    async fn restore(&self, service: &Arc<FakeService>, run: &mut RunFile) -> Result<RestoreReport> {
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

#[tokio::test]
async fn a_restored_table_is_read_back_and_proven() {
    let scene = Scene::new(200).await;
    let service = FakeService::with(FakeState { describes_until_active: 3, ..FakeState::default() });
    let report = scene.restore(&service, &mut scene.run()).await.unwrap();
    assert!(report.proven);
    assert_eq!((report.items, report.written, service.lock().items.len()), (200, 200, 200));
    assert!(!scene.path().exists(), "a proven run leaves nothing behind");
}

#[tokio::test]
async fn an_empty_state_makes_an_empty_table() {
    let mut scene = Scene::new(5).await;
    scene.plan.cut = Cut::at(Second::new(999).unwrap());
    let service = FakeService::with(FakeState::default());
    let report = scene.restore(&service, &mut scene.run()).await.unwrap();
    assert_eq!(report.items, 0);
    let state = service.lock();
    assert_eq!((state.items.len(), state.made), (0, 1));
}

#[tokio::test]
async fn unprocessed_items_and_throttling_are_no_errors() {
    let scene = Scene::new(200).await;
    let faults =
        vec![Fault::Unprocessed(20), Fault::Throttled, Fault::Unprocessed(25), Fault::Unprocessed(3), Fault::Throttled];
    let service = FakeService::with(FakeState { put_faults: faults, ..FakeState::default() });
    assert_eq!(scene.restore(&service, &mut scene.run()).await.unwrap().items, 200);
}

#[tokio::test]
async fn a_service_that_takes_nothing_is_given_up_and_the_run_kept() {
    let scene = Scene::new(10).await;
    let service = FakeService::with(FakeState { put_faults: vec![Fault::Throttled; 12], ..FakeState::default() });
    let error = scene.restore(&service, &mut scene.run()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let mut run = RunFile::load(&scene.path()).unwrap();
    assert!(scene.restore(&service, &mut run).await.unwrap().proven);
}

#[tokio::test]
async fn a_table_that_exists_is_refused_and_not_touched() {
    let scene = Scene::new(10).await;
    let table = TargetTable {
        arn: None,
        id: None,
        created_milliseconds: None,
        status: "ACTIVE".to_owned(),
        indexes_active: true,
    };
    let service = FakeService::with(FakeState { table: Some(table), ..FakeState::default() });
    let error = scene.restore(&service, &mut scene.run()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.hint().unwrap().contains("--as"));
    assert_eq!(service.lock().puts, 0);
    assert!(!scene.path().exists());
}

#[tokio::test]
async fn a_stopped_run_goes_on_where_all_items_were_in() {
    let mut scene = Scene::new(1000).await;
    let interrupt = scene.interrupt.clone();
    let service = FakeService::with(FakeState { stop_after: Some((10, interrupt)), ..FakeState::default() });
    let error = scene.restore(&service, &mut scene.run()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
    let written = service.lock().items.len();
    assert!(written < 1000);
    let mut run = RunFile::load(&scene.path()).unwrap();
    let confirmed = run.confirmed().unwrap();
    let key = scene.plan.key.as_ref().unwrap().decode(&confirmed).unwrap();
    let AttributeValue::S(key) = &key["noteId"] else { panic!("{key:?}") };
    assert!(service.lock().items.keys().filter(|k| *k <= key).count() > 200, "ten batches of 25 were sent");
    scene.interrupt = Interrupt::never();
    service.lock().stop_after = None;
    let report = scene.restore(&service, &mut run).await.unwrap();
    assert_eq!((report.items, service.lock().items.len()), (1000, 1000));
    assert!(report.written < 1000, "what was confirmed is not written again");
    assert_eq!(service.lock().made, 1);
}

#[tokio::test]
async fn a_run_never_writes_to_a_table_it_did_not_make() {
    let scene = Scene::new(10).await;
    let refused = |made: u32| FakeState { put_faults: vec![Fault::Refused], made, ..FakeState::default() };
    let service = FakeService::with(refused(0));
    scene.restore(&service, &mut scene.run()).await.unwrap_err();
    let mut run = RunFile::load(&scene.path()).unwrap();

    // Somebody deleted it and made another of the name.
    let other = FakeService::with(refused(5));
    other.create(CreateTableInputBuilder::default()).await.unwrap();
    let error = scene.restore(&other, &mut run).await.unwrap_err();
    assert!(error.to_string().contains("is not the one that run r1 made"), "{error}");

    let gone = FakeService::with(refused(0));
    assert!(scene.restore(&gone, &mut run).await.unwrap_err().to_string().contains("is gone"));
    assert_eq!((other.lock().puts, gone.lock().puts), (0, 0));
}

#[tokio::test]
async fn a_run_killed_while_making_its_table_does_not_take_somebody_elses() {
    let scene = Scene::new(10).await;
    scene.run().save().unwrap();
    let service = FakeService::with(FakeState::default());
    service.create(CreateTableInputBuilder::default()).await.unwrap();
    let mut run = RunFile::load(&scene.path()).unwrap();
    let error = scene.restore(&service, &mut run).await.unwrap_err();
    assert!(error.to_string().contains("cannot tell that it made it"), "{error}");
    let nothing = FakeService::with(FakeState::default());
    assert!(scene.restore(&nothing, &mut run).await.unwrap().proven, "where no table was made it goes on");
}

#[tokio::test]
async fn a_table_that_differs_is_never_called_proven_and_the_items_are_named() {
    let scene = Scene::new(100).await;
    let loses = HashSet::from(["note-00042".to_owned()]);
    let service = FakeService::with(FakeState { loses, ..FakeState::default() });
    let changed = Attributes::from([
        ("noteId".to_owned(), AttributeValue::S("zzz".to_owned())),
        ("content".to_owned(), AttributeValue::Null),
    ]);
    service.lock().items.insert("zzz".to_owned(), journal::source::sdk::item_to_sdk(&changed));
    let error = scene.restore(&service, &mut scene.run()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    let text = error.to_string();
    assert!(text.contains("{\"noteId\":{\"S\":\"note-00042\"}}: missing from the table"), "{text}");
    assert!(text.contains("{\"noteId\":{\"S\":\"zzz\"}}: not in the journal"), "{text}");
    assert!(!text.contains("note-00041"), "{text}");
}

#[tokio::test]
async fn numbers_that_the_service_spells_otherwise_are_equal() {
    let scene = Scene::new(3).await;
    let service = FakeService::with(FakeState::default());
    let mut run = scene.run();
    scene.restore(&service, &mut run).await.unwrap();
    for item in service.lock().items.values_mut() {
        item.insert("score".to_owned(), aws_sdk_dynamodb::types::AttributeValue::N("1.5".to_owned()));
    }
    let options = options(2);
    let restoring = scene.restoring(&service, &options);
    let found = read_back::read_back(&restoring, run.target(), None).await.unwrap();
    let written = write::write(&restoring, &mut run, Survey::default()).await.unwrap();
    assert_eq!(found.total(), written.expected.total());
}

#[tokio::test]
async fn settings_come_after_the_proof_and_what_cannot_be_set_is_told_with_its_command() {
    let mut scene = Scene::new(3).await;
    scene.target.settings = journal::table::recreate::SettingsAfter {
        time_to_live: Some("expiresAt".to_owned()),
        tags: BTreeMap::from([("team name".to_owned(), "it's".to_owned())]),
        point_in_time_recovery: Some(PointInTimeRecovery { days: Some(7) }),
        deletion_protection: true,
        notes: Vec::new(),
    };
    let service = FakeService::with(FakeState::default());
    assert!(scene.restore(&service, &mut scene.run()).await.unwrap().unset.is_empty());
    assert_eq!(service.lock().settings, ["1 tags", "recovery", "ttl expiresAt", "protection"]);

    let refusing = FakeService::with(FakeState { refuses_settings: true, ..FakeState::default() });
    let unset = scene.restore(&refusing, &mut scene.run()).await.unwrap().unset;
    let commands: Vec<&str> = unset.iter().map(|unset| unset.command.as_str()).collect();
    assert!(commands[0].ends_with("--tags Key='team name',Value='it'\\''s'"), "{commands:?}");
    assert!(commands[1].ends_with("PointInTimeRecoveryEnabled=true,RecoveryPeriodInDays=7"));
    assert!(commands[2].ends_with("Enabled=true,AttributeName=expiresAt"));
    assert!(commands[3].ends_with("--deletion-protection-enabled"));
}

#[test]
fn a_run_file_reads_back_and_a_torn_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let sequence = SequenceNumber::parse("0042").unwrap();
    let source = (TableName::parse("notes").unwrap(), stream().timeline().label.clone());
    let target = TableName::parse("restored").unwrap();
    let mut run =
        RunFile::new(path.clone(), "r".to_owned(), "file:///j".to_owned(), source, Cut::at_sequence(sequence), target)
            .with_choices(true, Some("pk".to_owned()), Some("a*".to_owned()));
    run.created(TargetTable {
        arn: None,
        id: Some("1".to_owned()),
        created_milliseconds: None,
        status: String::new(),
        indexes_active: false,
    })
    .unwrap();
    run.confirm(&[0, 255]).unwrap();
    let back = RunFile::load(&path).unwrap();
    assert_eq!(
        (back.cut(), back.confirmed(), back.partition_key()),
        (Cut::at_sequence(sequence), Some(vec![0, 255]), Some("pk"))
    );
    assert_eq!(back.cut().to_string(), "at sequence number 0042");
    std::fs::write(&path, b"{\"run\":").unwrap();
    assert!(matches!(RunFile::load(&path), Err(RestoreError::RunFile { .. })));
    assert!(matches!(RunFile::load(&folder.path().join("none")), Err(RestoreError::NoRun { .. })));
}

#[test]
fn two_key_attributes_without_a_description_need_the_partition_key() {
    let key = |name: &str| KeyAttribute { name: name.to_owned(), key_type: KeyType::S };
    let names = KeyAttributes::new(vec![key("a"), key("b")]).unwrap();
    let mut plan = ReplayPlan {
        timeline: stream().timeline().clone(),
        cut: Cut::at(Second::MIN),
        inputs: Vec::new(),
        key: Some(crate::key_schema::KeySchema::unordered(names)),
        table: None,
        interval: None,
        base: None,
        explanation: crate::plan::Explanation::default(),
        left_out: 0,
        partial: false,
        notes: Vec::new(),
    };
    let name = TableName::parse("restored").unwrap();
    assert!(plan_target(&plan, &name, None).unwrap_err().hint().unwrap().contains("--partition-key"));
    assert!(plan_target(&plan, &name, Some("c")).is_err());
    let target = plan_target(&plan, &name, Some("b")).unwrap();
    let roles: Vec<_> =
        target.input.get_key_schema().clone().unwrap().iter().map(|e| e.attribute_name().to_owned()).collect();
    assert_eq!(roles, ["b", "a"]);
    plan.key = None;
    assert_eq!(plan_target(&plan, &name, None).unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn only_the_chosen_items_are_restored_and_proven() {
    let mut scene = Scene::new(100).await;
    let filter = crate::filter::Filter::parse("content IN ('note 7', 'note 8') OR noteId = 'note-00050'").unwrap();
    scene.selection.filter = Some(filter);
    let service = FakeService::with(FakeState::default());
    let report = scene.restore(&service, &mut scene.run()).await.unwrap();
    assert_eq!((report.items, service.lock().items.len()), (3, 3));
}

#[cfg(feature = "sql")]
#[tokio::test]
async fn every_lossless_file_is_read_back_with_the_digest_of_the_journal() {
    use crate::output::{Destination, Format, export, prove, read_back};

    let scene = Scene::new(5000).await;
    let schema = scene.plan.key.clone().unwrap();
    for (name, format) in [
        ("notes.json", Format::DynamodbJson),
        ("notes.json.gz", Format::DynamodbJson),
        ("notes.json.zst", Format::DynamodbJson),
        ("notes.sqlite", Format::Sqlite),
        ("notes.parquet", Format::Parquet),
    ] {
        let path = scene.folder.path().join(name);
        let destination = Destination::file(&path, false).unwrap();
        let target = (format, destination);
        let store: Arc<dyn ReadStore> = scene.store.clone();
        let (options, interrupt) = (MergeOptions::default(), Interrupt::never());
        let report = export(store, &scene.plan, target, Selection::default(), options, &interrupt, |_, _| {});
        let report = report.await.unwrap();
        assert_eq!((report.items, report.bytes), (5000, path.metadata().unwrap().len()), "{name}");
        assert!(prove(&path, format, &schema, report.digest).unwrap(), "{name}");
        let other = crate::digest::StateDigest::default();
        let error = prove(&path, format, &schema, other).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        let half = std::fs::read(&path).unwrap();
        std::fs::write(&path, &half[..half.len() / 2]).unwrap();
        let cut = read_back(&path, format, &schema);
        assert!(cut.is_err_and(|error| error.kind() == Kind::Corrupt || error.kind() == Kind::Invalid), "{name}");
    }
    for name in ["notes.sqlite.gz", "notes.parquet.zst"] {
        let path = scene.folder.path().join(name);
        let format = Format::of_name(&path).unwrap();
        let target = (format, Destination::file(&path, false).unwrap());
        let store: Arc<dyn ReadStore> = scene.store.clone();
        let (options, interrupt) = (MergeOptions::default(), Interrupt::never());
        let refused = export(store, &scene.plan, target, Selection::default(), options, &interrupt, |_, _| {}).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_restore_stopped_at_any_call_goes_on_and_makes_one_table() {
    for after in [false, true] {
        for call in 1.. {
            let scene = Scene::new(60).await;
            let service = FakeService::with(FakeState { dies_at: Some((call, after)), ..FakeState::default() });
            let first = scene.restore(&service, &mut scene.run()).await;
            service.lock().revive();
            if first.is_ok() && service.lock().calls < call {
                break;
            }
            if first.is_err() {
                let mut run = if scene.path().exists() { RunFile::load(&scene.path()).unwrap() } else { scene.run() };
                match scene.restore(&service, &mut run).await {
                    Ok(report) => assert_eq!(report.items, 60),
                    // The answer to CreateTable was lost: the table may be somebody else's, and is left alone.
                    Err(error) if error.to_string().contains("cannot tell that it made it") && after => {
                        assert!(service.lock().items.is_empty());
                        continue;
                    }
                    Err(error) => panic!("call {call}, after {after}: {error}"),
                }
            }
            let state = service.lock();
            assert_eq!((state.items.len(), state.made), (60, 1), "call {call}, after {after}");
        }
    }
}
