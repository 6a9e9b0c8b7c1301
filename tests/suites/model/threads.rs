//! Any number of threads gives the same: random histories long enough to be cut into parts, in raw segments, compacted runs and a
//! snapshot, given as records and as items.

use std::num::NonZeroUsize;
use std::ops::Range;

use rand::RngExt as _;
use replayer::digest::{ItemHash, StateDigest};
use replayer::merge::{ItemRef, for_each_part};

use super::*;

const THREADS: [usize; 4] = [1, 2, 3, 8];
/// All in memory, and the least that it may be cut up for: both with more than one part.
const MEMORIES: [usize; 2] = [6 << 20, 300 << 10];
const RECORDS: u64 = 2500;
const KEYS: u32 = 300;

/// Short keys, and keys that begin as others do for longer than is looked at first.
fn key(number: u32) -> ItemKey {
    let text =
        if number.is_multiple_of(3) { format!("note-{number}") } else { format!("a-note-of-a-long-name-{number:012}") };
    ItemKey::encode(&names(), &Attributes::from([("noteId".to_owned(), AttributeValue::S(text))])).unwrap()
}

/// Images that do not compress, so that runs are long enough to be read by range.
fn image(random: &mut StdRng) -> Image {
    let mut content = vec![0u8; random.random_range(0..1200)];
    random.fill(content.as_mut_slice());
    Image::encode(&Attributes::from([("content".to_owned(), AttributeValue::B(content))])).unwrap()
}

/// Records of which only the order of the sequence numbers is sound; some without a second, where that is wanted.
fn history(random: &mut StdRng, undated: bool) -> Vec<ChangeRecord> {
    let mut last: BTreeMap<u32, Image> = BTreeMap::new();
    (1..=RECORDS)
        .map(|number| {
            let id = random.random_range(0..KEYS);
            let old = if random.random_ratio(1, 20) { Some(image(random)) } else { last.remove(&id) };
            let new = (old.is_none() || random.random_ratio(4, 5)).then(|| image(random));
            last.extend(new.clone().map(|new| (id, new)));
            let dated = !undated || random.random_ratio(49, 50);
            ChangeRecord {
                key: key(id),
                sequence: sequence(number * 3),
                second: dated.then(|| second(number / 10 + random.random_range(0..3))),
                kind: match (&old, &new) {
                    (None, _) => ChangeKind::Insert,
                    (_, None) => ChangeKind::Remove,
                    _ => ChangeKind::Modify,
                },
                old,
                new,
                user: None,
            }
        })
        .collect()
}

/// The items that parts gave, in the order in which they were taken, and the sum of the parts' digests.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    items: Vec<(ItemKey, Image)>,
    digest: StateDigest,
    parts: usize,
}

impl Taken {
    fn add(&mut self, item: (ItemKey, Image)) {
        self.digest.add(ItemHash::of_bytes(item.0.as_bytes(), item.1.as_bytes()));
        self.items.push(item);
    }
}

async fn items_on(
    store: &Arc<MemoryStore>,
    inputs: &[RunInput],
    cut: Cut,
    keys: Option<Range<Bytes>>,
    options: MergeOptions,
) -> (Taken, MergeReport) {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let into = taken.clone();
    let visit = |part: &mut Taken, item: ItemRef<'_>| {
        let image = Image::from_bytes(Bytes::copy_from_slice(item.image));
        part.add((ItemKey::from_bytes(Bytes::copy_from_slice(item.key)), image));
        Ok(())
    };
    let take = move |part: Taken| {
        let mut taken = into.lock().unwrap();
        taken.items.extend(part.items);
        taken.digest.merge(&part.digest);
        taken.parts += 1;
        Ok(())
    };
    let parts = (Taken::default, visit, take);
    let report = for_each_part(store.clone(), inputs.to_vec(), cut, keys, options, parts).await.unwrap();
    let taken = std::mem::take(&mut *taken.lock().unwrap());
    (taken, report)
}

