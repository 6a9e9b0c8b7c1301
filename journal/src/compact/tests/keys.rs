//! Where one output ends and the next begins: between keys, however many records one has.

use super::*;
use crate::format::{OldImage, Record, RecordKind, RunWriter, WriterOptions};

/// More changes of one item than a block holds.
const MANY: u64 = 400;

/// An hour in which the items were changed so often, one after the other. Each key begins with the one before it.
fn hour(times: &[u64]) -> Vec<ChangeRecord> {
    let changes = times.iter().enumerate().flat_map(|(id, times)| (0..*times).map(move |change| (id, change)));
    changes
        .zip(0u64..)
        .map(|((id, change), number)| {
            let image = |number: u64| Image::from_bytes(Bytes::from(noise(number)));
            ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from("k".repeat(id + 1))),
                sequence: SequenceNumber::parse(&(number + 100).to_string()).unwrap(),
                second: Some(second(BEGINNING + number)),
                kind: if change == 0 { ChangeKind::Insert } else { ChangeKind::Modify },
                old: (change > 0).then(|| image(number - 1)),
                new: Some(image(number)),
                user: None,
            }
        })
        .collect()
}

fn cut_at(run_bytes_max: u64) -> CompactOptions {
    CompactOptions { run_bytes_max, ..keeping() }
}

/// First and last key of each output, in the order of the keys.
async fn outputs(store: &Arc<MemoryStore>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut keys = Vec::new();
    for segment in objects(store).await.segments.iter().filter(|segment| segment.name.level > 0) {
        let tail = merge::tail_of(store.as_ref(), &segment.key).await.unwrap();
        keys.push((tail.blocks[0].first_key.clone(), tail.footer.last_key.clone()));
    }
    keys.sort();
    keys
}

fn each_alone(records: &[ChangeRecord]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut keys: Vec<Vec<u8>> = records.iter().map(|record| record.key.as_bytes().to_vec()).collect();
    keys.dedup();
    keys.into_iter().map(|key| (key.clone(), key)).collect()
}

#[tokio::test]
async fn all_records_of_a_key_lie_in_one_output_however_many_there_are() {
    let records = hour(&[MANY, 1, MANY, MANY, 2]);
    let store = history_of(&records, 300).await;
    compact(store.clone(), LATER, &cut_at(1)).await.unwrap();
    assert_eq!(outputs(&store).await, each_alone(&records));
    let mut long = 0;
    for segment in objects(&store).await.segments.iter().filter(|segment| segment.name.level > 0) {
        let tail = merge::tail_of(store.as_ref(), &segment.key).await.unwrap();
        long += usize::from(tail.blocks.len() > 1);
    }
    assert_eq!(long, 3, "each of the long ones takes several blocks, and was beyond the bound long before its end");
}

#[tokio::test]
async fn an_output_ends_with_the_key_that_brings_it_to_its_size_and_with_none_before() {
    let records = hour(&[MANY, 1, 1]);
    let names = KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap();
    let (sequence, first) = (records[0].sequence, records[0].second);
    let mut writer = RunWriter::new(WriterOptions::columns(), stream(), names, sequence, first).unwrap();
    for record in &records[..usize::try_from(MANY).unwrap()] {
        let record = Record {
            key: record.key.as_bytes(),
            sequence: record.sequence,
            second: record.second,
            kind: RecordKind::Change(record.kind),
            new: record.new.as_ref().map(Image::as_bytes),
            old: record.old.as_ref().map_or(OldImage::None, |old| OldImage::Whole(old.as_bytes())),
            user: None,
        };
        writer.push(&record).unwrap();
    }
    let reached = writer.size();
    for (run_bytes_max, alone) in [(reached, true), (reached + 1, false)] {
        let store = history_of(&records, 300).await;
        compact(store.clone(), LATER, &cut_at(run_bytes_max)).await.unwrap();
        let outputs = outputs(&store).await;
        assert_eq!(outputs[0].1 == outputs[0].0, alone, "{outputs:?} of at most {run_bytes_max} bytes");
        assert_eq!(read(&store, false).await, told(&records));
    }
}

/// Behind the last key that is said to be stored nothing may be missing, and nothing be written again.
#[tokio::test]
async fn stopped_between_outputs_or_within_a_long_key_it_goes_on_with_the_next_key() {
    let records = hour(&[MANY, 1, MANY, 1, 1, MANY, 1]);
    // More than a run begins with, so that the short ones lie before the long ones.
    let bound = cut_at(100);
    let whole = history_of(&records, 300).await;
    compact(whole.clone(), LATER, &bound).await.unwrap();
    let whole = outputs(&whole).await;
    assert_eq!(whole.len(), 4);
    assert!(whole.windows(2).all(|pair| pair[0].1 < pair[1].0), "no key is in two outputs");
    let (mut step, mut stopped, mut resumed) = (0, true, 0);
    while stopped {
        step += 1;
        for lost in [false, true] {
            let memory = history_of(&records, 300).await;
            let plan = FaultPlan::none().stop_after(step);
            let plan = if lost { plan.fail_after(step) } else { plan };
            let store = Arc::new(FaultyStore::new(memory.clone(), plan));
            stopped = compact(store, LATER, &bound).await.is_err();
            resumed += compact(memory.clone(), LATER, &bound).await.unwrap().resumed;
            assert_eq!(outputs(&memory).await, whole, "stopped after step {step}");
            // What the outputs hold alone.
            compact(memory.clone(), LATER, &options()).await.unwrap();
            assert_eq!(levels(&memory).await.keys().collect::<Vec<_>>(), [&3], "stopped after step {step}");
            assert_eq!(read(&memory, true).await, told(&records), "stopped after step {step}");
        }
    }
    assert!(resumed > 5, "{resumed} went on from what was there");
}
