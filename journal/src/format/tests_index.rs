//! The index in two levels: what a lookup reads of it, and damage.

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::{encode, image, mend, small};
use super::*;
use crate::model::{ChangeKind, ChangeRecord, ItemKey, SequenceNumber};

/// `count` records, a block each, some keys in two or three blocks: an index of several pages.
fn many_blocks(count: u64) -> EncodedRun {
    let records: Vec<ChangeRecord> = (0..count)
        .map(|number| ChangeRecord {
            key: ItemKey::from_bytes(Bytes::from(format!("key {:05}", number * 2 / 3))),
            sequence: SequenceNumber::parse(&format!("1000000000000000000{number:05}")).unwrap(),
            second: None,
            kind: ChangeKind::Insert,
            old: None,
            new: Some(image("x")),
            user: None,
        })
        .collect();
    encode(small(WriterOptions::columns(), 1), &records)
}

/// The top from no more bytes than it asks for.
fn top_of(run: &EncodedRun) -> (Top, usize) {
    let mut given = 32;
    loop {
        match read_top("test", &run.bytes[run.bytes.len() - given..], run.size).unwrap() {
            TopLayout::Complete(top) => return (top, given),
            TopLayout::More(wanted) => given = usize::try_from(wanted).unwrap(),
        }
    }
}

fn stored(run: &EncodedRun, place: std::ops::Range<u64>) -> Vec<u8> {
    run.bytes[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()].to_vec()
}

#[test]
fn a_key_is_found_by_the_top_and_the_pages_it_names() {
    let run = many_blocks(200);
    let Layout::Complete(whole) = read_tail("test", &run.bytes, run.size).unwrap() else { panic!() };
    let (top, given) = top_of(&run);
    assert_eq!(top.pages(), 200usize.div_ceil(32));
    let (index, size) = (top.place_of(&(0..top.pages())), usize::try_from(run.size).unwrap());
    assert!(given < size - usize::try_from(index.end).unwrap() + 1, "the top is read without the pages");
    let texts = (0..140)
        .map(|number| format!("key {number:05}"))
        .chain(["", "key", "key 00050x", "key 00133", "key 99", "z"].map(str::to_owned));
    for text in texts {
        let keys = Bytes::from(text.clone())..Bytes::from(text.clone() + "\0");
        let pages = top.pages_of_keys(&keys);
        assert!(pages.len() <= 2, "{text}: {pages:?}");
        let part = top.tail("test", pages.clone(), &stored(&run, top.place_of(&pages))).unwrap();
        let found = |tail: &Tail| {
            let blocks = tail.blocks_of_keys(&keys);
            let entries: Vec<_> =
                blocks.filter_map(|at| Some((tail.first_block + at, tail.blocks.get(at)?.clone()))).collect();
            // A block in front of the key's may be named by one of them: it ends below the key.
            entries.into_iter().filter(|(_, entry)| entry.first_key == text.as_bytes()).collect::<Vec<_>>()
        };
        assert_eq!(found(&part), found(&whole), "{text}");
        assert_eq!(found(&part).is_empty(), !(0..133).any(|number| text == format!("key {number:05}")), "{text}");
    }
}

#[test]
fn a_key_that_begins_a_block_is_looked_for_in_no_block_before() {
    let run = many_blocks(200);
    let Layout::Complete(tail) = read_tail("test", &run.bytes, run.size).unwrap() else { panic!() };
    for number in 0..133 {
        let key = format!("key {number:05}");
        let blocks = tail.blocks_of_keys(&(Bytes::from(key.clone())..Bytes::from(key.clone() + "\0")));
        let entries = &tail.blocks[blocks];
        assert!(!entries.is_empty() && entries.iter().all(|entry| entry.first_key == key.as_bytes()), "{key}");
        let continued: Vec<_> = entries.iter().map(|entry| entry.continued).collect();
        assert_eq!(continued, [false, true][..entries.len()], "{key}");
    }
    let between = tail.blocks_of_keys(&(Bytes::from("key 00050x")..Bytes::from("key 00051")));
    assert_eq!(tail.blocks[between].iter().map(|entry| entry.first_key.as_slice()).collect::<Vec<_>>(), [b"key 00050"]);
}

#[test]
fn a_key_ends_before_its_block_does_unless_it_goes_on_for_a_quarter_of_it() {
    let record = |key: &str, number: u64| ChangeRecord {
        key: ItemKey::from_bytes(Bytes::from(key.to_owned())),
        sequence: SequenceNumber::parse(&format!("1000000000000000000{number:05}")).unwrap(),
        second: None,
        kind: ChangeKind::Insert,
        old: None,
        new: Some(image(&"x".repeat(400))),
        user: None,
    };
    // Blocks are full with the first record of `b`.
    let blocks = |of_b: u64| {
        let records: Vec<_> = (0..9)
            .map(|number| record(&format!("a{number}"), number))
            .chain((0..of_b).map(|number| record("b", 10 + number)))
            .chain([record("c", 5)])
            .collect();
        let run = encode(small(WriterOptions::columns(), 4000), &records);
        let Layout::Complete(tail) = read_tail("test", &run.bytes, run.size).unwrap() else { panic!() };
        let key = tail.blocks_of_keys(&(Bytes::from("b")..Bytes::from("b\0")));
        (key.len(), tail.blocks.iter().map(|block| (block.records, block.continued)).collect::<Vec<_>>())
    };
    assert_eq!(blocks(1), (1, vec![(10, false), (1, false)]));
    assert_eq!(blocks(2), (1, vec![(11, false), (1, false)]));
    assert_eq!(blocks(5), (1, vec![(14, false), (1, false)]));
    let (of_b, counts) = blocks(60);
    assert!(of_b > 1 && counts[0].0 < 25 && counts[1].1, "{counts:?}");
}

