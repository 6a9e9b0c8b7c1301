//! The two areas of columns: what is read without history, keys that go on from block to block, and damage that checksums do not tell.

use bytes::Bytes;
use proptest::prelude::*;

use super::block::{FLAG_GOES_ON, FLAG_SUPERSEDED};
use super::codec::Compressor;
use super::tests::{Owned, any_records, encode, expected, history, image, owned, read_all, small};
use super::*;
use crate::model::{ChangeKind, ChangeRecord, ItemKey, SequenceNumber};

fn tail_of(run: &EncodedRun) -> Tail {
    match read_tail("test", &run.bytes, run.size).unwrap() {
        Layout::Complete(tail) => tail,
        Layout::More(_) => panic!("a whole object has its tail"),
    }
}

/// What is read of a run, of no more bytes than those of the first area.
fn latest(run: &EncodedRun) -> Vec<Owned> {
    let tail = tail_of(run);
    let end = tail.blocks.iter().map(|block| block.places(Columns::Latest)[0].end).max().unwrap();
    let first_area = &run.bytes[..usize::try_from(end).unwrap()];
    let mut cursor = BlockCursor::new("test", tail.footer.clone());
    let mut records = Vec::new();
    for (number, block) in tail.blocks.iter().enumerate() {
        assert_eq!(block.places(Columns::Latest)[1], 0..0);
        cursor.load_from(&mut Decompressor::new().unwrap(), number, block, first_area, Columns::Latest).unwrap();
        while cursor.advance().unwrap() {
            assert_eq!(cursor.next_has_same_key(), Some(false));
            records.push(owned(&cursor.record()));
        }
    }
    records
}

/// The last record of each key, without its old image.
fn last_of_each(records: &[ChangeRecord]) -> Vec<Owned> {
    let last = |key: &[ChangeRecord]| key.last().map(expected).map(|record| Owned { old: None, ..record });
    records.chunk_by(|a, b| a.key == b.key).filter_map(last).collect()
}

/// So many changes of one key between two others, of which all but every seventh follow from the one before.
fn hot_key(count: u64, removed: bool) -> Vec<ChangeRecord> {
    let text = |number: u64| image(&format!("{}-{number}-{}", "before ".repeat(9), "behind ".repeat(9)));
    let record = |key: &'static str, number: u64, old: Option<u64>, new: Option<u64>| ChangeRecord {
        key: ItemKey::from_bytes(Bytes::from_static(key.as_bytes())),
        sequence: SequenceNumber::parse(&format!("10000000000000000{number:07}")).unwrap(),
        second: None,
        kind: match (old, new) {
            (_, None) => ChangeKind::Remove,
            (None, _) => ChangeKind::Insert,
            _ => ChangeKind::Modify,
        },
        old: old.map(text),
        new: new.map(text),
        user: None,
    };
    let mut records = vec![record("a", 0, None, Some(0))];
    for number in 1..=count {
        let before = if number % 7 == 0 { number + 1_000_000 } else { number - 1 };
        // A key may be removed and made again between.
        let (old, new) = ((number % 11 != 1).then_some(before), (number % 11 != 0).then_some(number));
        let new = new.filter(|_| number < count || !removed).or((number == count && !removed).then_some(number));
        records.push(record("hot", number, old, new));
    }
    records.push(record("z", 5, Some(4), Some(5)));
    records
}

#[test]
fn a_hot_key_over_many_blocks_has_its_latest_record_in_the_last_of_them() {
    for (removed, count) in [(false, 500), (true, 500), (false, 2), (true, 3)] {
        let records = hot_key(count, removed);
        let whole: Vec<Owned> = records.iter().map(expected).collect();
        for block_bytes in [1, 300, 2_000, 1 << 20] {
            let run = encode(small(WriterOptions::columns(), block_bytes), &records);
            let blocks = tail_of(&run).blocks.len();
            assert_eq!(blocks > 10, count > 10 && block_bytes < 1 << 20, "{blocks} blocks of {block_bytes}");
            assert_eq!(read_all(&run.bytes).unwrap(), whole);
            assert_eq!(latest(&run), last_of_each(&records), "blocks of {block_bytes}");
        }
    }
}

#[test]
fn the_chain_is_proven_by_a_bit_inside_blocks_alone() {
    let records = hot_key(200, false);
    for block_bytes in [1, 300, 1 << 20] {
        let run = encode(small(WriterOptions::columns(), block_bytes), &records);
        let tail = tail_of(&run);
        let mut cursor = BlockCursor::new("test", tail.footer.clone());
        let (mut at, mut proven) = (0, 0);
        for (number, block) in tail.blocks.iter().enumerate() {
            cursor.load_from(&mut Decompressor::new().unwrap(), number, block, &run.bytes, Columns::All).unwrap();
            let mut first = true;
            while cursor.advance().unwrap() {
                let (same, old) = (matches!(cursor.record().old, OldImage::Same(_)), &records[at].old);
                let follows = !first && records[at].key == records[at - 1].key;
                assert_eq!(same, follows && old.is_some() && *old == records[at - 1].new, "record {at}");
                proven += usize::from(same);
                (at, first) = (at + 1, false);
            }
        }
        assert_eq!(at, records.len());
        assert_eq!(proven > 0, block_bytes > 1);
    }
}

