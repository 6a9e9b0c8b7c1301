use super::*;
use crate::control::MappingState;
use crate::control::fake::{FakeClock, FakeCloud, name};
use crate::source::VIEW_NEEDED;
use crate::store::memory::MemoryStore;

struct World {
    cloud: Arc<FakeCloud>,
    store: Arc<MemoryStore>,
    edges: GuardEdges,
    settings: GuardSettings,
}

/// A cloud with one protected table; the streams of this cloud cannot be read.
fn world(view: Option<&str>) -> World {
    let cloud = Arc::new(FakeCloud::default());
    cloud.make_table("notes", view);
    let store = Arc::new(MemoryStore::default());
    let edges = GuardEdges {
        service: cloud.clone(),
        control: cloud.clone(),
        store: store.clone(),
        clock: Arc::new(FakeClock::at(100_000)),
    };
    let selection = Selection::of_text("notes").unwrap();
    let settings = GuardSettings { reads: false, ..GuardSettings::new("trigger".to_owned(), selection) };
    World { cloud, store, edges, settings }
}

impl World {
    async fn guard(&self) -> TableGuard {
        let report = guard(&self.edges, &self.settings).await.unwrap();
        assert_eq!(report.tables.len(), 1);
        report.tables.into_iter().next().unwrap()
    }

    async fn events(&self) -> Vec<String> {
        let objects = self.store.list_all("notes/").await.unwrap();
        let events = objects.into_iter().filter(|object| object.key.contains("/events/"));
        events.map(|object| object.key.trim_start_matches("notes/").trim_end_matches(".json").to_owned()).collect()
    }
}

fn alarms(table: &TableGuard) -> Vec<&'static str> {
    table.findings.iter().filter(|finding| finding.level == Level::Alarm).map(|finding| finding.code).collect()
}

#[tokio::test]
async fn an_unbound_stream_gets_its_mapping_and_the_journal_says_so() {
    let world = world(Some(VIEW_NEEDED));
    let first = world.guard().await;
    assert_eq!(first.repairs.len(), 1);
    assert_eq!(alarms(&first), Vec::<&str>::new());
    assert_eq!(world.events().await, ["1001/events/mapping-made-mapping-2", "1001/events/table-created"]);
    let second = world.guard().await;
    assert!(second.repairs.is_empty() && second.events.is_empty() && alarms(&second).is_empty());
    assert_eq!(world.cloud.state().changes, ["mapping made"]);
}

#[tokio::test]
async fn a_stream_that_is_off_is_an_alarm_and_switched_on_only_where_that_is_allowed() {
    let mut world = world(None);
    assert_eq!(alarms(&world.guard().await), ["stream-off"]);
    assert!(world.cloud.state().changes.is_empty());
    world.settings.powers = Some(Powers { mappings: true, streams: true });
    let mended = world.guard().await;
    assert_eq!((alarms(&mended), mended.repairs.len()), (Vec::new(), 2));
    // Switched off again by somebody's deploy: it is noted in the timeline that it ends.
    world.settings.powers = Some(Powers { mappings: true, streams: false });
    world.cloud.state().tables.get_mut(&name("notes")).unwrap().stream.as_mut().unwrap().1 = false;
    assert_eq!(alarms(&world.guard().await), ["stream-off"]);
    assert!(world.events().await.iter().any(|event| event.ends_with("/stream-off")));
}

#[tokio::test]
async fn another_view_type_is_never_mended_only_said() {
    let mut world = world(Some("NEW_IMAGE"));
    world.settings.powers = Some(Powers { mappings: true, streams: true });
    let found = world.guard().await;
    assert_eq!(alarms(&found), ["wrong-view"]);
    assert!(found.findings[0].hint.as_ref().unwrap().contains("--replace-stream"));
    assert!(world.cloud.state().changes.is_empty());
}

#[tokio::test]
async fn a_disabled_mapping_is_enabled_and_a_failing_one_is_an_alarm() {
    let world = world(Some(VIEW_NEEDED));
    world.guard().await;
    world.cloud.state().mappings[0].state = MappingState::Disabled;
    let mended = world.guard().await;
    assert_eq!((mended.repairs.len(), alarms(&mended)), (1, Vec::new()));
    assert!(world.events().await.iter().any(|event| event.contains("mapping-mended")));
    world.cloud.state().mappings[0].last_result = Some("PROBLEM: Function call failed".to_owned());
    assert_eq!(alarms(&world.guard().await), ["function-fails"]);
}

