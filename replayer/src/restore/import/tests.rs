use std::io::Read as _;

use aws_sdk_dynamodb::types::{KeyType, LocalSecondaryIndex, Projection, ProjectionType, TableClass};
use journal::error::Kind;
use journal::store::ReadStore as _;
use journal::store::memory::{FaultPlan, FaultyStore, MemoryStore};

use super::super::fake::{FakeService, FakeState};
use super::super::scene::{Scene, kill_when_it_hangs, options, settings_of_all_kinds};
use super::*;

/// A place for objects and a service that reads them from there.
struct Imports {
    store: Arc<MemoryStore>,
    service: Arc<FakeService>,
}

impl Imports {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let service = FakeService::with(FakeState::default());
        service.lock().imports_from = Some(Arc::clone(&store));
        Self { store, service }
    }

    fn staging(&self, compression: ImportCompression) -> Staging {
        Staging { store: self.store.clone(), bucket: "stage".to_owned(), prefix: String::new(), compression }
    }

    async fn restore(&self, scene: &Scene, run: &mut RunFile, compression: ImportCompression) -> Result<RestoreReport> {
        let options = options(3);
        let restoring = scene.restoring(&self.service, &options);
        restoring.import(&*self.service, &self.staging(compression), &scene.target, run).await
    }

    /// As [`Imports::restore`], with faults in the reads of the journal and in the operations of the bucket.
    async fn restore_with(&self, scene: &Scene, [journal, bucket]: [&Arc<FaultyStore>; 2]) -> Result<RestoreReport> {
        let options = options(3);
        let restoring = Restore { store: journal.clone(), ..scene.restoring(&self.service, &options) };
        let staging = Staging { store: bucket.clone(), ..self.staging(ImportCompression::Zstd) };
        restoring.import(&*self.service, &staging, &scene.target, &mut scene.run()).await
    }
}

#[tokio::test]
async fn an_imported_table_is_proven_and_its_objects_are_deleted() {
    for compression in [ImportCompression::Zstd, ImportCompression::Gzip] {
        let (scene, imports) = (Scene::new(500).await, Imports::new());
        let report = imports.restore(&scene, &mut scene.run(), compression).await.unwrap();
        assert!(report.proven);
        assert_eq!((report.items, imports.service.lock().items.len()), (500, 500));
        assert!(imports.store.list_all("").await.unwrap().is_empty());
        assert_eq!(imports.service.lock().settings, ["stream"], "an import makes no stream");
        assert!(!scene.path().exists());
    }
}

#[tokio::test]
async fn objects_are_lines_of_dynamodb_json_in_no_order_of_keys_and_the_same_each_time() {
    let (scene, imports) = (Scene::new(1000).await, Imports::new());
    let options = options(1);
    let restoring = scene.restoring(&imports.service, &options);
    let staging = imports.staging(ImportCompression::Gzip);
    let staged = stage::stage(&restoring, &staging, &scene.run()).await.unwrap();
    let again = stage::stage(&restoring, &staging, &scene.run()).await.unwrap();
    assert_eq!((staged.objects, staged.objects.count), (again.objects, 1));
    let object = imports.store.get("r1/00000.json.gz").await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*object).read_to_string(&mut text).unwrap();
    assert!(text.ends_with('\n'));
    let keys: Vec<String> = text
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let object = value.as_object().unwrap();
            assert_eq!(object.keys().collect::<Vec<_>>(), ["Item"]);
            object["Item"]["noteId"]["S"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut sorted = keys.clone();
    sorted.sort();
    assert_ne!(keys, sorted, "neighbours would fall on one partition");
    sorted.dedup();
    assert_eq!(sorted.len(), 1000);
}

#[tokio::test]
async fn a_table_with_local_secondary_indexes_is_refused_before_any_work() {
    let (mut scene, imports) = (Scene::new(10).await, Imports::new());
    let element = aws_sdk_dynamodb::types::KeySchemaElement::builder().attribute_name("noteId").key_type(KeyType::Hash);
    let index = LocalSecondaryIndex::builder()
        .index_name("by-time")
        .key_schema(element.build().unwrap())
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .build()
        .unwrap();
    scene.target.input = scene.target.input.local_secondary_indexes(index);
    let error = imports.restore(&scene, &mut scene.run(), ImportCompression::Zstd).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("by-time"), "{error}");
    assert!(error.hint().unwrap().contains("without --import"), "{:?}", error.hint());
    assert!(imports.store.list_all("").await.unwrap().is_empty());
    assert!(!scene.path().exists());
}