#[test]
fn keys_and_metadata_are_read_without_images() {
    let records = hot_key(100, true);
    let run = encode(small(WriterOptions::columns(), 1_000), &records);
    let tail = tail_of(&run);
    let mut cursor = BlockCursor::new("test", tail.footer.clone());
    let mut read = Vec::new();
    for (number, block) in tail.blocks.iter().enumerate() {
        // Other bytes of the object are not looked at.
        let stored = block.places(Columns::Keys).map(|place| {
            run.bytes[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()].to_vec()
        });
        let stored = stored.each_ref().map(Vec::as_slice);
        cursor.load(&mut Decompressor::new().unwrap(), number, block, stored, Columns::Keys).unwrap();
        while cursor.advance().unwrap() {
            let record = cursor.record();
            assert_eq!((record.new, record.old.bytes(&mut Vec::new())), (None, None));
            read.push((record.key.to_vec(), record.sequence, record.kind));
        }
    }
    let whole: Vec<_> =
        records.iter().map(|r| (r.key.as_bytes().to_vec(), r.sequence, RecordKind::Change(r.kind))).collect();
    assert_eq!(read, whole);
}

/// Raw chunks of one block of columns and an entry for it, as a writer that does not keep to the format might have made them.
struct Block {
    raw: [Vec<u8>; 5],
    records: u64,
}

impl Block {
    fn of(run: &EncodedRun, entry: &BlockEntry) -> Self {
        let stored = |chunk: &ChunkRef| {
            let start = usize::try_from(chunk.offset).unwrap();
            &run.bytes[start..start + chunk.stored]
        };
        let mut raw: [Vec<u8>; 5] = Default::default();
        let mut decompressor = Decompressor::new().unwrap();
        for number in [0, 1, 3] {
            let chunk = &entry.chunks[number];
            decompressor.frame(stored(chunk), chunk.raw, &mut raw[number]).unwrap();
        }
        let [.., images, _, middles] = entry.chunks.as_slice() else { panic!("five chunks") };
        let both = [stored(images), stored(middles)];
        decompressor.frame_in_two(both, images.raw + middles.raw, &mut raw[2]).unwrap();
        raw[4] = raw[2].split_off(images.raw);
        Self { raw, records: entry.records }
    }

    /// Reads all records; how many there were.
    fn read(&self, tail: &Tail, columns: Columns) -> Result<u64, FormatError> {
        let mut compressor = Compressor::new(1).unwrap();
        let [keys, meta, images, superseded, middles] = &self.raw;
        let (images, middles) = compressor.frame_in_two(images, middles).unwrap();
        let mut frame = |raw: &[u8]| compressor.frame(raw).unwrap();
        let stored = [frame(keys), frame(meta), images, frame(superseded), middles];
        let mut bytes = Vec::new();
        let mut chunks = Vec::new();
        for (stored, raw) in stored.iter().zip(&self.raw) {
            let (offset, crc32) = (u64::try_from(bytes.len()).unwrap(), crc32fast::hash(stored));
            chunks.push(ChunkRef { offset, stored: stored.len(), raw: raw.len(), crc32 });
            bytes.extend_from_slice(stored);
        }
        let entry =
            BlockEntry { first_key: Vec::new(), continued: false, records: self.records, seconds: None, chunks };
        let mut cursor = BlockCursor::new("test", tail.footer.clone());
        cursor.load_from(&mut Decompressor::new()?, 0, &entry, &bytes, columns)?;
        let mut count = 0;
        while cursor.advance()? {
            let _ = owned(&cursor.record());
            count += 1;
        }
        Ok(count)
    }
}

const EVERY: [Columns; 4] = [Columns::Keys, Columns::Latest, Columns::New, Columns::All];

