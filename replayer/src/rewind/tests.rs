mod images;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use journal::append::Batch;
use journal::documents::{self, CheckpointDocument, StartDocument};
use journal::error::{Error, Kind};
use journal::interrupt::Interrupt;
use journal::layout;
use journal::model::{
    AttributeValue, Attributes, ChangeKind, ChangeRecord, Image, ItemKey, Second, SequenceNumber, StreamArn,
    StreamRecord, TableName, UserIdentity,
};
use journal::store::memory::{FaultPlan, FaultyStore, MemoryStore};
use journal::store::{ReadStore, WriteStore};

use super::fake::{Changed, FakeTable, Fault, key_of, names};
use super::*;
use crate::audit::Actor;
use crate::cut::{Cut, CutRequest};
use crate::merge::MergeOptions;

const CUT: u64 = 1000;

fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:us-east-1:0:table/notes-table-dev/stream/1").unwrap()
}

fn table_name() -> TableName {
    TableName::parse("notes-table-dev").unwrap()
}

fn second(at: u64) -> Second {
    Second::new(at).unwrap()
}

fn note(content: &str, likes: u32) -> Attributes {
    Attributes::from([
        ("content".to_owned(), AttributeValue::S(content.to_owned())),
        ("likes".to_owned(), AttributeValue::S(likes.to_string())),
    ])
}

fn request() -> RewindRequest {
    RewindRequest {
        table: table_name(),
        from: CutRequest::Cut(Cut::at(second(CUT))),
        to: None,
        timeline: None,
        only: Vec::new(),
        except: Vec::new(),
        by: None,
        on_clash: OnClash::Leave,
    }
}

/// A table with its journal: what is done to the table goes into the journal when it is told to.
struct World {
    store: Arc<MemoryStore>,
    table: Arc<FakeTable>,
    /// Changes that the journal has.
    read: usize,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        journal::store::init_in(&*store).await.unwrap();
        let start = StartDocument { covered_from: second(1), whole: true, reason: "a test".to_owned() };
        let key = layout::start_document(stream().timeline());
        store.put_new(&key, documents::to_bytes(&start).unwrap()).await.unwrap();
        let world = Self { store, table: Arc::new(FakeTable::default()), read: 0 };
        world.table.lock().tells = true;
        world
    }

    fn put(&self, id: &str, item: Option<Attributes>) {
        self.table.put(id, item);
    }

    /// The stream comes into the journal, all of it at one second.
    async fn follow(&mut self, at: u64) {
        self.follow_by(at, None).await;
    }

    async fn follow_by(&mut self, at: u64, user: Option<UserIdentity>) {
        self.append(Some(second(at)), user).await;
        let checkpoint = CheckpointDocument {
            shard: "shard".to_owned(),
            parent: None,
            last_sequence: Some(SequenceNumber::parse(&self.read.max(1).to_string()).unwrap()),
            last_second: Some(second(at)),
            read_through: Some(second(at + 5)),
            finished: false,
        };
        let key = layout::checkpoint_document(stream().timeline(), "shard");
        self.store.replace(&key, documents::to_bytes(&checkpoint).unwrap()).await.unwrap();
    }

    /// The stream's records come into the journal, with a second or without one.
    async fn append(&mut self, at: Option<Second>, user: Option<UserIdentity>) {
        let changes: Vec<Changed> = self.table.lock().changes[self.read..].to_vec();
        let image = |item: &Option<Attributes>| item.as_ref().map(|item| Image::encode(item).unwrap());
        let records: Vec<StreamRecord> = changes
            .iter()
            .enumerate()
            .map(|(number, (id, old, new))| StreamRecord {
                stream: stream(),
                key_attributes: names(),
                record: ChangeRecord {
                    key: ItemKey::encode(&names(), &key_of(id)).unwrap(),
                    sequence: SequenceNumber::parse(&(self.read + number + 1).to_string()).unwrap(),
                    second: at,
                    kind: match (old, new) {
                        (None, _) => ChangeKind::Insert,
                        (_, None) => ChangeKind::Remove,
                        _ => ChangeKind::Modify,
                    },
                    old: image(old),
                    new: image(new),
                    user: user.clone(),
                },
            })
            .collect();
        self.read += records.len();
        if !records.is_empty() {
            journal::append::append(&*self.store, Batch { records, quarantined: Vec::new() }).await.unwrap();
        }
    }

    async fn plan(&self, request: &RewindRequest) -> Result<Plan, Error> {
        let store: Arc<dyn ReadStore> = Arc::<MemoryStore>::clone(&self.store);
        plan_rewind(store, &*self.table, request, &MergeOptions::default(), &Interrupt::never()).await
    }

    fn runs(&self) -> Runs {
        Runs::writing(Arc::<MemoryStore>::clone(&self.store))
    }

    /// Carries out runs, and tells nobody how far it is.
    fn rewind<'a>(&self, runs: &'a Runs, options: &'a ApplyOptions, interrupt: &'a Interrupt) -> Rewind<'a> {
        Rewind { runs, table: Arc::<FakeTable>::clone(&self.table), options, interrupt, progress: &|_, _| {} }
    }

    async fn apply_with(&self, run: &str, plan: &mut Plan, options: &ApplyOptions) -> Result<RewindReport, Error> {
        let (runs, interrupt) = (self.runs(), Interrupt::never());
        let rewind = self.rewind(&runs, options, &interrupt);
        let document = rewind.begin(run, plan).await?;
        rewind.carry_out(&document, false).await
    }

    async fn apply(&self, run: &str, plan: &mut Plan) -> RewindReport {
        self.apply_with(run, plan, &options()).await.unwrap()
    }

    async fn undo(&self, run: &str) -> Plan {
        plan_undo(&self.runs(), &*self.table, run, &MergeOptions::default(), &Interrupt::never()).await.unwrap()
    }
}

