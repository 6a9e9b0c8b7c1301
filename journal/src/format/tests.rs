//! Round trips, damage of every kind, and golden bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Second, SequenceNumber, StreamArn,
    UserIdentity,
};

fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:eu-west-1:000000000000:table/notes-table-dev/stream/2020-03-29T00:00:00.000")
        .unwrap()
}

fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap()
}

/// One record in owned form, to compare what was read with what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) key: Vec<u8>,
    pub(super) sequence: SequenceNumber,
    pub(super) second: Option<Second>,
    pub(super) kind: RecordKind,
    pub(super) new: Option<Vec<u8>>,
    pub(super) old: Option<Vec<u8>>,
    pub(super) user: Option<UserIdentity>,
}

pub(super) fn owned(record: &Record<'_>) -> Owned {
    let mut scratch = Vec::new();
    Owned {
        key: record.key.to_vec(),
        sequence: record.sequence,
        second: record.second,
        kind: record.kind,
        new: record.new.map(<[u8]>::to_vec),
        old: record.old.bytes(&mut scratch).map(<[u8]>::to_vec),
        user: record.user.cloned(),
    }
}

pub(super) fn expected(record: &ChangeRecord) -> Owned {
    Owned {
        key: record.key.as_bytes().to_vec(),
        sequence: record.sequence,
        second: record.second,
        kind: RecordKind::Change(record.kind),
        new: record.new.as_ref().map(|image| image.as_bytes().to_vec()),
        old: record.old.as_ref().map(|image| image.as_bytes().to_vec()),
        user: record.user.clone(),
    }
}

pub(super) fn read_all(bytes: &[u8]) -> Result<Vec<Owned>, FormatError> {
    let verified = verify_object("test", bytes)?;
    let mut cursor = BlockCursor::new("test", verified.tail.footer.clone());
    let mut records = Vec::new();
    for (number, entry) in verified.tail.blocks.iter().enumerate() {
        cursor.load_from(&mut Decompressor::new().unwrap(), number, entry, bytes, Columns::All)?;
        while cursor.advance()? {
            records.push(owned(&cursor.record()));
        }
    }
    assert_eq!(u64::try_from(records.len()).unwrap(), verified.records);
    Ok(records)
}

pub(super) fn image(text: &str) -> Image {
    Image::encode(&BTreeMap::from([("content".to_owned(), crate::model::AttributeValue::S(text.to_owned()))])).unwrap()
}

/// A small history: chained and unchained changes, a TTL delete, a record without a second, padded sequence numbers.
pub(super) fn history() -> Vec<ChangeRecord> {
    let key = |text: &str| {
        ItemKey::encode(
            &names(),
            &BTreeMap::from([("noteId".to_owned(), crate::model::AttributeValue::S(text.to_owned()))]),
        )
        .unwrap()
    };
    let record = |key_text: &str, sequence: &str, second: Option<u64>, kind, old: Option<&str>, new: Option<&str>| {
        ChangeRecord {
            key: key(key_text),
            sequence: SequenceNumber::parse(sequence).unwrap(),
            second: second.map(|s| Second::new(s).unwrap()),
            kind,
            old: old.map(image),
            new: new.map(image),
            user: None,
        }
    };
    let mut records = vec![
        record("a", "100000000000000000000007", Some(1_585_440_000), ChangeKind::Insert, None, Some("stay at home")),
        record(
            "a",
            "100000000000000000000045",
            Some(1_585_440_001),
            ChangeKind::Modify,
            Some("stay at home"),
            Some("stay at home, friends"),
        ),
        record("a", "100000000000000000000050", None, ChangeKind::Remove, Some("stay at home, friends"), None),
        record(
            "b",
            "100000000000000000000009",
            Some(1_585_440_000),
            ChangeKind::Modify,
            Some("before the run"),
            Some("in the run"),
        ),
        record(
            "b",
            "9999999999999999999999999999999999999999",
            Some(1_585_440_009),
            ChangeKind::Remove,
            Some("not what was before"),
            None,
        ),
        record("c", "000000000000000000000042", Some(1_585_440_003), ChangeKind::Insert, None, Some("")),
    ];
    records[4].user = Some(UserIdentity::ttl());
    records
}

pub(super) fn encode(options: WriterOptions, records: &[ChangeRecord]) -> EncodedRun {
    RunWriter::encode(options, stream(), names(), records).unwrap()
}