/// Records in their order, items in the order of their keys, digests and what is counted: none of it depends on the number of threads,
/// and the items are what the rules say.
#[test]
fn any_number_of_threads_gives_what_one_gives() {
    let (mut parts_max, mut spilled, mut by_range) = (0, false, false);
    for seed in journal_tests::seed::seeds([1, 2, 3, 4]) {
        let mut random = journal_tests::seed::generator("threads", seed);
        let records = history(&mut random, seed.is_multiple_of(2));
        let packing = Packing {
            seed,
            batch_records_max: 200,
            shuffle_all: random.random(),
            twice: 40,
            runs: random.random_range(1..3),
            block_bytes: *[200, 4 << 10, 64 << 10].choose(&mut random).unwrap(),
        };
        let snapshot: Vec<(ItemKey, Image)> = (0..KEYS * 2).map(|number| (key(number), image(&mut random))).collect();
        let mut reference = Reference::of(&records);
        for (key, image) in &snapshot {
            reference.add_snapshot_item(key.clone(), image.clone());
        }
        let mut sorted = records.clone();
        sorted.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)));
        runtime().block_on(async {
            let store = Arc::new(MemoryStore::new());
            packing.store(&store, &records).await;
            let name = format!("{FIRST_SECOND}-baseline-0");
            let mut writer = SnapshotWriter::new(store.clone(), stream(), names(), name).with_part_bytes_max(200 << 10);
            let mut ordered = snapshot;
            ordered.sort();
            for (key, image) in ordered {
                writer.push(key, image).await.unwrap();
            }
            writer.finish(second(0), second(0)).await.unwrap();
            let mut inputs = merged::inputs(&*store, stream().timeline()).await.unwrap();
            inputs.shuffle(&mut random);
            by_range |= inputs.iter().any(|input| input.size > 1 << 20);
            for memory in MEMORIES {
                let on = |threads| MergeOptions { threads: NonZeroUsize::new(threads).unwrap(), ..options(memory) };
                let mut counted = None;
                for threads in THREADS {
                    let (found, report) = records_on(&store, &inputs, on(threads)).await;
                    assert!(found == sorted, "seed {seed}, memory {memory}, {threads} threads: other records");
                    assert_eq!(
                        *counted.get_or_insert(report),
                        report,
                        "seed {seed}, memory {memory}, {threads} threads"
                    );
                }
                let keys = [key(100), key(200)].map(|key| Bytes::copy_from_slice(key.as_bytes()));
                let [from, to] = keys;
                for (cut, keys) in [
                    (Cut::at(second(RECORDS)), None),
                    (Cut::at(second(RECORDS / 20)), None),
                    (Cut::at_sequence(sequence(RECORDS)), Some(from..to)),
                ] {
                    let mut expected = Taken::default();
                    let wanted = |key: &ItemKey| keys.as_ref().is_none_or(|keys| keys.contains(key.as_bytes()));
                    reference.at(cut).into_iter().filter(|(key, _)| wanted(key)).for_each(|item| expected.add(item));
                    let mut counted = None;
                    for threads in THREADS {
                        let what = format!("seed {seed}, memory {memory}, {threads} threads, {cut}");
                        let (found, report) = items_on(&store, &inputs, cut, keys.clone(), on(threads)).await;
                        parts_max = parts_max.max(found.parts);
                        spilled |= report.bytes_spilled > 0;
                        assert!(found.items == expected.items, "{what}: other items");
                        assert_eq!(found.digest, expected.digest, "{what}");
                        // How much goes through temporary files, and which copies are met there, depends on how many read at once.
                        let report = MergeReport { bytes_spilled: 0, duplicates: 0, ..report };
                        assert_eq!(*counted.get_or_insert(report), report, "{what}");
                        assert_eq!(report.items, u64::try_from(found.items.len()).unwrap(), "{what}");
                    }
                }
            }
        });
    }
    assert!(parts_max > 3 && spilled && by_range, "{parts_max} parts, spilled: {spilled}, read by range: {by_range}");
}