fn options() -> ApplyOptions {
    ApplyOptions { pause: Duration::from_micros(10), step_items: 3, concurrency: 4, ..ApplyOptions::default() }
}

fn keys(plan: &mut Plan) -> BTreeSet<String> {
    plan.items.read().unwrap().map(|item| super::fake::id_of(&item.unwrap().key)).collect()
}

/// Ten notes; after the cut three are overwritten, one deleted, one made, one edited and edited back.
async fn bad_deploy() -> (World, BTreeMap<String, Attributes>) {
    let mut world = World::new().await;
    for number in 0..10 {
        world.put(&format!("note-{number}"), Some(note("good", number)));
    }
    world.follow(CUT).await;
    let before = world.table.items();
    for number in 0..3 {
        world.put(&format!("note-{number}"), Some(note("bad", number)));
    }
    world.put("note-3", None);
    world.put("made", Some(note("bad", 0)));
    world.put("note-9", Some(note("bad", 9)));
    world.put("note-9", Some(note("good", 9)));
    world.follow(CUT + 10).await;
    (world, before)
}

#[tokio::test]
async fn a_rewind_touches_only_what_changed_and_its_undo_brings_back_the_state_before() {
    let (world, before) = bad_deploy().await;
    let after = world.table.items();
    let mut plan = world.plan(&request()).await.unwrap();
    let counts = plan.header.counts;
    assert_eq!((counts.put_back, counts.change_back, counts.delete, counts.changed_back), (1, 3, 1, 1));
    assert_eq!((counts.undoes, counts.keeps, counts.clashes, counts.write_units), (5, 0, 0, 5));
    assert_eq!(world.table.requests(), (0, 0));

    let report = world.apply("run-1", &mut plan).await;
    assert_eq!(world.table.items(), before);
    assert_eq!((report.put_back, report.changed_back, report.deleted, report.left()), (1, 3, 1, 0));
    assert_eq!((report.by_expression, report.by_read), (5, 0));
    assert_eq!(world.table.requests(), (0, 5));

    let mut back = world.undo("run-1").await;
    let report = world.apply("run-2", &mut back).await;
    assert_eq!(report.took_back.as_deref(), Some("run-1"));
    assert_eq!(world.table.items(), after);
    // And forth again.
    let mut forth = world.undo("run-2").await;
    world.apply("run-3", &mut forth).await;
    assert_eq!(world.table.items(), before);
}

