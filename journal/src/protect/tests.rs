use super::*;
use crate::control::fake::{FakeClock, FakeCloud, Fault, name};
use crate::control::{MappingSettings, MappingState};
use crate::error::Kind;
use crate::source::VIEW_NEEDED;

const FUNCTION: &str = "trigger";

fn wish() -> Wish {
    Wish {
        settings: MappingSettings { on_failure: Some("arn:aws:s3:::failed".to_owned()), ..MappingSettings::default() },
        switch_on: true,
        replace_stream: false,
        baseline: true,
        read: true,
    }
}

async fn bind_it(cloud: &FakeCloud, wish: &Wish, patience: Patience) -> crate::Result<Binding> {
    bind(cloud, cloud, FUNCTION, &name("notes"), wish, &FakeClock::at(5000), patience).await
}

/// What ought to be: one enabled mapping from the one stream, made by exactly these changes.
fn assert_bound(cloud: &FakeCloud, changes: &[&str], what: &str) {
    let state = cloud.state();
    let (label, enabled, view) = state.tables[&name("notes")].stream.clone().unwrap();
    assert!(enabled && view == VIEW_NEEDED, "{what}");
    let bound: Vec<_> = state.mappings.iter().filter(|m| m.source.ends_with(&format!("/{label}"))).collect();
    assert_eq!(bound.len(), 1, "{what}");
    assert_eq!((&bound[0].state, bound[0].loses()), (&MappingState::Enabled, None), "{what}");
    assert_eq!(state.changes, changes, "{what}");
}

type Beginning = (&'static str, fn(&FakeCloud), Wish, Vec<&'static str>);

/// Tables as they may be found, and the changes that each needs.
fn beginnings() -> Vec<Beginning> {
    fn without(cloud: &FakeCloud) {
        cloud.make_table("notes", None);
    }
    fn keys_only(cloud: &FakeCloud) {
        cloud.make_table("notes", Some("KEYS_ONLY"));
    }
    fn with(cloud: &FakeCloud) {
        cloud.make_table("notes", Some(VIEW_NEEDED));
    }
    let replacing = Wish { replace_stream: true, ..wish() };
    vec![
        ("no stream", without, wish(), vec!["stream on", "mapping made"]),
        ("a stream", with, wish(), vec!["mapping made"]),
        ("keys only", keys_only, replacing, vec!["stream off", "stream on", "mapping made"]),
    ]
}

#[tokio::test]
async fn any_one_call_may_fail_and_nothing_is_done_twice() {
    for (what, begin, wish, changes) in beginnings() {
        let calls = {
            let cloud = FakeCloud::default();
            begin(&cloud);
            bind_it(&cloud, &wish, Patience::default()).await.unwrap();
            assert_bound(&cloud, &changes, what);
            cloud.state().calls
        };
        for call in 1..=calls {
            for fault in [Fault::Before, Fault::After, Fault::Throttle] {
                let cloud = FakeCloud::default();
                begin(&cloud);
                cloud.fail(call, fault);
                bind_it(&cloud, &wish, Patience::default()).await.unwrap();
                assert_bound(&cloud, &changes, &format!("{what}, call {call}, {fault:?}"));
            }
        }
    }
}

#[tokio::test]
async fn stopped_at_any_call_the_same_command_goes_on_from_there() {
    for (what, begin, wish, changes) in beginnings() {
        let mut call = 0;
        loop {
            call += 1;
            let mut stopped = 0;
            for done in [false, true] {
                let cloud = FakeCloud::default();
                begin(&cloud);
                cloud.die_at(call, done);
                let first = bind_it(&cloud, &wish, Patience { failures_max: 0, ..Patience::default() }).await;
                stopped += usize::from(first.is_err());
                cloud.revive();
                bind_it(&cloud, &wish, Patience::default()).await.unwrap();
                assert_bound(&cloud, &changes, &format!("{what}, stopped at call {call}, done {done}"));
            }
            if stopped == 0 {
                break;
            }
        }
        assert!(call > 3, "{what}");
    }
}

#[tokio::test]
async fn what_is_protected_already_is_left_as_it_is() {
    let cloud = FakeCloud::default();
    cloud.make_table("notes", None);
    bind_it(&cloud, &wish(), Patience::default()).await.unwrap();
    let changes = cloud.state().changes.clone();
    let again = bind_it(&cloud, &wish(), Patience::default()).await.unwrap();
    assert!(again.done.is_empty());
    assert_eq!(cloud.state().changes, changes);
}

