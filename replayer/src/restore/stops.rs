//! Restores that are stopped or killed, and what a run does about it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use journal::error::Kind;
use journal::model::{AttributeValue, SequenceNumber};
use journal::store::memory::{FaultPlan, FaultyStore};

use super::fake::{FakeService, FakeState, Fault};
use super::scene::{Scene, kill_when_it_hangs, settings_of_all_kinds, stream};
use super::*;
use crate::cut::Cut;

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
    scene.run().creating().unwrap();
    let service = FakeService::with(FakeState::default());
    service.create(CreateTableInputBuilder::default()).await.unwrap();
    let mut run = RunFile::load(&scene.path()).unwrap();
    let error = scene.restore(&service, &mut run).await.unwrap_err();
    assert!(error.to_string().contains("cannot tell that it made it"), "{error}");
    let nothing = FakeService::with(FakeState::default());
    assert!(scene.restore(&nothing, &mut run).await.unwrap().proven, "where no table was made it goes on");
}

#[test]
fn a_run_file_reads_back_and_a_torn_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let sequence = SequenceNumber::parse("0042").unwrap();
    let source = (TableName::parse("notes").unwrap(), stream().timeline().label.clone());
    let target = TableName::parse("restored").unwrap();
    let from =
        Source::new("r".to_owned(), "file:///j".to_owned(), Cut::at_sequence(sequence), true, Some("a*".to_owned()));
    let mut run = RunFile::new(path.clone(), from, source, target).with_partition_key(Some("pk".to_owned()));
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
        (back.source().cut(), back.confirmed(), back.partition_key()),
        (Cut::at_sequence(sequence), Some(vec![0, 255]), Some("pk"))
    );
    assert_eq!(back.source().cut().to_string(), "at sequence number 0042");
    std::fs::write(&path, b"{\"run\":").unwrap();
    assert!(matches!(RunFile::load(&path), Err(RestoreError::RunFile { .. })));
    assert!(matches!(RunFile::load(&folder.path().join("none")), Err(RestoreError::NoRun { .. })));
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

/// The process ends at a read of the journal: while the items are counted, or while they are written.
#[tokio::test]
async fn a_restore_killed_at_any_read_of_the_journal_goes_on_and_makes_one_table() {
    let mut killed = 0;
    for (step, lost) in (1..).flat_map(|step| [(step, false), (step, true)]) {
        let scene = Scene::new(60).await;
        let service = FakeService::with(FakeState::default());
        let plan = FaultPlan::none().stop_after(if lost { step } else { step - 1 });
        let plan = if lost { plan.fail_after(step) } else { plan };
        let store = Arc::new(FaultyStore::new(scene.store.clone(), plan));
        let options = super::scene::options(3);
        let restoring = Restore { store: store.clone(), ..scene.restoring(&service, &options) };
        let first = restoring.run(&scene.target, &mut scene.run()).await;
        if store.operations().iter().all(|operation| operation.fault.is_none()) {
            first.unwrap();
            break;
        }
        killed += 1;
        first.unwrap_err();
        let mut run = RunFile::load(&scene.path()).unwrap();
        assert!(scene.restore(&service, &mut run).await.unwrap().proven, "step {step}, lost {lost}");
        let state = service.lock();
        assert_eq!((state.items.len(), state.made), (60, 1), "step {step}, lost {lost}");
        assert!(!scene.path().exists(), "a proven run leaves nothing behind");
    }
    assert!(killed >= 4, "{killed}");
}

/// The process ends while a setting is made: before the service has it, or before its answer. The run knows that the table was
/// proven: nothing is read or written again, and what time to live has deleted since is not missed.
#[tokio::test]
async fn a_run_killed_at_any_setting_goes_on_with_the_settings_alone() {
    let settings = ["2 tags", "recovery", "ttl expiresAt", "protection"];
    for (setting, done) in settings.iter().flat_map(|setting| [(setting, false), (setting, true)]) {
        let mut scene = Scene::new(60).await;
        scene.target.settings = settings_of_all_kinds();
        let service = FakeService::with(FakeState::default());
        service.lock().hangs_at = Some(((*setting).to_owned(), done));
        kill_when_it_hangs(&service, scene.restore(&service, &mut scene.run())).await;
        let before = {
            let mut state = service.lock();
            state.items.pop_first();
            (state.puts, state.scanned)
        };
        let mut run = RunFile::load(&scene.path()).unwrap();
        let report = scene.restore(&service, &mut run).await.unwrap();
        assert_eq!((report.items, report.written, report.unset), (60, 60, Vec::new()), "{setting}, done {done}");
        let state = service.lock();
        assert_eq!(((state.puts, state.scanned), state.made), (before, 1), "{setting}, done {done}");
        let mut set = state.settings.clone();
        assert_eq!(set.pop().as_deref(), Some("protection"));
        assert!(settings[..3].iter().all(|setting| set.iter().any(|set| set == setting)), "{set:?}");
        assert!(!scene.path().exists(), "a run whose settings are made leaves nothing behind");
    }
}