#[tokio::test]
async fn an_item_that_is_not_what_the_journal_says_is_left_alone_and_listed() {
    for tells in [true, false] {
        let (world, mut before) = bad_deploy().await;
        world.table.lock().tells = tells;
        let mut plan = world.plan(&request()).await.unwrap();
        // The journal has not seen these.
        world.put("note-1", Some(note("a good edit", 1)));
        world.put("note-3", Some(note("anew", 1)));
        world.put("made", None);
        let report = world.apply("run-1", &mut plan).await;
        assert_eq!((report.conflicts, report.already, report.written()), (2, 1, 2));
        let listed: Vec<&str> = report.left_alone.iter().map(|conflict| conflict.key.as_str()).collect();
        assert_eq!(listed, ["noteId=note-1", "noteId=note-3"]);
        assert_eq!(report.left_alone[0].reason, "it changed: content");
        before.insert("note-1".to_owned(), note("a good edit", 1));
        before.insert("note-3".to_owned(), note("anew", 1));
        assert_eq!(world.table.items(), before);
        // What the run did not write, its undo does not touch.
        let mut back = world.undo("run-1").await;
        assert_eq!(keys(&mut back), BTreeSet::from(["note-0".to_owned(), "note-2".to_owned()]));
    }
}

#[tokio::test]
async fn conflicts_are_overwritten_when_told_and_the_undo_brings_back_what_was_there() {
    let (world, before) = bad_deploy().await;
    let mut plan = world.plan(&request()).await.unwrap();
    world.put("note-1", Some(note("a good edit", 1)));
    let there = world.table.items();
    let told = ApplyOptions { overwrite: true, ..options() };
    let report = world.apply_with("run-1", &mut plan, &told).await.unwrap();
    assert_eq!((report.overwritten, report.conflicts, report.written()), (1, 0, 5));
    assert_eq!(world.table.items(), before);
    let mut back = world.undo("run-1").await;
    world.apply("run-2", &mut back).await;
    assert_eq!(world.table.items(), there);
}

#[tokio::test]
async fn an_item_too_large_for_a_condition_is_read_first_and_the_report_says_so() {
    let mut world = World::new().await;
    let large = |text: &str| Attributes::from([("blob".to_owned(), AttributeValue::S(text.repeat(3000)))]);
    for id in ["a", "b"] {
        world.put(id, Some(large("ok")));
    }
    world.follow(CUT).await;
    for id in ["a", "b"] {
        world.put(id, Some(large("no")));
    }
    world.follow(CUT + 10).await;
    let mut plan = world.plan(&request()).await.unwrap();
    assert_eq!(plan.header.counts.write_units, 12);
    world.put("b", Some(large("so")));
    let report = world.apply("run-1", &mut plan).await;
    assert_eq!((report.by_expression, report.by_read, report.changed_back, report.conflicts), (0, 2, 1, 1));
    assert_eq!(world.table.items()["b"], large("so"));
    // A condition of its size would have held: that it is another one is seen before anything is written.
    assert_eq!(world.table.requests(), (2, 1));
}

#[tokio::test]
async fn an_attribute_that_appears_in_the_last_moment_is_put_back() {
    let (world, mut before) = bad_deploy().await;
    let mut plan = world.plan(&request()).await.unwrap();
    let more = Attributes::from([("sneaked".to_owned(), AttributeValue::Bool(true))]);
    world.table.lock().sneaks.insert("note-1".to_owned(), [more.clone()].into());
    let report = world.apply("run-1", &mut plan).await;
    assert_eq!((report.conflicts, report.written()), (1, 4));
    let mut whole = note("bad", 1);
    whole.extend(more);
    before.insert("note-1".to_owned(), whole);
    assert_eq!(world.table.items(), before);
}

