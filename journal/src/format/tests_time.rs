//! The time index: every block with a record of a time is named, few others are, and damage is found.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::{encode, image, mend, small};
use super::*;
use crate::model::{ChangeKind, ChangeRecord, ItemKey, Second, SequenceNumber};

const FIRST: u64 = 1_585_440_000;

/// A run with so many records a block, whose records have these seconds after the first.
fn run_of(seconds: &[Option<u64>], records_a_block: usize) -> (EncodedRun, Vec<ChangeRecord>) {
    let records: Vec<ChangeRecord> = seconds
        .iter()
        .enumerate()
        .map(|(number, second)| ChangeRecord {
            key: ItemKey::from_bytes(Bytes::from(format!("key {number:06}"))),
            sequence: SequenceNumber::parse(&format!("1000000000000000000{number:06}")).unwrap(),
            second: second.map(|second| Second::new(FIRST + second).unwrap()),
            kind: ChangeKind::Insert,
            old: None,
            new: Some(image("an image")),
            user: None,
        })
        .collect();
    let raw = encode(small(WriterOptions::columns(), 1 << 20), &records[..1]).footer.statistics.raw_bytes;
    let block_bytes = usize::try_from(raw).unwrap() * (records_a_block - 1) / 2 + 1;
    (encode(small(WriterOptions::columns(), block_bytes), &records), records)
}

fn part(run: &EncodedRun, place: &std::ops::Range<u64>) -> Vec<u8> {
    run.bytes[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()].to_vec()
}

fn top_of(run: &EncodedRun) -> Top {
    match read_top("test", &run.bytes, run.size).unwrap() {
        TopLayout::Complete(top) => top,
        TopLayout::More(_) => panic!("all of it is there"),
    }
}

fn index_of(run: &EncodedRun) -> Option<TimeIndex> {
    let top = top_of(run);
    let place = top.time_directory()?;
    top.time_index("test", &part(run, &place)).unwrap()
}

/// The numbers of the blocks with a record of these seconds after the first, and of those with one at most `near` seconds beside them.
fn blocks_with(run: &EncodedRun, records: &[ChangeRecord], (from, through): (u64, u64), near: u64) -> BTreeSet<usize> {
    let Layout::Complete(tail) = read_tail("test", &run.bytes, run.size).unwrap() else { panic!() };
    let mut left = records.iter();
    let mut found = BTreeSet::new();
    for (number, block) in tail.blocks.iter().enumerate() {
        for record in left.by_ref().take(usize::try_from(block.records).unwrap()) {
            let second = record.second.unwrap().get() - FIRST;
            if second + near >= from && second <= through + near {
                found.insert(number);
            }
        }
    }
    found
}

fn asked(index: &TimeIndex, run: &EncodedRun, (from, through): (u64, u64)) -> BTreeSet<usize> {
    let seconds = (Second::new(FIRST + from).unwrap(), Second::new(FIRST + through).unwrap());
    let pages = index.pages_of(seconds);
    let blocks = index.blocks("test", seconds, &part(run, &index.place_of(&pages))).unwrap();
    assert!(blocks.is_sorted());
    blocks.into_iter().collect()
}

/// Seconds that jump about in a year, as those of a run in the order of its keys do.
fn a_year(count: u64) -> Vec<Option<u64>> {
    (0..count).map(|number| Some(number * 7_919_333 % (365 * 86_400))).collect()
}

#[test]
fn an_hour_of_a_year_names_the_blocks_that_hold_it() {
    let (run, records) = run_of(&a_year(5000), 9);
    assert_eq!(verify_object("test", &run.bytes).unwrap().records, 5000);
    let index = index_of(&run).unwrap();
    assert_eq!(index.pages(), 5);
    let slot = 365 * 86_400 / 4096 + 1;
    for hour in [0, 1, 17, 4000, 8759] {
        let seconds = (hour * 3600, hour * 3600 + 3599);
        let (found, least) = (asked(&index, &run, seconds), blocks_with(&run, &records, seconds, 0));
        assert!(found.is_superset(&least), "hour {hour}: {found:?} misses some of {least:?}");
        let most = blocks_with(&run, &records, seconds, slot);
        assert!(found.is_subset(&most), "hour {hour}: {found:?} has more than {most:?}");
        assert!(
            index.pages_of((Second::new(FIRST + seconds.0).unwrap(), Second::new(FIRST + seconds.1).unwrap())).len()
                <= 2
        );
    }
    let all: BTreeSet<usize> = (0..blocks_with(&run, &records, (0, 365 * 86_400), 0).len()).collect();
    assert_eq!(asked(&index, &run, (0, 365 * 86_400)), all);
    let before = (Second::MIN, Second::new(FIRST - 1).unwrap());
    assert_eq!((index.pages_of(before), index.blocks("test", before, &[]).unwrap()), (0..0, vec![]));
    let after = (Second::new(FIRST + 366 * 86_400).unwrap(), Second::MAX);
    let stored = part(&run, &index.place_of(&index.pages_of(after)));
    assert!(index.blocks("test", after, &stored).unwrap().is_empty());
}