#[tokio::test]
async fn a_proven_run_sets_nothing_on_a_table_it_did_not_make() {
    let mut scene = Scene::new(5).await;
    scene.target.settings = settings_of_all_kinds();
    let service = FakeService::with(FakeState::default());
    service.lock().hangs_at = Some(("2 tags".to_owned(), false));
    kill_when_it_hangs(&service, scene.restore(&service, &mut scene.run())).await;
    let mut run = RunFile::load(&scene.path()).unwrap();
    let other = FakeService::with(FakeState { made: 5, ..FakeState::default() });
    other.create(CreateTableInputBuilder::default()).await.unwrap();
    let error = scene.restore(&other, &mut run).await.unwrap_err();
    assert!(error.to_string().contains("is not the one that run r1 made"), "{error}");
    let gone = FakeService::with(FakeState::default());
    assert!(scene.restore(&gone, &mut run).await.unwrap_err().to_string().contains("is gone"));
    assert!(other.lock().settings.is_empty() && gone.lock().settings.is_empty());
}

#[tokio::test]
async fn settings_wait_for_a_table_that_is_being_changed_and_can_be_stopped_meanwhile() {
    let mut scene = Scene::new(5).await;
    scene.target.settings = settings_of_all_kinds();
    let service = FakeService::with(FakeState { busy: 11, ..FakeState::default() });
    assert_eq!(scene.restore(&service, &mut scene.run()).await.unwrap().unset, []);
    assert_eq!(service.lock().settings.len(), 4);

    // It never becomes free: what was asked for is told, and the rest is set.
    let service = FakeService::with(FakeState { busy: 12, ..FakeState::default() });
    let unset = scene.restore(&service, &mut scene.run()).await.unwrap().unset;
    assert_eq!(unset.iter().map(|unset| unset.setting.as_str()).collect::<Vec<_>>(), ["tags"]);
    assert_eq!(service.lock().settings, ["recovery", "ttl expiresAt", "protection"]);

    let service = FakeService::with(FakeState { busy: u32::MAX, ..FakeState::default() });
    service.lock().stops_when_busy = Some(scene.interrupt.clone());
    let error = scene.restore(&service, &mut scene.run()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
    service.lock().busy = 0;
    scene.interrupt = Interrupt::never();
    let mut run = RunFile::load(&scene.path()).unwrap();
    assert_eq!(scene.restore(&service, &mut run).await.unwrap().unset, []);
}

/// Services by the names of their tables, for restores of several.
#[derive(Debug)]
struct ByName(BTreeMap<String, Arc<FakeService>>);

impl ByName {
    fn new(names: &[&str]) -> Arc<Self> {
        let service = || FakeService::with(FakeState::default());
        Arc::new(Self(names.iter().map(|name| ((*name).to_owned(), service())).collect()))
    }

    fn of(&self, table: &TableName) -> &FakeService {
        &self.0[table.as_str()]
    }

    /// Lets one service die at its call; the process ends with it.
    fn dies_at(&self, table: &str, call: u32, after: bool) {
        self.0[table].lock().dies_at = Some((call, after));
    }

    fn revive(&self) {
        self.0.values().for_each(|service| service.lock().revive());
    }
}

#[async_trait]
impl TableService for ByName {
    async fn describe(&self, table: &TableName) -> Result<Option<TargetTable>, ServiceError> {
        self.of(table).describe(table).await
    }

    async fn create(&self, input: CreateTableInputBuilder) -> Result<TargetTable, ServiceError> {
        let name = TableName::parse(input.get_table_name().as_deref().unwrap()).unwrap();
        self.of(&name).create(input).await
    }

    async fn put(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        self.of(batch.table()).put(batch).await
    }

    async fn scan(
        &self,
        table: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError> {
        self.of(table).scan(table, segment, total, start).await
    }

    async fn set_time_to_live(&self, table: &TableName, attribute: &str) -> Result<(), ServiceError> {
        self.of(table).set_time_to_live(table, attribute).await
    }

    async fn tag(&self, _: &str, _: &[(String, String)]) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn set_recovery(
        &self,
        table: &TableName,
        recovery: journal::table::recreate::PointInTimeRecovery,
    ) -> Result<(), ServiceError> {
        self.of(table).set_recovery(table, recovery).await
    }

    async fn protect(&self, table: &TableName) -> Result<(), ServiceError> {
        self.of(table).protect(table).await
    }
}

const SEVERAL: [&str; 3] = ["notes-one", "notes-two", "notes-three"];

/// Three tables with the state of one.
fn several(scene: &Scene) -> (Vec<Prepared>, RunFile) {
    let mut runs = Vec::new();
    let mut tables = Vec::new();
    for name in SEVERAL {
        let target = plan_target(&scene.plan, &TableName::parse(name).unwrap(), None).unwrap();
        let source = scene.run().source().clone();
        let from = (scene.plan.timeline.table.clone(), scene.plan.timeline.label.clone());
        runs.push(RunFile::new(scene.path(), source, from, target.name.clone()));
        tables.push(Prepared { plan: scene.plan.clone(), target, selection: Selection::default() });
    }
    let first = runs.remove(0);
    (tables, first.with_more(runs))
}

async fn restore_several(
    scene: &Scene,
    service: &Arc<ByName>,
    tables: &[Prepared],
    run: &mut RunFile,
) -> Result<Vec<RestoreReport>> {
    let restores = Restores {
        store: scene.store.clone(),
        service: service.clone(),
        import: None,
        options: &super::scene::options(3),
        interrupt: &scene.interrupt,
        progress: &|_, _, _, _| {},
    };
    restores.run(tables, run).await
}

#[tokio::test]
async fn of_several_tables_none_is_made_where_a_name_is_taken() {
    let scene = Scene::new(20).await;
    let service = ByName::new(&SEVERAL);
    service.0["notes-three"].create(CreateTableInputBuilder::default()).await.unwrap();
    let (tables, mut run) = several(&scene);
    let error = restore_several(&scene, &service, &tables, &mut run).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("notes-three") && !error.to_string().contains("notes-two"), "{error}");
    assert_eq!(service.0["notes-one"].lock().made, 0);
    assert!(!scene.path().exists());
}

/// Whichever table it stands at: the run goes on, makes each table once, and reports all of them.
#[tokio::test]
async fn a_restore_of_several_tables_stopped_at_any_call_goes_on_with_the_table_it_stood_at() {
    for (at, after) in SEVERAL.iter().flat_map(|at| [(at, false), (at, true)]) {
        for call in 1.. {
            let scene = Scene::new(20).await;
            let service = ByName::new(&SEVERAL);
            service.dies_at(at, call, after);
            let (tables, mut run) = several(&scene);
            let first = restore_several(&scene, &service, &tables, &mut run).await;
            let died = service.0[*at].lock().calls >= call;
            service.revive();
            if !died {
                first.unwrap();
                break;
            }
            // A call whose answer does not matter may be lost at the end.
            if first.is_err() {
                let mut run =
                    if scene.path().exists() { RunFile::load(&scene.path()).unwrap() } else { several(&scene).1 };
                let left: Vec<String> = run.remaining().iter().map(|(_, _, target)| target.to_string()).collect();
                let tables: Vec<Prepared> =
                    tables.into_iter().filter(|table| left.contains(&table.target.name.to_string())).collect();
                match restore_several(&scene, &service, &tables, &mut run).await {
                    Ok(_) => assert_eq!(run.reports().len(), SEVERAL.len(), "call {call} of {at}"),
                    Err(error) => {
                        assert!(after && error.to_string().contains("cannot tell that it made it"), "{error}");
                        continue;
                    }
                }
            }
            for (name, service) in &service.0 {
                let state = service.lock();
                assert_eq!((state.items.len(), state.made), (20, 1), "call {call} of {at}: {name}");
            }
            assert!(!scene.path().exists(), "a proven run leaves nothing behind");
        }
    }
}
