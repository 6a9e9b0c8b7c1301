use aws_sdk_dynamodb::types::AttributeValue as SdkValue;
use journal::error::Kind;
use journal::model::TableName;
use journal::source::sdk::item_to_sdk;
use journal::store::memory::{FaultPlan, FaultyStore};

use super::super::fake::{FakeService, FakeState};
use super::super::scene::{Scene, options, whole_item};
use super::super::{SdkItem, TargetTable};
use super::*;

fn table() -> TableName {
    TableName::parse("notes-live").unwrap()
}

/// A table with the items 0 to 99, of which some are changed, missing or too many.
fn live() -> std::sync::Arc<FakeService> {
    let mut items: Vec<SdkItem> = (0..100).map(|number| item_to_sdk(&whole_item(number))).collect();
    items[7].insert("content".to_owned(), SdkValue::S("overwritten".to_owned()));
    items[8].insert("extra".to_owned(), SdkValue::Bool(true));
    items.remove(50);
    items.remove(50);
    items.push(item_to_sdk(&whole_item(300)));
    let target = TargetTable {
        arn: None,
        id: Some("1".to_owned()),
        created_milliseconds: None,
        status: "ACTIVE".to_owned(),
        indexes_active: true,
    };
    FakeService::with(FakeState::holding(target, items))
}

async fn into(scene: &Scene, service: &std::sync::Arc<FakeService>, apply: bool) -> Result<IntoReport> {
    let options = options(3);
    scene.restoring(service, &options).into_table(&**service, &table(), apply).await
}

fn changes(report: &IntoReport) -> (u64, u64, u64, u64) {
    (report.same, report.missing, report.different, report.unexpected)
}

#[tokio::test]
async fn only_what_differs_is_written_and_nothing_before_it_is_asked_for() {
    let (scene, service) = (Scene::new(100).await, live());
    let plan = into(&scene, &service, false).await.unwrap();
    assert_eq!(changes(&plan), (96, 2, 2, 1));
    assert_eq!((plan.applied, plan.proven, service.lock().replaced), (false, false, 0));
    assert_eq!(plan.samples.len(), 5);
    assert!(plan.samples.iter().any(|s| s.key.contains("note-00300") && s.difference == Differing::Unexpected));

    let report = into(&scene, &service, true).await.unwrap();
    assert_eq!((report.written, report.conflict_count, report.proven), (5, 0, true));
    let counts = |state: &FakeState| (state.replaced, state.puts, state.items.len());
    assert_eq!(counts(&service.lock()), (5, 0, 100));
    assert!(into(&scene, &service, false).await.unwrap().proven, "nothing is left to do");
}

#[tokio::test]
async fn only_chosen_items_are_compared_and_an_item_is_chosen_by_either_state() {
    let (mut scene, service) = (Scene::new(100).await, live());
    scene.choose("content = 'overwritten' OR noteId = 'note-00300'");
    let report = into(&scene, &service, true).await.unwrap();
    assert_eq!(changes(&report), (0, 0, 1, 1));
    assert_eq!(service.lock().replaced, 2);
    assert!(!service.lock().items.contains_key("note-00050"), "what was not chosen is left alone");
}

#[tokio::test]
async fn an_item_that_somebody_changes_meanwhile_is_left_alone_and_told() {
    let (scene, service) = (Scene::new(100).await, live());
    service.lock().meddles_with = Some("note-00007".to_owned());
    let report = into(&scene, &service, true).await.unwrap();
    assert_eq!((report.written, report.conflict_count, report.proven), (4, 1, false));
    assert!(report.conflicts[0].contains("note-00007"));
    assert_eq!(service.lock().items["note-00007"]["content"], SdkValue::S("meddled".to_owned()));
}

#[tokio::test]
async fn an_attribute_that_no_condition_could_name_is_put_back_and_told() {
    for key in ["note-00007", "note-00300"] {
        let (scene, service) = (Scene::new(100).await, live());
        service.lock().sneaks_into = Some(key.to_owned());
        let mut before = service.lock().items[key].clone();
        let report = into(&scene, &service, true).await.unwrap();
        assert_eq!((report.written, report.conflict_count, report.proven), (4, 1, false));
        assert!(report.conflicts[0].contains(key));
        before.insert("sneaked".to_owned(), SdkValue::Bool(true));
        assert_eq!(service.lock().items[key], before, "what somebody else has written stays");
    }
}

#[tokio::test]
async fn a_restore_into_a_table_stopped_at_any_call_is_finished_by_the_same_command() {
    for after in [false, true] {
        for call in 1.. {
            let (scene, service) = (Scene::new(100).await, live());
            service.lock().dies_at = Some((call, after));
            let first = into(&scene, &service, true).await;
            service.lock().revive();
            if first.is_ok() && service.lock().calls < call {
                break;
            }
            let report = into(&scene, &service, true).await.unwrap();
            assert!(report.proven, "call {call}, after {after}");
            assert_restored(&service);
        }
    }
}

/// The table is what the journal says, and each of the five differing items was written once, whoever wrote it.
#[track_caller]
fn assert_restored(service: &FakeService) {
    let state = service.lock();
    let expected = (0..100).map(|number| item_to_sdk(&whole_item(number)));
    assert!(state.items.values().cloned().eq(expected), "the table is not what the journal says");
    assert_eq!(state.replaced, 5, "an item was written twice, or one that did not differ");
}

#[tokio::test]
async fn a_restore_into_a_table_killed_at_any_read_of_the_journal_is_finished_by_the_same_command() {
    let mut killed = 0;
    for (step, lost) in (1..).flat_map(|step| [(step, false), (step, true)]) {
        let (scene, service) = (Scene::new(100).await, live());
        let plan = FaultPlan::none().stop_after(if lost { step } else { step - 1 });
        let plan = if lost { plan.fail_after(step) } else { plan };
        let store = std::sync::Arc::new(FaultyStore::new(scene.store.clone(), plan));
        let options = options(3);
        let restoring = Restore { store: store.clone(), ..scene.restoring(&service, &options) };
        let first = restoring.into_table(&*service, &table(), true).await;
        if store.operations().iter().all(|operation| operation.fault.is_none()) {
            first.unwrap();
            break;
        }
        killed += 1;
        first.unwrap_err();
        assert!(into(&scene, &service, true).await.unwrap().proven, "step {step}, lost {lost}");
        assert_restored(&service);
    }
    // The segment is read to compare, and once more to prove.
    assert!(killed >= 4, "{killed}");
}

#[tokio::test]
async fn a_table_that_is_not_there_or_has_another_key_is_refused() {
    let scene = Scene::new(10).await;
    let nothing = FakeService::with(FakeState::default());
    let error = into(&scene, &nothing, true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.hint().unwrap().contains("--as"), "{error}");
    let other = live();
    other.lock().other_key = true;
    let error = into(&scene, &other, true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("noteId (S)") && error.to_string().contains("id (N)"), "{error}");
    assert_eq!(other.lock().replaced, 0);
}