#[test]
fn hostile_counts_and_lengths_are_typed_errors_in_every_mode() {
    let run = encode(WriterOptions::columns(), &history()[3..]);
    let tail = tail_of(&run);
    let sound = || Block::of(&run, &tail.blocks[0]);
    for columns in EVERY {
        assert_eq!(sound().read(&tail, columns).unwrap(), if columns == Columns::Latest { 2 } else { 3 });
    }
    // Keys b, with a superseded record, and c; the count is the last byte of what the first area has of b.
    let meta = sound().raw[1].clone();
    let count = meta.len() - meta.iter().rev().position(|byte| *byte == 1).unwrap() - 1;
    assert_eq!(meta[0] & FLAG_SUPERSEDED, FLAG_SUPERSEDED);
    for hostile in [vec![0], vec![2], vec![3], [&[0xff; 9][..], &[1]].concat(), vec![0x80; 12]] {
        for columns in EVERY {
            let mut block = sound();
            block.raw[1].splice(count..=count, hostile.iter().copied());
            let error = block.read(&tail, columns).unwrap_err();
            assert!(matches!(error.problem, Problem::Malformed { .. }), "{error}");
        }
    }
    // A key that is said to go on, though another one follows; and with other bits.
    for (flags, records) in [(FLAG_GOES_ON | FLAG_SUPERSEDED, 3), (FLAG_GOES_ON, 3), (0xff, 3)] {
        for columns in EVERY {
            let mut block = sound();
            block.raw[1].splice(..=count, [flags, 1]);
            block.records = records;
            assert!(matches!(block.read(&tail, columns).unwrap_err().problem, Problem::Malformed { .. }));
        }
    }
    // More and fewer records than there are.
    for records in [1, 2, 4, u64::MAX] {
        for columns in EVERY {
            let block = Block { records, ..sound() };
            assert!(matches!(block.read(&tail, columns).unwrap_err().problem, Problem::Malformed { .. }));
        }
    }
    // A difference that keeps more than there is, and one whose middle is longer than all.
    for tail_bytes in [vec![200, 1, 200, 1, 0], vec![0, 0, 200, 1], [&[0xff; 9][..], &[1, 1, 1]].concat()] {
        let mut block = sound();
        let length = block.raw[3].len();
        block.raw[3].splice(length - 3.., tail_bytes);
        for columns in [Columns::New, Columns::All] {
            assert!(matches!(block.read(&tail, columns).unwrap_err().problem, Problem::Malformed { .. }));
        }
    }
    // The same key again.
    let mut block = sound();
    let length = block.raw[0].len();
    let key = history()[3].key.as_bytes().len();
    block.raw[0].splice(length - 3.., [u8::try_from(key).unwrap(), 0]);
    assert!(block.read(&tail, Columns::Latest).is_err());
}

#[test]
fn a_frame_that_does_not_go_on_is_a_typed_error() {
    let mut compressor = Compressor::new(3).unwrap();
    let (first, second) = (vec![b'a'; 900], vec![b'b'; 700]);
    let (one, two) = compressor.frame_in_two(&first, &second).unwrap();
    let mut decompressor = Decompressor::new().unwrap();
    let mut out = Vec::new();
    decompressor.frame(&one, 900, &mut out).unwrap();
    assert_eq!(out, first);
    decompressor.frame_in_two([&one, &two], 1600, &mut out).unwrap();
    assert_eq!(out, [first.clone(), second.clone()].concat());
    let whole = compressor.frame(&first).unwrap();
    assert!(decompressor.frame_in_two([&whole, &two], 1600, &mut out).is_err());
    assert!(decompressor.frame_in_two([&one, &whole], 1600, &mut out).is_err());
    assert!(decompressor.frame_in_two([&one, &two], 1599, &mut out).is_err());
    assert!(decompressor.frame(&two, 700, &mut out).is_err());
    // A context that made such a frame makes other frames as before.
    assert_eq!(compressor.frame(&first).unwrap(), whole);
}

proptest! {
    #[test]
    fn what_is_read_without_history_is_what_history_ends_with(records in any_records(), block_bytes in 1usize..3000) {
        let run = encode(small(WriterOptions::columns(), block_bytes), &records);
        prop_assert_eq!(latest(&run), last_of_each(&records));
    }

    #[test]
    fn equal_records_are_equal_bytes_in_columns(records in any_records(), block_bytes in 1usize..3000) {
        let bytes = || encode(small(WriterOptions::columns(), block_bytes), &records).bytes;
        prop_assert_eq!(bytes(), bytes());
    }

    /// Damage under a checksum that was mended: the checks behind the checksum must hold on their own.
    #[test]
    fn damage_with_a_mended_checksum_never_panics(records in any_records(), at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let run = encode(WriterOptions { level: 1, ..small(WriterOptions::columns(), 200) }, &records);
        let tail = tail_of(&run);
        for entry in tail.blocks.iter() {
            for damaged in 0..5 {
                let mut block = Block::of(&run, entry);
                let raw = &mut block.raw[damaged];
                if !raw.is_empty() {
                    let at = at.index(raw.len());
                    raw[at] = to;
                }
                for columns in EVERY {
                    let read = block.read(&tail, columns);
                    prop_assert!(read.is_err() || read.unwrap() <= block.records);
                }
            }
        }
    }
}
