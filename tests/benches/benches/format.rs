//! How fast runs are written, read and merged, and how near that comes to the physical limit.
//!
//! `cargo bench --workspace --bench format` prints a table first: every case and its limit are timed in alternating
//! rounds of one process, so that a busy machine slows both. The limit R of reading is a CRC-32 and a zstd decompression
//! of exactly the chunks that were read, into one buffer that is kept: nothing is parsed. The limit of writing is a
//! zstd compression of the same raw chunks and the CRC-32s. Both work from memory: the time to read a file would only
//! flatter the ratios. The share is also given by processor time of all threads, which other programs disturb less, where
//! Linux tells it. Then criterion times each case alone and compares it with the last time.
//!
//! `BENCH_CHANGES` (100000) and `BENCH_ROUNDS` (15) set the scale, `BENCH_CASE` (`W1 decode`) chooses cases by a part of
//! their names. `-- --once` runs each case and its limit once, for
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*case_body*'` (or `*limit_body*`).

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use journal::format::{
    BlockCursor, BlockEntry, ChunkRef, Columns, Decompressor, EncodedRun, Footer, Layout, RunWriter, Tail,
    WriterOptions, read_tail,
};
use journal::model::{ChangeRecord, Second};
use journal::store::WriteStore as _;
use journal::store::memory::MemoryStore;
use journal_benches::workload::{self, Change, Profile, Workload};
use replayer::cut::{Cut, Position};
use replayer::merge::{MergeOptions, RunInput, RunKind, for_each_item};

type Work<'a> = Box<dyn FnMut() + 'a>;

/// One thing that is timed, and what it is compared with.
struct Case<'a> {
    name: String,
    records: usize,
    /// Bytes of the objects written or read.
    bytes: usize,
    work: Work<'a>,
    limit: Work<'a>,
}

/// A run in memory.
struct Run {
    bytes: Vec<u8>,
    tail: Tail,
}

impl Run {
    fn new(run: EncodedRun) -> Self {
        match read_tail("bench", &run.bytes, run.size).unwrap() {
            Layout::Complete(tail) => Self { bytes: run.bytes, tail },
            Layout::More(_) => panic!("a whole object has its tail"),
        }
    }

    fn footer(&self) -> &Footer {
        &self.tail.footer
    }

    /// The stored bytes of a chunk.
    fn chunk(&self, chunk: &ChunkRef) -> &[u8] {
        let start = usize::try_from(chunk.offset).unwrap();
        &self.bytes[start..start + chunk.stored]
    }

    /// The frames of a block that are read for these columns, each in the chunks that it lies in: the last chunk goes on with the
    /// frame of the third.
    fn frames(entry: &BlockEntry, columns: Columns) -> Vec<Vec<ChunkRef>> {
        let (mut alone, mut images) = (entry.chunks.clone(), Vec::new());
        if alone.len() > 3 && columns == Columns::Latest {
            alone.truncate(3);
        } else if alone.len() > 3 {
            images = vec![alone.remove(2), alone.remove(3)];
        }
        let mut frames: Vec<Vec<ChunkRef>> = alone.into_iter().map(|chunk| vec![chunk]).collect();
        frames.push(images);
        for frame in &mut frames {
            frame.retain(|chunk| chunk.stored > 0);
        }
        frames.retain(|frame| !frame.is_empty());
        frames
    }

    /// Checks and decompresses a frame.
    fn decompress(
        &self,
        frame: &[ChunkRef],
        decompressor: &mut zstd::bulk::Decompressor<'_>,
        [stored, raw]: [&mut Vec<u8>; 2],
    ) {
        stored.clear();
        raw.clear();
        raw.reserve_exact(frame.iter().map(|chunk| chunk.raw).sum());
        for chunk in frame {
            assert_eq!(crc32fast::hash(self.chunk(chunk)), chunk.crc32);
        }
        match frame {
            [only] => decompressor.decompress_to_buffer(self.chunk(only), raw).unwrap(),
            [first, rest] => {
                let first = self.chunk(first);
                stored.extend_from_slice(&first[..first.len() - 3]);
                stored.extend_from_slice(self.chunk(rest));
                decompressor.decompress_to_buffer(stored, raw).unwrap()
            }
            _ => panic!("a frame lies in one chunk or in two"),
        };
    }
}