#[test]
fn few_blocks_and_records_without_a_second_have_no_time_index() {
    assert!(index_of(&run_of(&a_year(40), 9).0).is_none(), "few blocks");
    assert!(index_of(&run_of(&a_year(400), 9).0).is_some());
    let mut undated = a_year(400);
    undated[200] = None;
    let (run, _) = run_of(&undated, 9);
    assert!(index_of(&run).is_none(), "a record without a second may be of any time");
    assert_eq!(verify_object("test", &run.bytes).unwrap().records, 400);
    assert!(index_of(&run_of(&vec![None; 400], 9).0).is_none());
    let (one_second, records) = run_of(&[Some(5); 400], 9);
    let index = index_of(&one_second).unwrap();
    assert_eq!(asked(&index, &one_second, (5, 5)), blocks_with(&one_second, &records, (5, 5), 0));
    assert!(asked(&index, &one_second, (0, 4)).is_empty(), "the run begins with its first second");
}

#[test]
fn every_flipped_bit_of_the_time_index_is_a_typed_error() {
    let (run, _) = run_of(&a_year(1500), 9);
    let (top, index) = (top_of(&run), index_of(&run).unwrap());
    let pages = index.place_of(&(0..index.pages()));
    let directory = top.time_directory().unwrap();
    assert_eq!((index.pages(), pages.end), (2, directory.start));
    let (seconds, mut bytes) = ((Second::MIN, Second::MAX), run.bytes.clone());
    for at in pages.start..directory.end {
        let (at, bit) = (usize::try_from(at).unwrap(), 1 << (at % 8));
        bytes[at] ^= bit;
        let error = verify_object("test", &bytes).unwrap_err();
        assert!(matches!(error.problem, Problem::Checksum { part: "time page" | "time directory", .. }), "{error}");
        let damaged = EncodedRun { bytes: bytes.clone(), ..run_like(&run) };
        let told = top
            .time_index("test", &part(&damaged, &directory))
            .and_then(|index| index.unwrap().blocks("test", seconds, &part(&damaged, &pages)));
        assert_eq!(told.unwrap_err(), error);
        bytes[at] ^= bit;
    }
    let stored = part(&run, &pages);
    assert!(index.blocks("test", seconds, &stored[..stored.len() - 1]).is_err());
    assert!(top.time_index("test", &[]).is_err());
}

fn run_like(run: &EncodedRun) -> EncodedRun {
    EncodedRun { bytes: Vec::new(), footer: run.footer.clone(), size: run.size, crc32: run.crc32 }
}

/// Content that is not what the records say, under checksums that were mended all the way up.
#[test]
fn a_time_index_that_lies_is_found() {
    let (run, _) = run_of(&a_year(1500), 9);
    let (top, index) = (top_of(&run), index_of(&run).unwrap());
    let (page, directory) = (index.place_of(&(0..1)), top.time_directory().unwrap());
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let mut bytes = run.bytes.clone();
    // A small gap in place of another leaves all lengths as they were.
    let gap = (at(page.start)..at(page.end)).find(|at| (2..0x7F).contains(&bytes[*at])).unwrap();
    bytes[gap] -= 1;
    mend(&mut bytes, &run.bytes, &[at(page.start)..at(page.end), at(directory.start)..at(directory.end)]);
    let error = verify_object("test", &bytes).unwrap_err();
    assert!(matches!(error.problem, Problem::Malformed { part: "time index", .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_block_of_any_time_is_missed(
        seconds in proptest::collection::vec(0u64..40_000, 100..300),
        wide in 1u64..3000,
        (from, length) in (0u64..41_000_000, 0u64..100_000),
        records_a_block in 2usize..6,
    ) {
        let seconds: Vec<Option<u64>> = seconds.into_iter().map(|second| Some(second * wide)).collect();
        let first = seconds.iter().flatten().min().copied().unwrap();
        let (run, records) = run_of(&seconds, records_a_block);
        prop_assert!(verify_object("test", &run.bytes).is_ok());
        let index = index_of(&run).unwrap();
        for wanted in [(from, from + length), (first, first), (0, u64::from(u32::MAX))] {
            let (found, least) = (asked(&index, &run, wanted), blocks_with(&run, &records, wanted, 0));
            prop_assert!(found.is_superset(&least));
            prop_assert!(found.is_subset(&blocks_with(&run, &records, wanted, 40_000 * wide / 4096 + 1)));
        }
    }

    /// Bytes whose checksum holds.
    #[test]
    fn a_foreign_time_index_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<proptest::sample::Index>(), to in any::<u8>(), slot_seconds in any::<u64>()) {
        let (run, _) = run_of(&a_year(200), 9);
        let (top, index) = (top_of(&run), index_of(&run).unwrap());
        let (mut near, mut page) = (part(&run, &top.time_directory().unwrap()), part(&run, &index.place_of(&(0..1))));
        let (changed, changed_page) = (at.index(near.len()), at.index(page.len()));
        (near[changed], page[changed_page]) = (to, to);
        for directory in [bytes.clone(), near] {
            let fields = super::time::TimeFields { slot_seconds, offset: 16, directory_length: directory.len(), directory_crc32: 0 };
            for end in [16, 16 + u64::try_from(page.len()).unwrap()] {
                let _ = super::time::TimeIndex::parse(&directory, &fields, Second::MIN, 30, end);
            }
        }
        for page in [bytes, page] {
            let mut directory = vec![0xC8, 1, 0];
            super::wire::put_length(&mut directory, page.len());
            directory.extend_from_slice(&crc32fast::hash(&page).to_le_bytes());
            let fields = super::time::TimeFields { slot_seconds, offset: 0, directory_length: 0, directory_crc32: 0 };
            let end = u64::try_from(page.len()).unwrap();
            let index = super::time::TimeIndex::parse(&directory, &fields, Second::MIN, 30, end).unwrap();
            let _ = index.blocks("test", (Second::MIN, Second::MAX), &page);
        }
    }
}
