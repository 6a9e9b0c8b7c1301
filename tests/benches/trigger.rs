//! The largest event that Lambda gives, 6 MB with 10,000 records: time to decode it, time to decode and append it, and the
//! memory of a function that does so.
//!
//! The time is that of a store in memory, so it is the function's own; the memory is the resident set at its highest
//! (`VmHWM`) of the real binary on a journal in a folder, as the process tells it after the event.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use journal::append;
use journal::store::memory::MemoryStore;
use journal::trigger::StreamEvent;
use journal_tests::largest_event::{RECORDS, largest_event};
use journal_tests::processes::stream_trigger;
use journal_tests::runtime_api::RuntimeApi;

fn main() {
    let payload = largest_event();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(memory(&payload));

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("event of 10,000 records");
    group.throughput(Throughput::Bytes(u64::try_from(payload.len()).unwrap()));
    let decode = || serde_json::from_str::<StreamEvent>(&payload).unwrap().into_batch().unwrap();
    group.bench_function("decode", |bencher| bencher.iter(|| black_box(decode())));
    group.bench_function("decode and append", |bencher| {
        bencher.iter(|| {
            let store = MemoryStore::new();
            runtime.block_on(append::append(&store, decode())).unwrap()
        });
    });
    group.finish();
    criterion.final_summary();
}

/// Prints the memory of a function before and after the event.
async fn memory(payload: &str) {
    let folder = tempfile::tempdir().unwrap();
    let location = journal::store::file_url(folder.path()).unwrap();
    let mut api = RuntimeApi::start().await;
    let program = stream_trigger()
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let running = api.function(program, &location);
    assert!(api.invoke("{\"Records\":[]}").await.is_success());
    let before = running.memory_peak_kib();
    assert!(api.invoke(payload.to_owned()).await.is_success());
    let after = running.memory_peak_kib();
    println!(
        "an event of {RECORDS} records, {} bytes: peak memory {before:?} KiB before, {after:?} KiB after",
        payload.len()
    );
}