fn encode(options: &WriterOptions, records: &[ChangeRecord]) -> EncodedRun {
    RunWriter::encode(options.clone(), workload::stream().unwrap(), workload::key_attributes().unwrap(), records)
        .unwrap()
}

/// R: checks and decompresses every chunk, parses nothing.
fn read_limit(
    runs: &[Run],
    columns: Columns,
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    [stored, raw]: &mut [Vec<u8>; 2],
) {
    for run in runs {
        for frame in run.tail.blocks.iter().flat_map(|entry| Run::frames(entry, columns)) {
            run.decompress(&frame, decompressor, [stored, raw]);
            black_box(raw.as_slice());
        }
    }
}

/// Reads every record of every run, one run after the other.
fn read_records(runs: &[Run], columns: Columns, decompressor: &mut Decompressor) {
    for run in runs {
        let mut cursor = BlockCursor::new("bench", run.tail.footer.clone());
        for (number, entry) in run.tail.blocks.iter().enumerate() {
            cursor.load_from(decompressor, number, entry, &run.bytes, columns).unwrap();
            while cursor.advance().unwrap() {
                black_box(cursor.record());
            }
        }
    }
}

/// The raw content of frames of runs, as their writer had it before compression.
fn raw_frames(runs: &[Run]) -> Vec<Vec<u8>> {
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let mut raws = Vec::new();
    for run in runs {
        for frame in run.tail.blocks.iter().flat_map(|entry| Run::frames(entry, Columns::All)) {
            let mut raw = Vec::new();
            run.decompress(&frame, &mut decompressor, [&mut Vec::new(), &mut raw]);
            raws.push(raw);
        }
    }
    raws
}

fn write_limit(chunks: &[Vec<u8>], compressor: &mut zstd::bulk::Compressor<'_>, buffer: &mut Vec<u8>) {
    for chunk in chunks {
        buffer.clear();
        buffer.reserve(zstd::zstd_safe::compress_bound(chunk.len()));
        compressor.compress_to_buffer(chunk, buffer).unwrap();
        black_box(crc32fast::hash(buffer));
    }
}

fn encode_case(name: String, options: WriterOptions, batches: &[Vec<ChangeRecord>]) -> Case<'_> {
    let runs: Vec<Run> = batches.iter().map(|batch| Run::new(encode(&options, batch))).collect();
    let chunks = raw_frames(&runs);
    let mut compressor = zstd::bulk::Compressor::new(options.level).unwrap();
    let mut buffer = Vec::new();
    Case {
        name,
        records: batches.iter().map(Vec::len).sum(),
        bytes: runs.iter().map(|run| run.bytes.len()).sum(),
        work: Box::new(move || {
            for batch in batches {
                black_box(encode(&options, batch));
            }
        }),
        limit: Box::new(move || write_limit(&chunks, &mut compressor, &mut buffer)),
    }
}

fn decode_case(name: String, runs: &[Run], columns: Columns) -> Case<'_> {
    let mut decompressor = Decompressor::new().unwrap();
    let mut limit_decompressor = zstd::bulk::Decompressor::new().unwrap();
    let mut buffers = [Vec::new(), Vec::new()];
    Case {
        name,
        records: runs.iter().map(|run| usize::try_from(run.footer().statistics.records).unwrap()).sum(),
        bytes: runs.iter().map(|run| run.bytes.len()).sum(),
        work: Box::new(move || read_records(runs, columns, &mut decompressor)),
        limit: Box::new(move || read_limit(runs, columns, &mut limit_decompressor, &mut buffers)),
    }
}

