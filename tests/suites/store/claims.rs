//! What any store must do. Each claim is given an empty store of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use journal::documents::check_journal;
use journal::store::memory::{FaultPlan, FaultyStore};
use journal::store::{PutOutcome, StoreError, WriteStore, init_in};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

type Store = Arc<dyn WriteStore>;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn put(store: &Store, keys: &[&str]) {
    for key in keys {
        assert_eq!(store.put_new(key, bytes(key)).await.unwrap(), PutOutcome::Created, "{key}");
    }
}

async fn listed(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    let page = store.list(prefix, after).await.unwrap();
    assert_eq!(page.next, None);
    page.objects.into_iter().map(|object| object.key).collect()
}

pub(crate) async fn a_put_makes_an_object_once(store: Store) {
    assert_eq!(store.put_new("t/1/a.seg", bytes("body")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new("t/1/a.seg", bytes("body")).await.unwrap(), PutOutcome::AlreadyThere);
    assert_eq!(store.get("t/1/a.seg").await.unwrap(), bytes("body"));
    let objects = store.list_all("").await.unwrap();
    assert_eq!(objects.len(), 1);
    assert_eq!((objects[0].key.as_str(), objects[0].size), ("t/1/a.seg", 4));
    assert!(objects[0].modified > 0);
}

pub(crate) async fn a_put_that_meets_other_bytes_changes_nothing(store: Store) {
    store.put_new("a", bytes("body")).await.unwrap();
    for other in ["BODY", "bodybody", "bod", ""] {
        let error = store.put_new("a", bytes(other)).await.unwrap_err();
        let StoreError::Differs { key, found, expected, .. } = error else { panic!("{error}") };
        assert_eq!(key, "a");
        assert_eq!((found, expected), (crc32fast::hash(b"body"), crc32fast::hash(other.as_bytes())));
    }
    assert_eq!(store.get("a").await.unwrap(), bytes("body"));
    assert_eq!(store.list_versions("").await.unwrap().len(), 1);
}

pub(crate) async fn of_many_writers_of_one_key_one_wins(store: Store) {
    let bodies: Vec<Bytes> = (0..8).map(|writer| Bytes::from(vec![writer; 50_000])).collect();
    let puts = bodies.iter().map(|body| store.put_new("t/1/a", body.clone()));
    let outcomes = futures::future::join_all(puts).await;
    let winners: Vec<_> = (0..8).filter(|writer| matches!(outcomes[*writer], Ok(PutOutcome::Created))).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Differs { .. }))).count();
    assert_eq!(lost, 7, "{outcomes:?}");
    assert_eq!(store.get("t/1/a").await.unwrap(), bodies[winners[0]]);
}

pub(crate) async fn the_same_object_from_many_writers_is_success_for_all(store: Store) {
    let body = Bytes::from(vec![7; 50_000]);
    let outcomes = futures::future::join_all((0..8).map(|_| store.put_new("t/1/a", body.clone()))).await;
    let created = outcomes.iter().filter(|outcome| *outcome.as_ref().unwrap() == PutOutcome::Created).count();
    assert_eq!(created, 1);
    assert_eq!(store.list_versions("").await.unwrap().len(), 1);
}

pub(crate) async fn a_retry_after_a_lost_answer_meets_its_own_object(store: Store) {
    let faulty = FaultyStore::new(Arc::clone(&store), FaultPlan::none().fail_after(1));
    assert!(matches!(faulty.put_new("a", bytes("body")).await, Err(StoreError::Unavailable { .. })));
    assert_eq!(faulty.put_new("a", bytes("body")).await.unwrap(), PutOutcome::AlreadyThere);
    assert_eq!(store.get("a").await.unwrap(), bytes("body"));
}