#[tokio::test]
async fn a_window_is_undone_and_later_good_edits_stay_or_clash() {
    let mut world = World::new().await;
    for id in ["a", "b", "c"] {
        world.put(id, Some(note("good", 1)));
    }
    world.follow(CUT).await;
    for id in ["a", "b", "c"] {
        world.put(id, Some(note("bad", 1)));
    }
    world.follow(CUT + 10).await;
    world.put("a", Some(note("bad", 2)));
    world.put("b", Some(note("an edit", 1)));
    world.put("d", Some(note("new", 1)));
    world.follow(CUT + 20).await;
    let window = RewindRequest { to: Some(CutRequest::Cut(Cut::at(second(CUT + 10)))), ..request() };
    let mut plan = world.plan(&window).await.unwrap();
    let counts = plan.header.counts;
    assert_eq!((counts.change_back, counts.clashes, counts.undoes, counts.keeps), (3, 1, 3, 2));
    let report = world.apply("run-1", &mut plan).await;
    assert_eq!((report.changed_back, report.clashes), (2, 1));
    assert!(report.left_alone[0].reason.contains("content"));
    let expected = [("a", note("good", 2)), ("b", note("an edit", 1)), ("c", note("good", 1)), ("d", note("new", 1))];
    let expected: BTreeMap<String, Attributes> = expected.map(|(id, item)| (id.to_owned(), item)).into();
    assert_eq!(world.table.items(), expected);

    let earlier = RewindRequest { on_clash: OnClash::Earlier, ..window };
    world.follow(CUT + 30).await;
    let mut plan = world.plan(&earlier).await.unwrap();
    assert_eq!(keys(&mut plan), BTreeSet::from(["b".to_owned()]));
    world.apply("run-2", &mut plan).await;
    assert_eq!(world.table.items()["b"], note("good", 1));
}

#[tokio::test]
async fn only_deletes_by_time_to_live_are_undone_when_asked() {
    let mut world = World::new().await;
    for id in ["a", "b", "c"] {
        world.put(id, Some(note("good", 1)));
    }
    world.follow(CUT).await;
    world.put("a", None);
    world.put("b", Some(note("edited", 1)));
    world.follow(CUT + 10).await;
    world.put("b", None);
    world.follow_by(CUT + 20, Some(UserIdentity::ttl())).await;
    let by = |by| RewindRequest { by: Some(by), ..request() };
    let mut plan = world.plan(&by(Actor::Ttl)).await.unwrap();
    assert_eq!(keys(&mut plan), BTreeSet::from(["b".to_owned()]));
    world.apply("run-1", &mut plan).await;
    assert_eq!(world.table.items()["b"], note("edited", 1));
    let mut plan = world.plan(&by(Actor::User)).await.unwrap();
    // What a user edited was deleted by time to live later: a clash over the item.
    assert_eq!((keys(&mut plan), plan.header.counts.clashes), (BTreeSet::from(["a".to_owned(), "b".to_owned()]), 1));
}

/// Of the step that a run stood at nobody knows what was written; the steps after it were never begun.
#[tokio::test]
async fn what_a_stopped_run_did_not_begin_is_neither_taken_back_nor_taken_for_its_own() {
    let mut world = World::new().await;
    let ids = ["a", "b", "c", "d", "e"];
    for (content, at) in [("good", CUT), ("bad", CUT + 10)] {
        for id in ids {
            world.put(id, Some(note(content, 1)));
        }
        world.follow(at).await;
    }
    world.put("b", Some(note("an edit", 1)));
    world.follow(CUT + 20).await;
    let window = RewindRequest { to: Some(CutRequest::Cut(Cut::at(second(CUT + 10)))), ..request() };
    let mut plan = world.plan(&window).await.unwrap();
    assert_eq!((plan.header.items, plan.header.counts.clashes), (5, 1));
    // Steps of three items: it looks at the table, writes one, and is gone.
    world.table.restart();
    world.table.stop_after(2);
    let one_by_one = ApplyOptions { concurrency: 1, ..options() };
    world.apply_with("run-1", &mut plan, &one_by_one).await.unwrap_err();
    world.table.restart();
    let mut back = world.undo("run-1").await;
    assert_eq!(keys(&mut back), ["a", "c"].map(str::to_owned).into());

    // Somebody else mends an item of the second step meanwhile.
    world.put("e", Some(note("good", 1)));
    let (runs, never) = (world.runs(), Interrupt::never());
    let rewind = world.rewind(&runs, &one_by_one, &never);
    let report = rewind.carry_out(&runs.load("run-1").await.unwrap(), true).await.unwrap();
    assert_eq!((report.written(), report.already, report.clashes), (3, 1, 1), "{report:?}");
    let mut back = world.undo("run-1").await;
    assert_eq!(keys(&mut back), ["a", "c", "d"].map(str::to_owned).into());
}