/// The state at the end of history, from a store in memory. All of the limit's work is in the merge's too.
fn merge_case<'a>(name: String, runs: &'a [Run], runtime: &'a tokio::runtime::Runtime) -> Case<'a> {
    let store = Arc::new(MemoryStore::new());
    let mut inputs = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let key = format!("{number}.seg");
        runtime.block_on(store.put_new(&key, Bytes::from(run.bytes.clone()))).unwrap();
        inputs.push(RunInput {
            key,
            size: u64::try_from(run.bytes.len()).unwrap(),
            kind: RunKind::Segment,
            from: None,
            until: None,
        });
    }
    let cut = Cut { position: Position::Second(Second::MAX), inclusive: true };
    let work = move || {
        let (store, inputs) = (store.clone(), inputs.clone());
        let visit = |item: replayer::merge::ItemRef<'_>| {
            black_box(item);
            Ok(())
        };
        let report = runtime.block_on(for_each_item(store, inputs, cut, None, MergeOptions::default(), visit)).unwrap();
        black_box(report);
    };
    let Case { records, bytes, limit, .. } = decode_case(String::new(), runs, Columns::Latest);
    Case { name, records, bytes, work: Box::new(work), limit }
}

/// Everything that the cases borrow, for one profile.
struct Data {
    name: &'static str,
    batches_100: Vec<Vec<ChangeRecord>>,
    batches_1000: Vec<Vec<ChangeRecord>>,
    compacted: Vec<Vec<ChangeRecord>>,
    tail: Vec<Run>,
    columns: Vec<Run>,
    /// Three runs of ever younger and shorter parts of the history, as levels of compaction leave them.
    levels: Vec<Run>,
}

impl Data {
    fn new(profile: Profile, changes: usize) -> Self {
        let changes: Vec<Change> = Workload::new(profile).take(changes).collect();
        let batches = |size| changes.chunks(size).map(|batch| workload::sorted_records(batch).unwrap()).collect();
        let batches_1000: Vec<Vec<ChangeRecord>> = batches(1000);
        let compacted = vec![workload::sorted_records(&changes).unwrap()];
        let (old, young) = changes.split_at(changes.len() / 100 * 80);
        let (young, youngest) = young.split_at(young.len() / 100 * 80);
        let levels = [old, young, youngest].map(|part| workload::sorted_records(part).unwrap());
        let runs = |options: WriterOptions, batches: &[Vec<ChangeRecord>]| -> Vec<Run> {
            batches.iter().map(|batch| Run::new(encode(&options, batch))).collect()
        };
        Self {
            name: profile.name,
            tail: runs(WriterOptions::rows(), &batches_1000),
            columns: runs(WriterOptions::columns(), &compacted),
            levels: runs(WriterOptions::columns(), &levels),
            batches_100: batches(100),
            batches_1000,
            compacted,
        }
    }