#[tokio::test]
async fn another_view_type_is_refused_with_what_it_lacks_and_the_way_out() {
    for (view, lacks) in
        [("KEYS_ONLY", "not to what"), ("NEW_IMAGE", "not what it was"), ("OLD_IMAGE", "the last change")]
    {
        let cloud = FakeCloud::default();
        cloud.make_table("notes", Some(view));
        let error = bind_it(&cloud, &wish(), Patience::default()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(lacks), "{error}");
        assert!(error.hint().unwrap().contains("--replace-stream"));
        assert!(cloud.state().changes.is_empty());
    }
}

#[tokio::test]
async fn a_table_that_never_becomes_active_is_not_waited_for_without_end() {
    let cloud = FakeCloud::default();
    cloud.make_table("notes", None);
    cloud.state().tables.get_mut(&name("notes")).unwrap().updating = u32::MAX;
    let error = bind_it(&cloud, &wish(), Patience::default()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ProtectError::Slow { .. })), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_mapping_that_loses_records_is_mended_and_its_other_settings_are_kept() {
    let cloud = FakeCloud::default();
    cloud.make_table("notes", Some(VIEW_NEEDED));
    bind_it(&cloud, &wish(), Patience::default()).await.unwrap();
    {
        let mut state = cloud.state();
        let mapping = &mut state.mappings[0];
        (mapping.retries_max, mapping.settings.batch_records, mapping.settings.on_failure) = (3, 77, None);
    }
    let bound = bind_it(&cloud, &wish(), Patience::default()).await.unwrap();
    assert!(matches!(&bound.done[..], [Step::MendMapping { because, .. }] if because.contains("3 retries")));
    let mapping = bound.sight.mapping().unwrap();
    assert_eq!(mapping.settings.batch_records, 77);
    assert_eq!(mapping.settings.on_failure.as_deref(), Some("arn:aws:s3:::failed"));
    // What filters keep from the journal nobody but their author can say.
    cloud.state().mappings[0].filters = 1;
    let error = bind_it(&cloud, &wish(), Patience::default()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ProtectError::Filters { .. })), "{error}");
}

#[tokio::test]
async fn a_plan_names_every_step_before_any_is_taken() {
    let cloud = FakeCloud::default();
    cloud.make_table("notes", Some("NEW_IMAGE"));
    let sight = observe(&cloud, &cloud, FUNCTION, &name("notes")).await.unwrap();
    let plan = plan(&sight, &Wish { replace_stream: true, ..wish() }).unwrap();
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps.len(), 8, "{steps:?}");
    for (at, part) in [
        (0, "switch the stream off"),
        (2, "switch a stream on"),
        (4, "TRIM_HORIZON"),
        (6, "baseline"),
        (7, "read the stream"),
    ] {
        assert!(steps[at].contains(part), "{steps:?}");
    }
    assert!(cloud.state().changes.is_empty());
    let missing = observe(&cloud, &cloud, FUNCTION, &name("other")).await.unwrap();
    assert!(matches!(super::plan(&missing, &wish()), Err(ProtectError::NoTable { .. })));
}

#[tokio::test]
async fn unbinding_deletes_the_mappings_and_nothing_else_whatever_answers_are_lost() {
    for call in 1..=6 {
        let cloud = FakeCloud::default();
        cloud.make_table("notes", Some(VIEW_NEEDED));
        bind_it(&cloud, &wish(), Patience::default()).await.unwrap();
        let before = cloud.state().calls;
        cloud.fail(before + call, Fault::After);
        let clock = FakeClock::at(9000);
        unbind(&cloud, &cloud, FUNCTION, &name("notes"), &clock, Patience::default()).await.unwrap();
        let state = cloud.state();
        assert!(state.mappings.is_empty());
        assert!(state.tables[&name("notes")].stream.as_ref().unwrap().1, "the stream stays on");
    }
}

#[tokio::test]
async fn tables_are_chosen_by_name_prefix_and_tag() {
    let cloud = FakeCloud::default();
    for table in ["notes", "notes-dev", "users", "tagged"] {
        cloud.make_table(table, None);
    }
    cloud.state().tables.get_mut(&name("tagged")).unwrap().tags.insert("stage".to_owned(), "prod".to_owned());
    let chosen = |text: &'static str| {
        let cloud = &cloud;
        async move {
            let selection = Selection::of_text(text).unwrap();
            let chosen = tables(cloud, &selection).await.unwrap();
            chosen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
    };
    assert_eq!(chosen("notes-*,tag:stage=prod").await, "notes-dev tagged");
    assert_eq!(chosen("*").await, "notes notes-dev tagged users");
    // A name is looked after whether it exists or not.
    assert_eq!(chosen("gone-table").await, "gone-table");
}