#[tokio::test]
async fn a_change_without_a_second_counts_as_at_the_one_before_it_of_its_own_item() {
    let mut world = World::new().await;
    world.put("a", Some(note("good", 1)));
    world.put("c", Some(note("good", 1)));
    world.follow(CUT).await;
    // With none before it, it is older than every cut.
    world.put("b", Some(note("without a second", 1)));
    world.append(None, None).await;
    for id in ["a", "b", "c"] {
        world.put(id, Some(note("bad", 1)));
    }
    world.follow(CUT + 10).await;
    world.put("c", Some(note("worse", 1)));
    world.append(None, None).await;
    let mut plan = world.plan(&request()).await.unwrap();
    assert_eq!((plan.header.counts.undoes, plan.header.counts.change_back, plan.header.items), (4, 3, 3));
    world.apply("run-1", &mut plan).await;
    let expected = [("a", "good"), ("b", "without a second"), ("c", "good")];
    let expected: BTreeMap<String, Attributes> = expected.map(|(id, text)| (id.to_owned(), note(text, 1))).into();
    assert_eq!(world.table.items(), expected);
}

#[tokio::test]
async fn only_and_except_choose_items() {
    let (world, _) = bad_deploy().await;
    let own = |text: &str| vec![text.to_owned()];
    let only = RewindRequest { only: own("note-*"), except: own("note-1"), ..request() };
    let mut plan = world.plan(&only).await.unwrap();
    assert_eq!(keys(&mut plan), ["note-0", "note-2", "note-3"].map(str::to_owned).into());
    let condition = RewindRequest { only: own("likes = '3' OR noteId = 'made'"), ..request() };
    let mut plan = world.plan(&condition).await.unwrap();
    assert_eq!(keys(&mut plan), ["made", "note-3"].map(str::to_owned).into());
    let wrong = RewindRequest { only: own("likes == '3'"), ..request() };
    let error = world.plan(&wrong).await.unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains('^'), "{error}");
}

#[tokio::test]
async fn a_plan_that_the_journal_moved_past_is_told_apart_from_one_that_still_holds() {
    let (mut world, _) = bad_deploy().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deploy.plan");
    let mut plan = world.plan(&request()).await.unwrap();
    save_plan(&mut plan, &path).unwrap();
    assert!(matches!(save_plan(&mut plan, &path), Err(RewindError::PlanFile { .. })));
    let (header, mut items) = load_plan(&path, &MergeOptions::default()).unwrap();
    assert_eq!(header, plan.header);

    // A change of an item and its way back do not matter.
    world.put("note-8", Some(note("x", 8)));
    world.put("note-8", Some(note("good", 8)));
    world.follow(CUT + 20).await;
    let mut today = world.plan(&request()).await.unwrap();
    assert_eq!(moved(&mut items, &mut today).unwrap(), None);

    world.put("note-1", Some(note("a good edit", 1)));
    world.put("note-7", Some(note("edited", 7)));
    world.put("made", None);
    world.follow(CUT + 30).await;
    let mut today = world.plan(&request()).await.unwrap();
    let text = moved(&mut items, &mut today).unwrap().unwrap();
    assert!(text.starts_with("1 of its items have changed since, 1 more would be written, 1 need nothing"), "{text}");
    assert!(text.contains("noteId=note-1") && text.contains("noteId=note-7"), "{text}");

    let edited = std::fs::read_to_string(&path).unwrap().replace("good", "evil");
    std::fs::write(&path, edited).unwrap();
    let error = load_plan(&path, &MergeOptions::default()).unwrap_err();
    assert!(error.to_string().contains("cut or edited"), "{error}");
}