    /// The cases whose names have `wanted` in them.
    fn cases<'a>(&'a self, wanted: &str, runtime: &'a tokio::runtime::Runtime) -> Vec<Case<'a>> {
        type Make<'a> = Box<dyn Fn(String) -> Case<'a> + 'a>;
        let all: [(&str, Make<'a>); 10] = [
            ("encode rows, batches of 100", {
                Box::new(|name| encode_case(name, WriterOptions::rows(), &self.batches_100))
            }),
            ("encode rows, batches of 1000", {
                Box::new(|name| encode_case(name, WriterOptions::rows(), &self.batches_1000))
            }),
            ("encode columns", Box::new(|name| encode_case(name, WriterOptions::columns(), &self.compacted))),
            ("decode rows", Box::new(|name| decode_case(name, &self.tail, Columns::All))),
            ("decode columns, all", Box::new(|name| decode_case(name, &self.columns, Columns::All))),
            ("decode columns, latest alone", Box::new(|name| decode_case(name, &self.columns, Columns::Latest))),
            ("merge one run of columns", Box::new(|name| merge_case(name, &self.columns, runtime))),
            ("merge three runs of columns", Box::new(|name| merge_case(name, &self.levels, runtime))),
            ("merge 20 runs of rows", {
                Box::new(|name| merge_case(name, &self.tail[..self.tail.len().min(20)], runtime))
            }),
            ("merge all runs of rows", Box::new(|name| merge_case(name, &self.tail, runtime))),
        ];
        let named = all.into_iter().map(|(case, make)| (format!("{} {case}", self.name), make));
        named.filter(|(name, _)| name.contains(wanted)).map(|(name, make)| make(name)).collect()
    }
}

/// Time by the clock and by the processor.
#[derive(Clone, Copy)]
struct Cost {
    clock: f64,
    processor: f64,
}

/// Nanoseconds that the threads of this process ran so far; 0 where the system does not tell.
fn processor_nanoseconds() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let of_task = |path: std::path::PathBuf| -> Option<u64> {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.flatten().filter_map(|task| of_task(task.path())).sum()
}

fn measure(work: &mut Work<'_>) -> Cost {
    let (clock, processor) = (Instant::now(), processor_nanoseconds());
    work();
    let clock = clock.elapsed().as_secs_f64();
    Cost { clock, processor: Duration::from_nanos(processor_nanoseconds().saturating_sub(processor)).as_secs_f64() }
}

#[inline(never)]
fn case_body(case: &mut Case<'_>) -> Cost {
    measure(&mut case.work)
}

#[inline(never)]
fn limit_body(case: &mut Case<'_>) -> Cost {
    measure(&mut case.limit)
}

/// Median, lowest and highest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Alternates a case and its limit, and prints one line.
fn compare(case: &mut Case<'_>, rounds: usize) {
    case_body(case);
    limit_body(case);
    let costs: Vec<(Cost, Cost)> = (0..rounds)
        .map(|round| {
            if round % 2 == 0 {
                let work = case_body(case);
                (work, limit_body(case))
            } else {
                let limit = limit_body(case);
                (case_body(case), limit)
            }
        })
        .collect();
    let records = number(case.records);
    let of = |value: fn(&(Cost, Cost)) -> f64| spread(costs.iter().map(value).collect());
    let (time, fastest, slowest) = of(|(work, _)| work.clock);
    let (share, least, most) = of(|(work, limit)| 100.0 * limit.clock / work.clock);
    let (processor, processor_least, processor_most) = of(|(work, limit)| 100.0 * limit.processor / work.processor);
    println!(
        "{:<38} {:>6.2} ({:>5.2}–{:>5.2}) {:>8.1} {share:>7.1} ({least:>5.1}–{most:>5.1}) {processor:>7.1} \
         ({processor_least:>5.1}–{processor_most:>5.1})",
        case.name,
        records / time / 1e6,
        records / slowest / 1e6,
        records / fastest / 1e6,
        number(case.bytes) / records,
    );
}

/// A count as a number to divide by; no benchmark counts beyond 32 bits.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a benchmark's counts fit 32 bits"))
}

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let changes = setting("BENCH_CHANGES", 100_000);
    let wanted = std::env::var("BENCH_CASE").unwrap_or_default();
    let profiles = [Profile::w1(), Profile::w2(changes / 8)].into_iter();
    let profiles = profiles.filter(|profile| !wanted.starts_with('W') || wanted.starts_with(profile.name));
    let data: Vec<Data> = profiles.map(|profile| Data::new(profile, changes)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut cases: Vec<Case<'_>> = data.iter().flat_map(|data| data.cases(&wanted, &runtime)).collect();
    if std::env::args().any(|argument| argument == "--once") {
        for case in &mut cases {
            case_body(case);
            limit_body(case);
        }
        return;
    }
    println!("{changes} changes a profile; median (lowest–highest) of rounds that alternate with their limit");
    println!(
        "{:<38} {:>20} {:>8} {:>21} {:>21}",
        "case", "million records/s", "B/record", "% of limit by clock", "% by processor"
    );
    for case in &mut cases {
        compare(case, setting("BENCH_ROUNDS", 15));
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for case in &mut cases {
        let mut group = criterion.benchmark_group(case.name.as_str());
        group.throughput(Throughput::Elements(u64::try_from(case.records).unwrap()));
        group.bench_function("alone", |bencher| bencher.iter(&mut case.work));
        group.finish();
    }
    criterion.final_summary();
}