/// Puts right the checksums of parts of a run that were changed, and of footer and trailer: that of each stands in the next one.
pub(super) fn mend(bytes: &mut [u8], run: &[u8], parts: &[std::ops::Range<usize>]) {
    let end = run.len() - TRAILER_BYTES;
    let footer = usize::try_from(u64::from_le_bytes(run[end..end + 8].try_into().unwrap())).unwrap();
    let parts: Vec<_> = parts.iter().cloned().chain([footer..end, end..end + 24]).collect();
    let next = parts.iter().skip(1).cloned().chain(std::iter::once(end + 24..end + 28));
    for (part, next) in parts.iter().zip(next) {
        let [old, new] = [run, &*bytes].map(|bytes| crc32fast::hash(&bytes[part.clone()]).to_le_bytes());
        let found = bytes[next.clone()].windows(4).position(|window| window == old).unwrap();
        bytes[next.start + found..next.start + found + 4].copy_from_slice(&new);
    }
}

pub(super) fn small(mut options: WriterOptions, block_bytes: usize) -> WriterOptions {
    options.block_bytes = block_bytes;
    options
}

fn snapshot() -> EncodedRun {
    let mut writer =
        RunWriter::new(small(WriterOptions::snapshot(), 64), stream(), names(), SequenceNumber::MIN, None).unwrap();
    for record in history().iter().filter(|record| record.new.is_some()) {
        let item = Record {
            key: record.key.as_bytes(),
            sequence: SequenceNumber::MIN,
            second: None,
            kind: RecordKind::Item,
            new: record.new.as_ref().map(Image::as_bytes),
            old: OldImage::None,
            user: None,
        };
        if record.kind == ChangeKind::Modify && record.sequence == history()[1].sequence {
            continue;
        }
        writer.push(&item).unwrap();
    }
    writer.finish().unwrap()
}

fn fold() -> EncodedRun {
    let first = history().iter().map(|record| record.sequence).min().unwrap();
    let second = history().iter().filter_map(|record| record.second).min();
    let options = small(WriterOptions::snapshot(), 64);
    let mut writer = RunWriter::new(options, stream(), names(), first, second).unwrap();
    for entry in fold_entries() {
        writer
            .push(&Record {
                key: &entry.0,
                sequence: entry.1,
                second: entry.2,
                kind: if entry.3.is_some() { RecordKind::Item } else { RecordKind::Tombstone },
                new: entry.3.as_deref(),
                old: OldImage::None,
                user: None,
            })
            .unwrap();
    }
    writer.finish().unwrap()
}

/// As many blocks as a time index needs.
fn timed() -> EncodedRun {
    let record = history().remove(0);
    let at = |number: u8| ChangeRecord {
        key: ItemKey::from_bytes(Bytes::from(vec![3, b'a' + number, 0, 1])),
        second: Second::new(1_585_440_000 + u64::from(number) * 7919 % 100_000).ok(),
        ..record.clone()
    };
    encode(small(WriterOptions::columns(), 1), &(0..20).map(at).collect::<Vec<_>>())
}

type Entry = (Vec<u8>, SequenceNumber, Option<Second>, Option<Vec<u8>>);

/// The last record of each key as an entry, and one item of which nothing more is known.
fn fold_entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for record in history() {
        let image = record.new.as_ref().map(|image| image.as_bytes().to_vec());
        let entry = (record.key.as_bytes().to_vec(), record.sequence, record.second, image);
        match entries.last_mut() {
            Some(last) if last.0 == entry.0 => *last = entry,
            _ => entries.push(entry),
        }
    }
    let unknown = image("unknown").as_bytes().to_vec();
    entries.push((vec![0xff, 0xff], SequenceNumber::MIN, None, Some(unknown)));
    entries
}

#[test]
fn a_fold_keeps_sequence_numbers_seconds_and_tombstones() {
    let run = fold();
    let read = read_all(&run.bytes).unwrap();
    for entry in &read {
        assert_eq!(entry.kind == RecordKind::Tombstone, entry.new.is_none());
        assert_eq!((&entry.old, &entry.user), (&None, &None));
    }
    let told: Vec<Entry> = read.into_iter().map(|entry| (entry.key, entry.sequence, entry.second, entry.new)).collect();
    assert_eq!(told, fold_entries());
    let removed = told.iter().filter(|entry| entry.3.is_none()).count();
    assert!(removed > 0, "a tombstone is among them");
    assert_eq!(run.footer.statistics.removes, u64::try_from(removed).unwrap());
}

#[test]
fn a_history_round_trips_in_every_encoding_and_block_size() {
    let records = history();
    let expected: Vec<Owned> = records.iter().map(expected).collect();
    for options in
        [WriterOptions::rows(), WriterOptions::columns(), WriterOptions { filter: false, ..WriterOptions::rows() }]
    {
        for block_bytes in [1, 60, 1 << 16] {
            let run = encode(small(options.clone(), block_bytes), &records);
            assert_eq!(run.crc32, crc32fast::hash(&run.bytes));
            assert_eq!(run.size, u64::try_from(run.bytes.len()).unwrap());
            assert_eq!(read_all(&run.bytes).unwrap(), expected);
        }
    }
}