#[tokio::test]
async fn lost_answers_and_throttling_neither_lose_nor_double_an_item() {
    for fault in [Fault::Before, Fault::After, Fault::Throttle] {
        for operation in 2..=6 {
            let (world, before) = bad_deploy().await;
            let after = world.table.items();
            let mut plan = world.plan(&request()).await.unwrap();
            world.table.restart();
            world.table.fault(operation, fault);
            let report = world.apply("run-1", &mut plan).await;
            assert_eq!((report.written(), report.already, report.left()), (5, 0, 0), "{fault:?} {operation}");
            assert_eq!(world.table.items(), before);
            let mut back = world.undo("run-1").await;
            world.apply("run-2", &mut back).await;
            assert_eq!(world.table.items(), after, "{fault:?} {operation}");
        }
    }
}

/// How a killed run is ended.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Resume,
    Undo,
}

/// Stops a run after so many operations of the table or the store; gives whether it was stopped.
async fn kill_and_go_on(table_after: Option<u64>, store_after: Option<u64>, then: Then) -> bool {
    let (world, before) = bad_deploy().await;
    let after = world.table.items();
    let mut plan = world.plan(&request()).await.unwrap();
    world.table.restart();
    if let Some(operations) = table_after {
        world.table.stop_after(operations);
    }
    let faults = store_after.map_or(FaultPlan::none(), |operations| FaultPlan::none().stop_after(operations));
    let store = Arc::new(FaultyStore::new(Arc::<MemoryStore>::clone(&world.store), faults));
    let runs = Runs::writing(store);
    let (interrupt, options) = (Interrupt::never(), options());
    let rewind = world.rewind(&runs, &options, &interrupt);
    let begun = rewind.begin("run-1", &mut plan).await;
    let ended = match &begun {
        Ok(document) => rewind.carry_out(document, false).await.is_ok(),
        Err(_) => false,
    };
    world.table.restart();
    // Another process, perhaps on another machine: it has nothing but the run's documents.
    let runs = world.runs();
    let rewind = Rewind { runs: &runs, ..rewind.clone() };
    let Ok(document) = runs.load("run-1").await else {
        assert_eq!(world.table.items(), after, "a run that was never begun wrote something");
        return !ended;
    };
    if then == Then::Resume {
        let report = rewind.carry_out(&document, true).await.unwrap();
        assert_eq!((report.written(), report.already, report.left()), (5, 0, 0));
        assert_eq!(world.table.items(), before);
    }
    let mut back = world.undo("run-1").await;
    let report = world.apply("run-2", &mut back).await;
    assert_eq!(report.left(), u64::from(false), "{report:?}");
    assert_eq!(world.table.items(), after);
    !ended
}

#[tokio::test]
async fn a_run_killed_at_any_operation_of_the_table_is_continued_or_taken_back_whole() {
    for then in [Then::Resume, Then::Undo] {
        let mut stopped = 0;
        while kill_and_go_on(Some(stopped), None, then).await {
            stopped += 1;
        }
        assert!(stopped >= 6, "{stopped}");
    }
}

#[tokio::test]
async fn a_run_killed_at_any_operation_of_the_store_is_continued_or_taken_back_whole() {
    for then in [Then::Resume, Then::Undo] {
        let mut stopped = 0;
        while kill_and_go_on(None, Some(stopped), then).await {
            stopped += 1;
        }
        assert!(stopped >= 8, "{stopped}");
    }
}