#[tokio::test]
async fn a_table_deleted_and_made_again_is_bound_anew_and_both_are_noted() {
    let world = world(Some(VIEW_NEEDED));
    world.guard().await;
    world.cloud.delete_table("notes");
    assert_eq!(alarms(&world.guard().await), ["table-deleted", "table-missing"]);
    // Once it is seen it is known; that a table named by the settings is missing stays an alarm.
    assert_eq!(alarms(&world.guard().await), ["table-missing"]);
    world.cloud.make_table("notes", Some(VIEW_NEEDED));
    let made = world.guard().await;
    assert_eq!((made.repairs.len(), alarms(&made)), (1, Vec::new()));
    assert!(made.findings.iter().any(|finding| finding.code == "dead-mapping"), "{made:?}");
    let events = world.events().await;
    assert!(events.iter().any(|event| event.starts_with("1001/") && event.ends_with("table-deleted")), "{events:?}");
    let created = events.iter().filter(|event| event.ends_with("table-created")).count();
    assert_eq!(created, 2, "{events:?}");
    let state = world.cloud.state();
    let label = state.tables[&name("notes")].stream.as_ref().unwrap().0;
    assert!(state.mappings.iter().any(|mapping| mapping.source.ends_with(&format!("/{label}"))));
}

#[tokio::test]
async fn a_table_made_again_between_two_looks_is_seen_as_two_tables() {
    let world = world(Some(VIEW_NEEDED));
    world.guard().await;
    world.cloud.delete_table("notes");
    world.cloud.make_table("notes", Some(VIEW_NEEDED));
    let found = world.guard().await;
    assert_eq!(alarms(&found), ["table-deleted"]);
    assert_eq!(found.repairs.len(), 1);
    assert_eq!(world.guard().await.alarms(), 0);
}

#[tokio::test]
async fn a_table_that_was_chosen_by_its_tag_is_still_looked_after_when_it_is_gone() {
    let mut world = world(Some(VIEW_NEEDED));
    world.cloud.state().tables.get_mut(&name("notes")).unwrap().tags.insert("a".to_owned(), "b".to_owned());
    world.settings.selection = Selection::of_text("tag:a=b").unwrap();
    world.guard().await;
    world.cloud.delete_table("notes");
    assert_eq!(alarms(&world.guard().await), ["table-deleted"]);
    assert_eq!(alarms(&world.guard().await), Vec::<&str>::new());
}

#[tokio::test]
async fn a_journal_behind_the_tables_own_writes_is_stale_and_what_is_not_known_is_said() {
    let world = world(Some(VIEW_NEEDED));
    world.guard().await;
    // The settings are old enough by now that nothing is catching up any more.
    world.cloud.state().activity = Second::new(98_000).ok();
    assert_eq!(alarms(&world.guard().await), ["stale"]);
    world.cloud.state().activity = Second::new(99_900).ok();
    assert_eq!(alarms(&world.guard().await), Vec::<&str>::new());
    world.cloud.state().blind = true;
    let blind = world.guard().await;
    assert_eq!(alarms(&blind), ["freshness-unknown"]);
    assert!(blind.findings[0].text.contains("not allowed"), "{blind:?}");
}

#[tokio::test]
async fn a_changed_description_is_noted_and_kept() {
    let world = world(Some(VIEW_NEEDED));
    world.guard().await;
    world.cloud.state().tables.get_mut(&name("notes")).unwrap().billing = "PROVISIONED".to_owned();
    world.guard().await;
    let events = world.events().await;
    assert_eq!(events.iter().filter(|event| event.contains("/description-")).count(), 1, "{events:?}");
    let document: TableDocument =
        documents::read(world.store.as_ref(), "notes/1001/table.json").await.unwrap().unwrap();
    assert_eq!(document.description["BillingModeSummary"]["BillingMode"], "PROVISIONED");
}

#[tokio::test]
async fn a_guard_that_only_looks_changes_nothing() {
    let mut world = world(Some(VIEW_NEEDED));
    world.settings.powers = None;
    assert_eq!(alarms(&world.guard().await), ["no-mapping"]);
    assert!(world.cloud.state().changes.is_empty());
    assert!(world.store.list_all("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_call_is_noted_with_who_made_it() {
    let world = world(Some(VIEW_NEEDED));
    world.guard().await;
    let event = json!({"detail": {
        "eventName": "DeleteTable", "eventID": "e", "eventTime": "2020-03-29T10:00:00Z",
        "userIdentity": {"arn": "arn:aws:iam::0:role/deploy"}, "requestParameters": {"tableName": "notes"},
    }});
    let call = trail::TrailCall::parse(event.to_string().as_bytes()).unwrap();
    assert!(record_call(&world.edges, &call).await.unwrap());
    let event: EventDocument =
        documents::read(world.store.as_ref(), "notes/1001/events/api-e.json").await.unwrap().unwrap();
    assert_eq!(event.by.unwrap().principal.as_deref(), Some("arn:aws:iam::0:role/deploy"));
    let other = trail::TrailCall { table: name("other"), ..call };
    assert!(!record_call(&world.edges, &other).await.unwrap());
}
