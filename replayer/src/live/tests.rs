use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue as SdkValue;
use journal::append::{Batch, append};
use journal::documents::StartDocument;
use journal::error::Kind;
use journal::model::{
    AttributeValue, ChangeKind, ChangeRecord, ItemKey, KeyAttribute, KeyAttributes, KeyType, SequenceNumber, StreamArn,
    StreamRecord,
};
use journal::source::sdk::item_to_sdk;
use journal::store::WriteStore as _;
use journal::store::memory::MemoryStore;

use super::*;
use crate::cut::{Cut, CutRequest};
use crate::plan::{ReplayRequest, plan};
use crate::restore::fake::{FakeService, FakeState};
use crate::restore::scene::options;
use crate::restore::{SdkItem, TargetTable};

fn note(content: &str) -> Attributes {
    Attributes::from([("content".to_owned(), AttributeValue::S(content.to_owned()))])
}

fn id(number: u64) -> Attributes {
    Attributes::from([("noteId".to_owned(), AttributeValue::S(format!("note-{number:05}")))])
}

fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap()
}

/// A journal and the table that it is of. At 1000 there are the notes 0 to 299; later note 1 is changed, 2 is removed, 3 is changed and
/// changed back, 400 is new.
struct World {
    store: Arc<MemoryStore>,
    items: BTreeMap<u64, Attributes>,
    sequence: u64,
}

impl World {
    async fn new() -> Self {
        let mut world = Self { store: Arc::new(MemoryStore::new()), items: BTreeMap::new(), sequence: 0 };
        let start = StartDocument { covered_from: Second::new(500).unwrap(), whole: true, reason: "new".to_owned() };
        let timeline = Self::stream("1").timeline().clone();
        let document = journal::documents::to_bytes(&start).unwrap();
        world.store.put_new(&journal::layout::start_document(&timeline), document).await.unwrap();
        for number in 0..300 {
            world.change("1", 1000, number, Some(note("first"))).await;
        }
        for (second, number, item) in [
            (2000, 1, Some(note("second"))),
            (2001, 2, None),
            (2002, 3, Some(note("second"))),
            (2003, 3, Some(note("first"))),
            (2004, 400, Some(note("new"))),
        ] {
            world.change("1", second, number, item).await;
        }
        world
    }

    fn stream(label: &str) -> StreamArn {
        StreamArn::parse(&format!("arn:aws:dynamodb:us-east-1:0:table/notes-table-dev/stream/{label}")).unwrap()
    }

    async fn change(&mut self, label: &str, second: u64, number: u64, item: Option<Attributes>) {
        self.sequence += 1;
        let old = match &item {
            Some(item) => self.items.insert(number, item.clone()),
            None => self.items.remove(&number),
        };
        let kind = match (&old, &item) {
            (None, _) => ChangeKind::Insert,
            (_, None) => ChangeKind::Remove,
            _ => ChangeKind::Modify,
        };
        let image = |item: &Option<Attributes>| item.as_ref().map(|item| Image::encode(item).unwrap());
        let record = ChangeRecord {
            key: ItemKey::encode(&names(), &id(number)).unwrap(),
            sequence: SequenceNumber::parse(&(100 + self.sequence).to_string()).unwrap(),
            second: Some(Second::new(second).unwrap()),
            kind,
            old: image(&old),
            new: image(&item),
            user: None,
        };
        let records = vec![StreamRecord { stream: Self::stream(label), key_attributes: names(), record }];
        append(&*self.store, Batch { records, quarantined: Vec::new() }).await.unwrap();
    }

    fn service(&self) -> Arc<FakeService> {
        let items = self.items.iter().map(|(number, item)| {
            let mut whole = item.clone();
            whole.extend(id(*number));
            item_to_sdk(&whole)
        });
        let target = TargetTable {
            arn: None,
            id: Some("1".to_owned()),
            created_milliseconds: None,
            status: "ACTIVE".to_owned(),
            indexes_active: true,
        };
        FakeService::with(FakeState::holding(target, items.collect::<Vec<SdkItem>>()))
    }

    async fn compare(
        &self,
        service: &Arc<FakeService>,
        reach: Reach,
        keys: impl Fn(&KeySchema) -> KeySelection,
    ) -> Result<(LiveReport, Vec<String>)> {
        let request = ReplayRequest {
            table: Self::stream("1").timeline().table.clone(),
            cut: CutRequest::Cut(Cut::at(Second::new(1000).unwrap())),
            timeline: None,
            allow_partial: false,
        };
        let planned = plan(&*self.store, &request).await?;
        let (options, never) = (options(3), Interrupt::never());
        let live = Live {
            store: self.store.clone(),
            plan: &planned,
            keys: keys(planned.key.as_ref().unwrap()),
            service: service.clone(),
            options: &options,
            interrupt: &never,
        };
        let mut told = Vec::new();
        let mut visit = |difference: ItemDifference| {
            let text = |item: &Option<Attributes>| match item.as_ref().map(|item| &item["content"]) {
                Some(AttributeValue::S(text)) => text.clone(),
                _ => "-".to_owned(),
            };
            let AttributeValue::S(id) = &difference.key["noteId"] else { panic!("{difference:?}") };
            told.push(format!("{id} {} {}", text(&difference.before), text(&difference.after)));
            Ok(())
        };
        let report = live.compare(reach, &mut visit).await?;
        Ok((report, told))
    }
}