#[tokio::test]
async fn an_import_that_fails_is_told_and_its_objects_are_kept() {
    let (scene, imports) = (Scene::new(10).await, Imports::new());
    imports.service.lock().import_fails = true;
    let error = imports.restore(&scene, &mut scene.run(), ImportCompression::Zstd).await.unwrap_err();
    assert!(error.to_string().contains("ItemValidationError"), "{error}");
    assert_eq!(imports.store.list_all("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_import_stopped_at_any_call_goes_on_and_imports_once() {
    for after in [false, true] {
        for call in 1.. {
            let (scene, imports) = (Scene::new(60).await, Imports::new());
            imports.service.lock().dies_at = Some((call, after));
            let first = imports.restore(&scene, &mut scene.run(), ImportCompression::Zstd).await;
            imports.service.lock().revive();
            if first.is_ok() && imports.service.lock().calls < call {
                break;
            }
            if first.is_err() {
                let mut run = if scene.path().exists() { RunFile::load(&scene.path()).unwrap() } else { scene.run() };
                let report = imports.restore(&scene, &mut run, ImportCompression::Zstd).await;
                let report = report.unwrap_or_else(|error| panic!("call {call}, after {after}: {error}"));
                assert_eq!(report.items, 60);
            }
            let state = imports.service.lock();
            assert_eq!((state.items.len(), state.made), (60, 1), "call {call}, after {after}");
        }
    }
}

/// As of a restore by writes; what an import cannot make comes first.
#[tokio::test]
async fn an_import_killed_at_any_setting_goes_on_with_the_settings_alone() {
    let settings = ["stream", "class", "2 tags", "recovery", "ttl expiresAt", "protection"];
    for (setting, done) in settings.iter().flat_map(|setting| [(setting, false), (setting, true)]) {
        let (mut scene, imports) = (Scene::new(60).await, Imports::new());
        scene.target.settings = settings_of_all_kinds();
        scene.target.input = scene.target.input.table_class(TableClass::StandardInfrequentAccess);
        imports.service.lock().hangs_at = Some(((*setting).to_owned(), done));
        let mut run = scene.run();
        let restore = imports.restore(&scene, &mut run, ImportCompression::Zstd);
        kill_when_it_hangs(&imports.service, restore).await;
        assert_eq!(imports.store.list_all("").await.unwrap().len(), 1);
        let scanned = {
            let mut state = imports.service.lock();
            state.items.pop_first();
            state.scanned
        };
        let mut run = RunFile::load(&scene.path()).unwrap();
        let report = imports.restore(&scene, &mut run, ImportCompression::Zstd).await.unwrap();
        assert_eq!((report.items, report.unset), (60, Vec::new()), "{setting}, done {done}");
        assert!(report.notes.iter().any(|note| note.contains("from 1 objects of ")), "{:?}", report.notes);
        assert!(imports.store.list_all("").await.unwrap().is_empty() && !scene.path().exists());
        let state = imports.service.lock();
        assert_eq!((state.scanned, state.made), (scanned, 1), "{setting}, done {done}");
        let mut set = state.settings.clone();
        let repeated = set.len() - settings.len();
        // What was made before the kill is made once more.
        assert_eq!(set.split_off(repeated), settings, "{setting}, done {done}");
        assert_eq!(set, settings[..repeated]);
    }
}

/// The process ends at a read of the journal or at an operation of the bucket: before it, or after it and before its answer.
#[tokio::test]
async fn an_import_killed_at_any_step_of_journal_or_bucket_goes_on_and_leaves_every_item_once() {
    let faulty = |store: &Arc<MemoryStore>, plan: FaultPlan| Arc::new(FaultyStore::new(store.clone(), plan));
    for of_bucket in [false, true] {
        let mut killed = 0;
        for (step, lost) in (1..).flat_map(|step| [(step, false), (step, true)]) {
            let (scene, imports) = (Scene::new(60).await, Imports::new());
            let plan = FaultPlan::none().stop_after(if lost { step } else { step - 1 });
            let plan = if lost { plan.fail_after(step) } else { plan };
            let (journal, bucket) = if of_bucket { (FaultPlan::none(), plan) } else { (plan, FaultPlan::none()) };
            let (journal, bucket) = (faulty(&scene.store, journal), faulty(&imports.store, bucket));
            let first = imports.restore_with(&scene, [&journal, &bucket]).await;
            let steps = if of_bucket { &bucket } else { &journal };
            if steps.operations().iter().all(|operation| operation.fault.is_none()) {
                first.unwrap();
                break;
            }
            killed += 1;
            first.unwrap_err();
            let mut run = RunFile::load(&scene.path()).unwrap();
            let report = imports.restore(&scene, &mut run, ImportCompression::Zstd).await;
            let report = report.unwrap_or_else(|error| panic!("step {step}, lost {lost}: {error}"));
            assert!(report.proven);
            let (items, made) = {
                let state = imports.service.lock();
                (state.items.len(), state.made)
            };
            assert_eq!((report.items, items, made), (60, 60, 1), "step {step}, lost {lost}");
            assert!(imports.store.list_all("").await.unwrap().is_empty(), "objects are left after step {step}");
            assert!(!scene.path().exists(), "a proven run leaves nothing behind");
        }
        // One object is put and deleted; of the journal the one segment is read.
        assert!(killed >= if of_bucket { 4 } else { 2 }, "{killed}");
    }
}