#[test]
fn an_old_image_equal_to_the_record_before_is_stored_as_a_flag() {
    let records = history();
    for options in [WriterOptions::rows(), WriterOptions::columns()] {
        let run = encode(options, &records);
        let verified = verify_object("test", &run.bytes).unwrap();
        let mut cursor = BlockCursor::new("test", verified.tail.footer.clone());
        let block = &verified.tail.blocks[0];
        cursor.load_from(&mut Decompressor::new().unwrap(), 0, block, &run.bytes, Columns::All).unwrap();
        let mut chained = Vec::new();
        while cursor.advance().unwrap() {
            chained.push(matches!(cursor.record().old, OldImage::Same(_)));
        }
        assert_eq!(chained, [false, true, true, false, false, false]);
    }
}

#[test]
fn all_new_images_are_read_where_old_ones_are_not_wanted() {
    let records = history();
    let run = encode(WriterOptions::columns(), &records);
    let Layout::Complete(tail) = read_tail("test", &run.bytes, run.size).unwrap() else {
        panic!("the tail is all there")
    };
    let mut cursor = BlockCursor::new("test", tail.footer.clone());
    cursor.load_from(&mut Decompressor::new().unwrap(), 0, &tail.blocks[0], &run.bytes, Columns::New).unwrap();
    let mut read = Vec::new();
    while cursor.advance().unwrap() {
        read.push(cursor.record().new.map(<[u8]>::to_vec));
        assert!(!matches!(cursor.record().old, OldImage::Whole(_) | OldImage::Patch { .. }));
    }
    let expected: Vec<_> =
        records.iter().map(|record| record.new.as_ref().map(|new| new.as_bytes().to_vec())).collect();
    assert_eq!(read, expected);
}

#[test]
fn every_flipped_bit_is_a_typed_error() {
    let runs = [
        encode(small(WriterOptions::rows(), 100), &history()),
        encode(small(WriterOptions::columns(), 100), &history()),
        encode(WriterOptions::columns(), &history()),
        snapshot(),
        fold(),
        timed(),
    ];
    for run in runs {
        let mut bytes = run.bytes.clone();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let error = verify_object("test", &bytes).expect_err(&format!("byte {at} bit {bit} passes"));
                assert!(
                    matches!(error.problem, Problem::Magic { .. } | Problem::Checksum { .. } | Problem::Version { .. }),
                    "{error}"
                );
                bytes[at] ^= 1 << bit;
            }
        }
        verify_object("test", &bytes).unwrap();
    }
}

#[test]
fn every_cut_and_every_added_byte_is_a_typed_error() {
    for run in [
        encode(small(WriterOptions::rows(), 100), &history()),
        encode(WriterOptions::columns(), &history()),
        snapshot(),
        fold(),
        timed(),
    ] {
        for length in 0..run.bytes.len() {
            assert!(verify_object("test", &run.bytes[..length]).is_err(), "cut at {length}");
            assert!(verify_object("test", &run.bytes[length + 1..]).is_err(), "cut in front, {length}");
        }
        for extra in [0u8, 0x44, 0xFF] {
            let mut longer = run.bytes.clone();
            longer.push(extra);
            assert!(verify_object("test", &longer).is_err());
        }
    }
}

#[test]
fn a_tail_asks_for_more_until_it_has_all() {
    let run = encode(small(WriterOptions::columns(), 1), &history());
    let mut given = 32;
    let tail = loop {
        match read_tail("test", &run.bytes[run.bytes.len() - given..], run.size).unwrap() {
            Layout::Complete(tail) => break tail,
            Layout::More(wanted) => {
                let wanted = usize::try_from(wanted).unwrap();
                assert!(wanted > given);
                given = wanted;
            }
        }
    };
    assert_eq!(tail.blocks.len(), 6);
    assert!(given < run.bytes.len());
}