pub(crate) async fn ranges_are_exact_or_an_error(store: Store) {
    store.put_new("a", bytes("0123456789")).await.unwrap();
    for (range, expected) in [(0..10, "0123456789"), (0..1, "0"), (9..10, "9"), (3..7, "3456")] {
        assert_eq!(store.get_range("a", range).await.unwrap(), bytes(expected));
    }
    for empty in [0..0, 10..10, 50..50] {
        assert!(store.get_range("a", empty).await.unwrap().is_empty());
    }
    for outside in [0..11, 9..11, 10..11, 40..50, 3..u64::MAX] {
        let error = store.get_range("a", outside.clone()).await.unwrap_err();
        let StoreError::Range { start, end, size, .. } = error else { panic!("{error}") };
        assert_eq!((start..end, size), (outside, 10));
    }
}

pub(crate) async fn tails_tell_the_size(store: Store) {
    store.put_new("a", bytes("0123456789")).await.unwrap();
    for (length, expected) in [(0, ""), (1, "9"), (4, "6789"), (10, "0123456789"), (11, "0123456789")] {
        assert_eq!(store.get_tail("a", length).await.unwrap(), (bytes(expected), 10), "{length}");
    }
    assert_eq!(store.get_tail("a", 1 << 40).await.unwrap().0.len(), 10);
}

pub(crate) async fn empty_objects_are_objects(store: Store) {
    assert_eq!(store.put_new("a", Bytes::new()).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new("a", Bytes::new()).await.unwrap(), PutOutcome::AlreadyThere);
    assert!(store.get("a").await.unwrap().is_empty());
    assert_eq!(store.get_tail("a", 8).await.unwrap(), (Bytes::new(), 0));
    assert!(matches!(store.get_range("a", 0..1).await, Err(StoreError::Range { size: 0, .. })));
    assert_eq!(store.list_all("").await.unwrap()[0].size, 0);
}

pub(crate) async fn what_is_not_there_is_told(store: Store) {
    store.put_new("a/b", bytes("x")).await.unwrap();
    for key in ["a", "a/c", "b", "a/b/c"] {
        let asked = [store.get(key).await.err(), store.get_range(key, 0..1).await.err()];
        for error in asked.into_iter().chain([store.get_tail(key, 1).await.err()]) {
            assert!(matches!(&error, Some(StoreError::NotFound { key: told, .. }) if told == key), "{key}: {error:?}");
        }
    }
    assert!(listed(&store, "c", None).await.is_empty());
    assert!(listed(&store, "c/d/", None).await.is_empty());
    assert!(store.list_folders("c/").await.unwrap().is_empty());
    assert!(store.list_versions("c").await.unwrap().is_empty());
}

pub(crate) async fn a_document_is_replaced_whole(store: Store) {
    store.replace("t/1/table.json", bytes("one")).await.unwrap();
    store.replace("t/1/table.json", bytes("one")).await.unwrap();
    assert_eq!(store.get("t/1/table.json").await.unwrap(), bytes("one"));
    // Writers and readers at once: a reader sees one of the documents, never a mixture or nothing.
    let documents: Vec<Bytes> = (0..6).map(|n| Bytes::from(vec![n; 20_000 + usize::from(n)])).collect();
    store.replace("t/1/table.json", documents[0].clone()).await.unwrap();
    let writes = documents.iter().map(|document| store.replace("t/1/table.json", document.clone()));
    let reads = (0..30).map(|_| store.get("t/1/table.json"));
    let (written, read) = tokio::join!(futures::future::join_all(writes), futures::future::join_all(reads));
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    for document in read {
        assert!(documents.contains(&document.unwrap()));
    }
    assert_eq!(store.list_all("").await.unwrap().len(), 1);
}

