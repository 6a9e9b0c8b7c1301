//! The memory that a replay takes does not follow the number of changes nor of items.
//!
//! What is measured: the peak resident set (`ru_maxrss` of the ended child, which Python's `resource` reads) of
//! `replay export --output FILE` as users run it, from a journal in a folder: with 8 MiB for reading, where a small journal fills the
//! bound as a large one does, and with the default, whose buffers a small journal cannot fill.

use std::io::BufRead as _;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use journal::format::{RunWriter, WriterOptions};
use journal::layout::SegmentName;
use journal::model::{ChangeRecord, Image};
use journal_tests::processes::binary;

use super::full;
use super::table::{BEGINNING, change, image, names, start, stream, timeline};

/// Items and changes of two journals.
type Sizes = [(u64, u64); 2];

/// How many segments a journal has, whatever the number of its changes: as after compaction, few.
const SEGMENTS: u64 = 24;

/// A journal of `changes` changes of `items` items: in each segment the items of every twenty-fourth of history, sorted.
async fn journal(folder: &Path, items: u64, changes: u64) {
    let location = format!("file://{}", folder.display());
    journal::store::init(&location).await.unwrap();
    let store = journal::store::open_write(&location).await.unwrap();
    start(store.as_ref(), true).await;
    let content = |id: u64, round: u64| -> Image {
        image(format!("{id} in round {round}: {}", "all quiet at home, nothing new ".repeat(2)))
    };
    let segments = SEGMENTS.min(changes);
    let first = |number: u64| changes * number / segments;
    for number in 0..segments {
        // Change n is the (n / items)th of item n % items.
        let mut order: Vec<u64> = (first(number)..first(number + 1)).collect();
        order.sort_by_key(|change| (change % items, *change));
        let records: Vec<ChangeRecord> = order
            .into_iter()
            .map(|at| {
                let (id, round) = (at % items, at / items);
                let old = (round > 0).then(|| content(id, round - 1));
                change(id, at + 1, BEGINNING + at / 100, old, Some(content(id, round)))
            })
            .collect();
        let run = RunWriter::encode(WriterOptions::columns(), stream(), names(), &records).unwrap();
        let name = SegmentName {
            level: 1,
            seconds: run.footer.statistics.seconds,
            sequences: run.footer.sequences,
            crc32: run.crc32,
            appended: Some(BEGINNING + changes),
        };
        store.put_new(&name.key(&timeline()), Bytes::from(run.bytes)).await.unwrap();
    }
}

/// What reading may take, in MiB: little, and the default.
const BOUNDS_MIB: [u64; 2] = [8, 48];

/// Peak resident set in KiB of an export of everything.
fn peak(folder: &Path, output: &Path, items: u64, memory_mib: u64) -> u64 {
    let measure = "import resource, subprocess, sys\n\
                   code = subprocess.run(sys.argv[1:]).returncode\n\
                   print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
                   sys.exit(code)";
    let ran = Command::new("python3")
        .args(["-c", measure])
        .arg(binary("replay"))
        .args(["export", "--memory-mib", &memory_mib.to_string()])
        .args(["--table", "notes-table-dev", "--at", "latest", "--force", "--quiet", "--journal"])
        .arg(format!("file://{}", folder.display()))
        .arg("--output")
        .arg(output)
        .env_remove("JOURNAL_URL")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let lines = std::io::BufReader::new(std::fs::File::open(output).unwrap()).lines().count();
    assert_eq!(u64::try_from(lines).unwrap(), items, "every item is in the export");
    String::from_utf8(ran.stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peak_memory_of_a_replay_does_not_follow_changes_or_items() {
    if Command::new("python3").arg("--version").output().is_err() {
        journal_tests::skip("the_peak_memory_of_a_replay_does_not_follow_changes_or_items", "python3 is not installed");
        return;
    }
    // The claim: 100 k to 10 M changes, and 10 k to 2 M items, each with one change or with few. Reduced: the same bounds, closer to
    // each other.
    let scales: [Sizes; 3] = if full() {
        [
            [(20_000, 100_000), (20_000, 10_000_000)],
            [(10_000, 10_000), (2_000_000, 2_000_000)],
            [(10_000, 4_000_000), (2_000_000, 4_000_000)],
        ]
    } else {
        [
            [(5_000, 100_000), (5_000, 400_000)],
            [(5_000, 5_000), (100_000, 100_000)],
            [(5_000, 200_000), (100_000, 200_000)],
        ]
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("export.json");
    println!("{:>10} {:>10} {:>14} {:>14}", "items", "changes", "KiB with 8 MiB", "with 48 MiB");
    let mut all = Vec::new();
    for pair in scales {
        let mut peaks: [Vec<u64>; 2] = Default::default();
        for (items, changes) in pair {
            let journal_folder = folder.path().join(format!("{items}-{changes}"));
            journal(&journal_folder, items, changes).await;
            for (peaks, memory) in peaks.iter_mut().zip(BOUNDS_MIB) {
                peaks.push(peak(&journal_folder, &output, items, memory));
            }
            println!("{items:>10} {changes:>10} {:>14} {:>14}", peaks[0].last().unwrap(), peaks[1].last().unwrap());
            std::fs::remove_dir_all(&journal_folder).unwrap();
        }
        all.push(peaks);
    }
    for peaks in all.into_iter().flatten() {
        let (least, most) = (peaks.iter().min().unwrap(), peaks.iter().max().unwrap());
        assert!(most * 100 <= least * 120, "the peaks {peaks:?} KiB are more than 20 % apart");
    }
}