fn all(_: &KeySchema) -> KeySelection {
    KeySelection::default()
}

fn counts(report: &LiveReport) -> (u64, u64, u64, u64) {
    let CompareReport { added, removed, changed, changed_back, .. } = report.compared;
    (added, removed, changed, changed_back)
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_changed_since_the_cut_are_read_and_no_others() {
    let world = World::new().await;
    let service = world.service();
    let expected = ["note-00001 first second", "note-00002 first -", "note-00400 - new"];
    let (report, told) = world.compare(&service, Reach::Changed, all).await.unwrap();
    assert_eq!((told.as_slice(), counts(&report)), (&expected.map(str::to_owned)[..], (1, 1, 1, 1)));
    assert_eq!((report.unexplained, report.through), (0, Some(Second::new(2004).unwrap())));
    assert_eq!(service.lock().scanned, 0);
    let (report, told) = world.compare(&service, Reach::Whole, all).await.unwrap();
    assert_eq!((told.as_slice(), counts(&report)), (&expected.map(str::to_owned)[..], (1, 1, 1, 298)));
    let prefix = |schema: &KeySchema| schema.parse_prefix("note-004").unwrap();
    for reach in [Reach::Changed, Reach::Whole] {
        let (_, told) = world.compare(&service, reach, prefix).await.unwrap();
        assert_eq!(told, expected[2..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_does_not_know_is_counted_or_found_by_a_whole_comparison() {
    let world = World::new().await;
    let service = world.service();
    let put = |number: u64, content: &str| {
        let key = format!("note-{number:05}");
        let text = SdkValue::S(content.to_owned());
        service.lock().items.get_mut(&key).unwrap().insert("content".to_owned(), text);
    };
    put(1, "third");
    put(3, "third");
    put(77, "unseen");
    let (report, told) = world.compare(&service, Reach::Changed, all).await.unwrap();
    let expected = [
        "note-00001 first third",
        "note-00002 first -",
        "note-00003 first third",
        "note-00077 first unseen",
        "note-00400 - new",
    ];
    let seen: Vec<&str> = expected.into_iter().filter(|line| !line.contains("unseen")).collect();
    assert_eq!((told, report.unexplained), (seen.iter().map(ToString::to_string).collect(), 2));
    let (_, told) = world.compare(&service, Reach::Whole, all).await.unwrap();
    assert_eq!(told, expected);
    let one = |text: &'static str| move |schema: &KeySchema| KeySelection::only(&schema.parse_key(text).unwrap());
    let (report, told) = world.compare(&service, Reach::One, one("note-00077")).await.unwrap();
    assert_eq!((told, report.compared.differs()), (vec!["note-00077 first unseen".to_owned()], true));
    let (report, told) = world.compare(&service, Reach::One, one("note-00078")).await.unwrap();
    assert_eq!((told.len(), counts(&report)), (0, (0, 0, 0, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_spelled_otherwise_do_not_differ() {
    let number = |text: &str| {
        Attributes::from([("n".to_owned(), AttributeValue::N(journal::model::Number::parse(text).unwrap()))])
    };
    assert_eq!(Shape::of(Some(&number("1E2"))), Shape::of(Some(&number("100.0"))));
    assert_ne!(Shape::of(Some(&number("1E2"))), Shape::of(Some(&number("101"))));
    assert_ne!(Shape::of(Some(&Attributes::new())), Shape::of(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_changes_are_not_all_in_one_stretch_only_a_whole_comparison_answers() {
    let mut world = World::new().await;
    world.items.clear();
    world.change("2", 5000, 9, Some(note("another table's"))).await;
    let service = world.service();
    let error = world.compare(&service, Reach::Changed, all).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.hint().unwrap().contains("--whole"), "{error}");
    let (report, _) = world.compare(&service, Reach::Whole, all).await.unwrap();
    assert_eq!(counts(&report), (0, 299, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_ends_the_comparison_with_its_reason() {
    let world = World::new().await;
    for call in 1..4 {
        let service = world.service();
        service.lock().dies_at = Some((call, false));
        let error = world.compare(&service, Reach::Changed, all).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "call {call}: {error}");
    }
}