#[test]
fn an_index_page_that_is_wrong_about_where_keys_go_on_is_refused() {
    let run = many_blocks(70);
    let (top, _) = top_of(&run);
    let entries = top.tail("test", 0..3, &stored(&run, top.place_of(&(0..3)))).unwrap().blocks;
    let parsed = |change: &dyn Fn(&mut Vec<super::index::BlockEntry>)| {
        let mut entries = entries.as_ref().clone();
        change(&mut entries);
        // As if the block before the second page ended far below it: that page begins with a part of its key.
        let ends = [b"key 0001".to_vec(), entries[63].first_key.clone()];
        let (pages, top) = super::index::encode(&entries, &ends, None);
        let mut found = Vec::new();
        for page in super::index::parse_top(&top, 0).unwrap() {
            let bytes = &pages[usize::try_from(page.place.start).unwrap()..usize::try_from(page.place.end).unwrap()];
            super::index::parse_page(&mut found, &page, bytes, RunKind::Columns, None)?;
        }
        Ok::<_, Problem>(found)
    };
    assert_eq!(&parsed(&|_| ()).unwrap(), entries.as_ref());
    assert!(entries[1].continued && !entries[2].continued);
    let message = |change: &dyn Fn(&mut Vec<super::index::BlockEntry>)| parsed(change).unwrap_err().to_string();
    assert!(message(&|entries| entries[0].continued = true).contains("continues none"));
    assert!(message(&|entries| entries[1].continued = false).contains("begin with one key"));
    assert!(message(&|entries| entries[32].continued = true).contains("continues none"));
}

#[test]
fn every_flipped_bit_of_an_index_page_is_a_typed_error_of_that_page_alone() {
    let run = many_blocks(70);
    let (top, _) = top_of(&run);
    let mut bytes = stored(&run, top.place_of(&(1..2)));
    for at in 0..bytes.len() {
        bytes[at] ^= 1 << (at % 8);
        let error = top.tail("test", 1..2, &bytes).unwrap_err();
        assert!(matches!(error.problem, Problem::Checksum { part: "index page", .. }), "{error}");
        bytes[at] ^= 1 << (at % 8);
    }
    assert!(top.tail("test", 1..2, &bytes[1..]).is_err());
    assert!(top.tail("test", 0..2, &bytes).is_err());
    assert_eq!(top.tail("test", 1..2, &bytes).unwrap().first_block, 32);
}

#[test]
fn an_index_that_lies_about_where_keys_go_on_is_found() {
    let run = many_blocks(70);
    let (top, _) = top_of(&run);
    let place = top.place_of(&(0..3));
    let [from, end] = [place.start, place.end].map(|at| usize::try_from(at).unwrap());
    let mut entries = top.tail("test", 0..3, &run.bytes[from..end]).unwrap().blocks.as_ref().clone();
    // A record a block.
    let last_keys = [31, 63].map(|at: usize| entries[at].first_key.clone());
    assert_eq!(super::index::encode(&entries, &last_keys, None).0, run.bytes[from..end]);
    entries[2].continued = true;
    let mut bytes = run.bytes.clone();
    bytes[from..end].copy_from_slice(&super::index::encode(&entries, &last_keys, None).0);
    let page = top.place_of(&(0..1));
    let footer =
        usize::try_from(u64::from_le_bytes(bytes[bytes.len() - TRAILER_BYTES..][..8].try_into().unwrap())).unwrap();
    let parts =
        [from..from + usize::try_from(page.end - page.start).unwrap(), footer - run.footer.index_top_length..footer];
    mend(&mut bytes, &run.bytes, &parts);
    let error = verify_object("test", &bytes).unwrap_err();
    assert!(error.to_string().contains("about whether the block before has its first key"), "{error}");
}

#[test]
fn an_index_of_many_pages_is_verified_whole_and_every_flipped_bit_of_it_is_found() {
    let run = many_blocks(70);
    assert_eq!(verify_object("test", &run.bytes).unwrap().records, 70);
    let (top, _) = top_of(&run);
    let mut bytes = run.bytes.clone();
    for at in usize::try_from(top.place_of(&(0..1)).start).unwrap()..bytes.len() {
        bytes[at] ^= 0x10;
        assert!(verify_object("test", &bytes).is_err(), "byte {at}");
        bytes[at] ^= 0x10;
    }
}

proptest! {
    /// Damage under a checksum that was mended.
    #[test]
    fn a_foreign_index_page_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let run = many_blocks(40);
        let (top, _) = top_of(&run);
        let place = top.place_of(&(0..1));
        let mut near = stored(&run, place);
        let at = at.index(near.len());
        near[at] = to;
        for page in [bytes, near] {
            let mut parsed = Vec::new();
            let entry = super::index::parse_top(&mended_top(&page), 16).unwrap().remove(0);
            let _ = super::index::parse_page(&mut parsed, &entry, &page, RunKind::Columns, None);
            let _ = super::index::parse_top(&page, 16);
        }
    }
}

/// A top of one page with these bytes.
fn mended_top(page: &[u8]) -> Vec<u8> {
    let mut top = vec![1, 0, 0, 32, 32, 100, 100];
    super::wire::put_length(&mut top, page.len());
    top.extend_from_slice(&crc32fast::hash(page).to_le_bytes());
    top
}