#[test]
fn another_major_version_is_refused_as_such() {
    for found in [MAJOR - 1, MAJOR + 1, u16::MAX] {
        let mut bytes = encode(WriterOptions::rows(), &history()).bytes;
        bytes[8..10].copy_from_slice(&found.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let error = verify_object("test", &bytes).unwrap_err();
        assert_eq!(error.problem, Problem::Version { found, expected: MAJOR });
        assert_eq!(crate::error::Classify::kind(&error), crate::error::Kind::Unsupported);
    }
}

#[test]
fn two_images_of_four_megabytes_round_trip() {
    let big = |fill: &str| {
        Image::encode(&BTreeMap::from([("b".to_owned(), crate::model::AttributeValue::S(fill.repeat(4_000_000)))]))
            .unwrap()
    };
    let mut record = history().remove(3);
    record.old = Some(big("x"));
    record.new = Some(big("y"));
    for options in [WriterOptions::rows(), WriterOptions::columns()] {
        let run = encode(options, std::slice::from_ref(&record));
        assert_eq!(read_all(&run.bytes).unwrap(), [expected(&record)]);
    }
}

#[test]
fn records_out_of_order_are_refused() {
    let mut records = history();
    records.swap(0, 1);
    assert!(RunWriter::encode(WriterOptions::rows(), stream(), names(), &records).is_err());
    assert!(RunWriter::encode(WriterOptions::rows(), stream(), names(), &[]).is_err());
}

/// Golden files are added, never made anew: bytes that were written once must be read for ever.
#[test]
fn golden_runs_are_read_and_are_what_is_written_today() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let records: Vec<Owned> = history().iter().map(expected).collect();
    let fresh = [
        ("rows-4.seg", encode(small(WriterOptions::rows(), 100), &history())),
        ("columns-4b.seg", encode(small(WriterOptions::columns(), 100), &history())),
        ("snapshot-4.run", snapshot()),
        ("fold-4.run", fold()),
        ("timed-4.seg", timed()),
    ];
    for (name, run) in fresh {
        if std::env::var_os("JOURNAL_ADD_FIXTURES").is_some() && !folder.join(name).exists() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), &run.bytes).unwrap();
        }
        let golden = std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read = read_all(&golden).unwrap();
        if name.starts_with("snapshot") {
            assert_eq!(read.len(), 3);
            assert!(read.iter().all(|item| item.kind == RecordKind::Item));
        } else if name.starts_with("fold") {
            assert_eq!(read.len(), fold_entries().len());
        } else if name.starts_with("timed") {
            assert_eq!(read.len(), 20);
        } else {
            assert_eq!(read, records, "{name}");
        }
        assert_eq!(
            golden, run.bytes,
            "{name}: today's encoder writes other bytes; that needs a new version or a new fixture"
        );
    }
    // What an earlier writer of the same version ended blocks with: the record that filled them.
    let golden = std::fs::read(folder.join("columns-4.seg")).unwrap();
    assert_eq!(read_all(&golden).unwrap(), records);
}

pub(super) fn any_records() -> impl Strategy<Value = Vec<ChangeRecord>> {
    let image = "[a-c]{0,40}".prop_map(|text| image(&text));
    let one = (
        "[a-c]{1,3}",
        0u64..60,
        proptest::option::of(0u64..100),
        0u8..3,
        proptest::option::of(image.clone()),
        image,
        proptest::option::weighted(0.2, Just(UserIdentity::ttl())),
        proptest::bool::weighted(0.7),
    );
    proptest::collection::vec(one, 1..40).prop_map(|parts| {
        let mut records: Vec<ChangeRecord> = parts
            .into_iter()
            .map(|(key, sequence, second, kind, old, new, user, _)| ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from(key)),
                sequence: SequenceNumber::parse(&format!("10000000000000000000{sequence:02}")).unwrap(),
                second: second.map(|s| Second::new(1_585_440_000 + s).unwrap()),
                kind: [ChangeKind::Insert, ChangeKind::Modify, ChangeKind::Remove][usize::from(kind)],
                old,
                new: (kind != 2).then_some(new),
                user,
            })
            .collect();
        records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
        records.dedup_by(|a, b| a.key == b.key && a.sequence == b.sequence);
        // Chain most of what can be chained, as streams do.
        for at in 1..records.len() {
            if records[at].key == records[at - 1].key && at % 3 != 0 {
                records[at].old = records[at - 1].new.clone();
            }
        }
        records
    })
}

proptest! {
    #[test]
    fn any_records_round_trip(records in any_records(), block_bytes in 1usize..3000) {
        let expected: Vec<Owned> = records.iter().map(expected).collect();
        for options in [WriterOptions::rows(), WriterOptions::columns()] {
            let run = encode(small(options, block_bytes), &records);
            prop_assert_eq!(read_all(&run.bytes).unwrap(), expected.clone());
        }
    }

    #[test]
    fn equal_records_are_equal_bytes(records in any_records()) {
        prop_assert_eq!(encode(WriterOptions::rows(), &records).bytes, encode(WriterOptions::rows(), &records).bytes);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify_object("test", &bytes).is_err());
    }
}
