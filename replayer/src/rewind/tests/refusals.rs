//! Rewinds that are refused or stopped, and what they leave.

use journal::documents::{EndDocument, GapDocument};

use super::*;

#[tokio::test]
async fn what_cannot_be_rewound_is_refused_with_the_reason() {
    let (mut world, _) = bad_deploy().await;
    let outside = RewindRequest { from: CutRequest::Cut(Cut::at(second(5000))), ..request() };
    assert_eq!(world.plan(&outside).await.unwrap_err().kind(), Kind::Gap);
    let turned = RewindRequest {
        from: CutRequest::Cut(Cut::at(second(CUT + 10))),
        to: Some(CutRequest::Cut(Cut::at(second(CUT)))),
        ..request()
    };
    assert!(matches!(world.plan(&turned).await.unwrap_err().downcast_ref(), Some(RewindError::Order { .. })));
    assert!(matches!(world.runs().load("nothing").await.unwrap_err().downcast_ref(), Some(RewindError::NoRun { .. })));

    world.table.lock().gone = true;
    let error = world.plan(&request()).await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("replay restore --table notes-table-dev --at 1970-01-01T00:16:40Z"),
        "{error}"
    );
    world.table.lock().gone = false;

    let gap = GapDocument {
        shard: None,
        after_sequence: None,
        before_sequence: None,
        from: second(CUT + 2),
        to: second(CUT + 4),
        reason: "records expired".to_owned(),
    };
    let key = format!("{}one.json", layout::gaps_folder(stream().timeline()));
    world.store.put_new(&key, documents::to_bytes(&gap).unwrap()).await.unwrap();
    let error = world.plan(&request()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RewindError::Gap { .. })), "{error}");
    world.store.delete(&key).await.unwrap();

    // The table ends, and another of its name begins.
    let end = EndDocument { at: second(CUT + 20), reason: "table deleted".to_owned(), last_sequence: None };
    let key = layout::end_document(stream().timeline());
    world.store.put_new(&key, documents::to_bytes(&end).unwrap()).await.unwrap();
    let again = StreamArn::parse("arn:aws:dynamodb:us-east-1:0:table/notes-table-dev/stream/2").unwrap();
    let start = StartDocument { covered_from: second(CUT + 30), whole: true, reason: "a test".to_owned() };
    let key = layout::start_document(again.timeline());
    world.store.put_new(&key, documents::to_bytes(&start).unwrap()).await.unwrap();
    let error = world.plan(&request()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RewindError::Recreated { .. })), "{error}");
    assert!(error.hint().unwrap().contains("replay restore --table notes-table-dev"));
    world.follow(CUT + 40).await;
}

#[tokio::test]
async fn a_run_is_never_carried_out_on_another_table_of_the_name() {
    let (world, _) = bad_deploy().await;
    world.table.lock().id = Some("one".to_owned());
    let mut plan = world.plan(&request()).await.unwrap();
    let runs = world.runs();
    let (interrupt, options) = (Interrupt::never(), options());
    let rewind = world.rewind(&runs, &options, &interrupt);
    let document = rewind.begin("run-1", &mut plan).await.unwrap();
    world.table.lock().id = Some("two".to_owned());
    let error = rewind.carry_out(&document, false).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RewindError::OtherTable { .. })), "{error}");
    assert_eq!(world.table.lock().writes, 0);

    // One whose service gives no id, with another key.
    world.table.lock().id = None;
    let merge = MergeOptions::default();
    let undone = || plan_undo(&runs, &*world.table, "run-1", &merge, &interrupt);
    undone().await.unwrap();
    let attribute = journal::model::KeyAttribute { name: "id".to_owned(), key_type: journal::model::KeyType::S };
    world.table.lock().key = Some(journal::model::KeyAttributes::new(vec![attribute]).unwrap());
    let error = undone().await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RewindError::OtherTable { .. })), "{error}");
}