pub(crate) async fn a_deleted_object_can_be_made_again(store: Store) {
    put(&store, &["a/b", "a/c"]).await;
    store.delete("a/b").await.unwrap();
    store.delete("a/b").await.unwrap();
    store.delete("never/was").await.unwrap();
    assert!(matches!(store.get("a/b").await, Err(StoreError::NotFound { .. })));
    assert_eq!(listed(&store, "", None).await, ["a/c"]);
    assert_eq!(store.put_new("a/b", bytes("other")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.get("a/b").await.unwrap(), bytes("other"));
}

pub(crate) async fn a_listing_is_in_the_order_of_bytes_page_after_page(store: Store) {
    // Folders and objects that a walk from folder to folder would put in another order, over more than one page.
    let mut keys: Vec<String> =
        (0..350).flat_map(|n| [format!("a-{n}"), format!("a/{n}"), format!("a0/{n}/x")]).collect();
    for part in keys.chunks(50) {
        let puts = part.iter().map(|key| store.put_new(key, bytes("x")));
        for outcome in futures::future::join_all(puts).await {
            assert_eq!(outcome.unwrap(), PutOutcome::Created);
        }
    }
    keys.sort_unstable();
    let first = store.list("", None).await.unwrap();
    assert_eq!(first.objects.len(), 1000);
    let second = store.list("", first.next.as_deref()).await.unwrap();
    assert_eq!((second.objects.len(), second.next), (50, None));
    let paged: Vec<_> = first.objects.iter().chain(&second.objects).map(|object| object.key.clone()).collect();
    assert_eq!(paged, keys);
    let all: Vec<_> = store.list_all("").await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(all, keys);
    assert_eq!(store.list_folders("a0/").await.unwrap().len(), 350);
    assert_eq!(store.list_versions("").await.unwrap().len(), 1050);
}

pub(crate) async fn a_listing_begins_and_ends_where_it_is_told_to(store: Store) {
    put(&store, &["a!/x", "a-b", "a/b", "a/c/d", "a0", "b", "~quarantine/x"]).await;
    assert_eq!(listed(&store, "", None).await, ["a!/x", "a-b", "a/b", "a/c/d", "a0", "b", "~quarantine/x"]);
    assert_eq!(listed(&store, "a/", None).await, ["a/b", "a/c/d"]);
    assert_eq!(listed(&store, "a", Some("a-b")).await, ["a/b", "a/c/d", "a0"]);
    assert_eq!(listed(&store, "a/", Some("a/b")).await, ["a/c/d"]);
    assert_eq!(listed(&store, "a/", Some("a/bb")).await, ["a/c/d"]);
    assert_eq!(listed(&store, "a/", Some("A")).await, ["a/b", "a/c/d"]);
    assert_eq!(listed(&store, "a/c", None).await, ["a/c/d"]);
    assert!(listed(&store, "a/", Some("a/c/d")).await.is_empty());
    assert!(listed(&store, "a/", Some("b")).await.is_empty());
    assert!(store.list("../", None).await.is_err());
}

pub(crate) async fn folders_are_those_with_objects(store: Store) {
    put(&store, &["journal.json", "t/1/a", "t/2/b/c", "t-2/1/a", "t/file"]).await;
    assert_eq!(store.list_folders("").await.unwrap(), ["t", "t-2"]);
    assert_eq!(store.list_folders("t/").await.unwrap(), ["1", "2"]);
    assert_eq!(store.list_folders("t/1/").await.unwrap(), [""; 0]);
    store.delete("t/2/b/c").await.unwrap();
    assert_eq!(store.list_folders("t/").await.unwrap(), ["1"]);
    assert!(store.list_folders("t").await.is_err());
}

pub(crate) async fn versions_are_listed_newest_first(store: Store) {
    store.replace("a/1", bytes("1")).await.unwrap();
    store.replace("a/1", bytes("22")).await.unwrap();
    store.replace("a/2", bytes("333")).await.unwrap();
    store.replace("b", bytes("4")).await.unwrap();
    let versions = store.list_versions("a/").await.unwrap();
    let latest: Vec<_> = versions.iter().filter(|v| v.latest).map(|v| (v.key.as_str(), v.size)).collect();
    assert_eq!(latest, [("a/1", 2), ("a/2", 3)]);
    assert!(versions.iter().all(|version| !version.delete_marker && version.key.starts_with("a/")));
    // A store that keeps versions shows the older one behind the newer one.
    let sizes: Vec<_> = versions.iter().filter(|v| v.key == "a/1").map(|v| v.size).collect();
    assert!(sizes == [2, 1] || sizes == [2], "{versions:?}");
}

pub(crate) async fn keys_that_could_do_harm_are_refused(store: Store) {
    let long = "a".repeat(1025);
    for key in ["", "/", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", "./a", "~tmp/a", "a\0b", "a\nb", &long] {
        let asked = [
            store.get(key).await.err(),
            store.get_range(key, 0..0).await.err(),
            store.get_tail(key, 1).await.err(),
            store.put_new(key, bytes("x")).await.err(),
            store.replace(key, bytes("x")).await.err(),
            store.delete(key).await.err(),
        ];
        for error in asked {
            assert!(matches!(error, Some(StoreError::Key { .. })), "{key:?}: {error:?}");
        }
    }
    assert!(store.list_all("").await.unwrap().is_empty());
}

pub(crate) async fn a_location_becomes_a_journal_once(store: Store) {
    assert!(check_journal(&*store).await.is_err());
    let (first, second) = tokio::join!(init_in(&*store), init_in(&*store));
    first.unwrap();
    second.unwrap();
    check_journal(&*store).await.unwrap();
    put(&store, &["t/1/a"]).await;
    init_in(&*store).await.unwrap();
    assert_eq!(store.list_all("").await.unwrap().len(), 2);
}

pub(crate) async fn large_objects_come_back_as_they_were(store: Store) {
    let mut body = vec![0; 9 << 20];
    StdRng::seed_from_u64(1).fill(&mut body[..]);
    let body = Bytes::from(body);
    assert_eq!(store.put_new("a", body.clone()).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new("a", body.clone()).await.unwrap(), PutOutcome::AlreadyThere);
    assert!(store.get("a").await.unwrap() == body);
    assert!(store.get_range("a", 1_000_000..8_000_001).await.unwrap() == body.slice(1_000_000..8_000_001));
    let (tail, size) = store.get_tail("a", 65_536).await.unwrap();
    assert!(tail == body.slice(body.len() - 65_536..) && size == 9 << 20);
}

pub(crate) async fn random_operations_give_what_a_plain_map_gives(store: Store) {
    const KEYS: [&str; 8] = ["a", "b/a", "b/b", "b-a", "b0/a/c", "c/d/e/f", "é/z", "b/c/x"];
    let seed = 20_261_122;
    let mut random = StdRng::seed_from_u64(seed);
    let mut expected: BTreeMap<&str, Bytes> = BTreeMap::new();
    for step in 0..300 {
        let told = format!("seed {seed}, step {step}");
        let key = *KEYS.choose(&mut random).unwrap();
        let body = Bytes::from(vec![random.random_range(b'a'..b'd'); random.random_range(0..4)]);
        match random.random_range(0..6) {
            0 => {
                store.replace(key, body.clone()).await.unwrap();
                expected.insert(key, body);
            }
            1 => {
                store.delete(key).await.unwrap();
                expected.remove(key);
            }
            2 | 3 => match (store.put_new(key, body.clone()).await, expected.get(key)) {
                (Ok(PutOutcome::Created), None) => {
                    expected.insert(key, body);
                }
                (Ok(PutOutcome::AlreadyThere), Some(stored)) => assert_eq!(*stored, body, "{told}"),
                (Err(StoreError::Differs { .. }), Some(stored)) => assert_ne!(*stored, body, "{told}"),
                (outcome, stored) => panic!("{told}: {outcome:?} where {stored:?} is stored"),
            },
            4 => match (store.get(key).await, expected.get(key)) {
                (Ok(found), Some(stored)) => assert_eq!(found, *stored, "{told}"),
                (Err(StoreError::NotFound { .. }), None) => {}
                (outcome, stored) => panic!("{told}: {outcome:?} where {stored:?} is stored"),
            },
            _ => {
                let prefix = ["", "b", "b/", "c/d/"].choose(&mut random).unwrap();
                let after = [None, Some("b-"), Some("b/a"), Some("c")].choose(&mut random).unwrap();
                let keys = expected.keys().filter(|key| key.starts_with(prefix) && after.is_none_or(|a| **key > a));
                assert_eq!(listed(&store, prefix, *after).await, keys.copied().collect::<Vec<_>>(), "{told}");
            }
        }
    }
}
