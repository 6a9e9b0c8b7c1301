use std::collections::HashSet;

use journal::error::Kind;
use journal::model::{AttributeValue, Attributes, KeyAttribute, KeyAttributes, KeyType, Second};

use super::fake::{FakeService, FakeState, Fault};
use super::scene::{Scene, options, settings_of_all_kinds, stream};
use super::*;
use crate::cut::Cut;

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
    scene.target.settings = settings_of_all_kinds();
    let service = FakeService::with(FakeState::default());
    assert!(scene.restore(&service, &mut scene.run()).await.unwrap().unset.is_empty());
    assert_eq!(service.lock().settings, ["2 tags", "recovery", "ttl expiresAt", "protection"]);

    let refusing = FakeService::with(FakeState { refuses_settings: true, ..FakeState::default() });
    let unset = scene.restore(&refusing, &mut scene.run()).await.unwrap().unset;
    let commands: Vec<&str> = unset.iter().map(|unset| unset.command.as_str()).collect();
    assert!(commands[0].ends_with("--tags Key=stage,Value=dev Key='team name',Value='it'\\''s'"), "{commands:?}");
    assert!(commands[1].ends_with("PointInTimeRecoveryEnabled=true,RecoveryPeriodInDays=7"));
    assert!(commands[2].ends_with("Enabled=true,AttributeName=expiresAt"));
    assert!(commands[3].ends_with("--deletion-protection-enabled"));

    // What nobody but a person can set is told with what could not be set.
    scene.target.settings.by_hand = vec![journal::table::recreate::ByHand {
        setting: "replica in eu-north-1".to_owned(),
        reason: "a replica is added by hand".to_owned(),
        command: "aws dynamodb update-table".to_owned(),
    }];
    let service = FakeService::with(FakeState::default());
    let unset = scene.restore(&service, &mut scene.run()).await.unwrap().unset;
    let told: Vec<String> = unset.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["replica in eu-north-1 is not set (a replica is added by hand): aws dynamodb update-table"]);
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

#[cfg(all(feature = "parquet", feature = "sqlite"))]
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

/// A file is written in one or two readings of the journal; wherever they end, there is no file and nothing beside it.
#[cfg(all(feature = "parquet", feature = "sqlite"))]
#[tokio::test]
async fn a_file_killed_at_any_read_of_the_journal_does_not_appear_and_the_same_command_writes_it() {
    use crate::output::{Destination, Format, export};
    use journal::store::memory::{FaultPlan, FaultyStore, MemoryStore};

    let scene = Scene::new(300).await;
    let write = async |store: Arc<FaultyStore>, path: &std::path::Path, format: Format| {
        let target = (format, Destination::file(path, false).unwrap());
        let (options, never) = (MergeOptions::default(), Interrupt::never());
        export(store, &scene.plan, target, Selection::default(), options, &never, |_, _| {}).await
    };
    let faulty = |plan: FaultPlan| Arc::new(FaultyStore::new(Arc::<MemoryStore>::clone(&scene.store), plan));
    for format in [Format::DynamodbJson, Format::Json, Format::Csv, Format::Sqlite, Format::Parquet] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let counting = faulty(FaultPlan::none());
        let whole = write(counting.clone(), &path, format).await.unwrap();
        let (bytes, steps) = (std::fs::read(&path).unwrap(), u64::try_from(counting.operations().len()).unwrap());
        assert!(steps > 0 && whole.items == 300);
        for step in 1..=steps {
            for plan in [FaultPlan::none().stop_after(step - 1), FaultPlan::none().stop_after(step).fail_after(step)] {
                std::fs::remove_file(&path).unwrap();
                write(faulty(plan), &path, format).await.unwrap_err();
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{format:?}, step {step}");
                let again = write(faulty(FaultPlan::none()), &path, format).await.unwrap();
                assert_eq!((again.items, again.digest), (whole.items, whole.digest));
                assert!(matches!(format, Format::Sqlite | Format::Parquet) || std::fs::read(&path).unwrap() == bytes);
            }
        }
    }
}