#[tokio::test]
async fn a_stop_leaves_a_run_that_goes_on() {
    let (world, before) = bad_deploy().await;
    let mut plan = world.plan(&request()).await.unwrap();
    let runs = world.runs();
    let (interrupt, options) = (Interrupt::manual(), ApplyOptions { concurrency: 1, ..options() });
    let asked = interrupt.clone();
    let stop = move |done, _| {
        if done == 2 {
            asked.trigger();
        }
    };
    let rewind = Rewind { progress: &stop, ..world.rewind(&runs, &options, &interrupt) };
    let document = rewind.begin("run-1", &mut plan).await.unwrap();
    let error = rewind.carry_out(&document, false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert!(can_continue(&error));
    let never = Interrupt::never();
    let report = Rewind { interrupt: &never, ..rewind.clone() }.carry_out(&document, true).await.unwrap();
    assert_eq!(report.written(), 5);
    assert_eq!(world.table.items(), before);
    assert!(world.table.operations() > 0);
}

#[tokio::test]
async fn planning_stops_when_it_is_asked_to() {
    let (world, _) = bad_deploy().await;
    let interrupt = Interrupt::manual();
    interrupt.trigger();
    let store: Arc<dyn ReadStore> = Arc::<MemoryStore>::clone(&world.store);
    let planned = plan_rewind(store, &*world.table, &request(), &MergeOptions::default(), &interrupt).await;
    assert_eq!(planned.unwrap_err().kind(), Kind::Interrupted);
}

#[tokio::test]
async fn a_step_that_somebody_else_has_done_otherwise_is_told() {
    let (world, _) = bad_deploy().await;
    let mut plan = world.plan(&request()).await.unwrap();
    let _ = world.apply("run-1", &mut plan).await;
    let runs = world.runs();
    let document = runs.load("run-1").await.unwrap();
    let mut done = runs.outcome(&document, 0).await.unwrap().unwrap();
    runs.done(&document, 0, &done).await.unwrap();
    done.outcomes[0] = Outcome::Conflict;
    let error = runs.done(&document, 0, &done).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RewindError::Busy { step: 0, .. })), "{error}");
}

/// Begins a run, and does nothing of it.
async fn begun(world: &World, run: &str, options: &ApplyOptions) -> RunDocument {
    let mut plan = world.plan(&request()).await.unwrap();
    let (runs, interrupt) = (world.runs(), Interrupt::never());
    world.rewind(&runs, options, &interrupt).begin(run, &mut plan).await.unwrap()
}

#[tokio::test]
async fn a_run_whose_documents_do_not_fit_together_is_refused() {
    let (world, _) = bad_deploy().await;
    let runs = world.runs();
    let mut document = begun(&world, "run-1", &options()).await;
    assert_eq!(document.steps, [3, 2]);
    let few = StepDocument { outcomes: vec![Outcome::Written], ..StepDocument::default() };
    runs.done(&document, 0, &few).await.unwrap();
    let error = runs.outcome(&document, 0).await.unwrap_err();
    assert!(error.to_string().contains("it has 1 outcomes"), "{error}");
    document.steps[0] = 2;
    let error = runs.items(&document, 0).await.unwrap_err();
    assert!(error.to_string().contains("it has 3 items"), "{error}");
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn a_step_is_bounded_in_items_and_in_bytes() {
    let (world, _) = bad_deploy().await;
    let line = begun(&world, "run-1", &ApplyOptions { step_bytes: 1, ..options() }).await;
    assert_eq!(line.steps, [1; 5], "an item may have more bytes than a step");
    let all = begun(&world, "run-2", &ApplyOptions { step_items: 500, ..options() }).await;
    assert_eq!(all.steps, [5]);
}

#[tokio::test]
async fn a_plan_file_of_another_version_or_with_other_counts_is_refused() {
    let (world, _) = bad_deploy().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.plan");
    save_plan(&mut world.plan(&request()).await.unwrap(), &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, items) = text.split_once('\n').unwrap();
    let load = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut head: serde_json::Value = serde_json::from_str(head).unwrap();
        edit(&mut head);
        std::fs::write(&path, format!("{head}\n{items}")).unwrap();
        load_plan(&path, &MergeOptions::default()).map(|(header, items)| (header.items, items.items()))
    };
    assert_eq!(load(&|_| {}).unwrap(), (5, 5));
    for count in ["put_back", "change_back", "delete", "clashes", "undoes", "keeps", "write_units"] {
        let error = load(&|head| head["counts"][count] = serde_json::json!(77)).unwrap_err();
        assert!(error.to_string().contains("cut or edited"), "{count}: {error}");
    }
    for (name, value) in [("version", serde_json::json!(2)), ("format", serde_json::json!("another plan"))] {
        let error = load(&|head| head[name] = value.clone()).unwrap_err();
        assert!(error.to_string().contains("of version"), "{error}");
    }
}
