//! Append: Lambda's JSON to the bytes of segments.

use std::sync::atomic::Ordering;

use crate::bars::{Bar, Row};
use crate::limits::{self, Compressor};
use crate::measure::Pair;
use crate::number;
use crate::stores::NullStore;
use crate::workload::{self, Change, Profile, Workload};

use super::Context;

/// Payloads of batches, and the raw rows that segments of them have.
#[derive(Debug)]
pub struct Payloads {
    json: Vec<String>,
    rows: Vec<Vec<u8>>,
    changes: u64,
}

impl Payloads {
    /// Of the first changes of a profile.
    #[must_use]
    pub fn new(profile: Profile, changes: u64, batch: usize) -> Self {
        let all: Vec<Change> = Workload::new(profile).take(usize::try_from(changes).unwrap_or(0)).collect();
        let json: Vec<String> = all.chunks(batch).map(workload::lambda_document).collect();
        let (stream, keys) = (workload::stream().unwrap(), workload::key_attributes().unwrap());
        let options = journal::format::WriterOptions::rows();
        let encode = |records: &[_]| {
            journal::format::RunWriter::encode(options.clone(), stream.clone(), keys.clone(), records).unwrap()
        };
        let rows = all
            .chunks(batch)
            .flat_map(|batch| limits::raw_chunks(&encode(&workload::sorted_records(batch).unwrap()).bytes))
            .collect();
        Self { json, rows, changes }
    }

    /// Ours: decoded, sorted, encoded, handed to a store that keeps nothing. Gives the bytes of the segments.
    ///
    /// # Panics
    /// When a record is not understood.
    #[must_use]
    pub fn append(&self, runtime: &tokio::runtime::Runtime) -> u64 {
        let store = NullStore::default();
        for json in &self.json {
            let batch = journal::source::event::decode_event(json.as_bytes()).expect("an event");
            assert!(batch.quarantined.is_empty());
            runtime.block_on(journal::append::append(&store, batch)).expect("an append");
        }
        store.bytes.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn limit(&self, compressor: &mut Compressor) {
        for json in &self.json {
            limits::parse(json.as_bytes());
        }
        compressor.compress(&self.rows);
    }
}

/// Speed and size of segments.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let mut rows = Vec::new();
    for (batch, bar) in [(1000, 205.0), (100, 220.0)] {
        let payloads = Payloads::new(Profile::w1(), context.changes.min(100_000), batch);
        let mut bytes = 0;
        let mut compressor = Compressor::default();
        let pair = Pair::measure(
            context.rounds,
            || bytes = payloads.append(&context.runtime),
            || payloads.limit(&mut compressor),
        );
        let changes = number(payloads.changes);
        let what = format!("append, Lambda JSON to segment bytes, batches of {batch}: share of R_append");
        let (ours, limit) = (pair.processor().median / changes * 1e6, pair.limit_processor().median / changes * 1e6);
        rows.push(
            Row::spread("append", what, Bar::AtLeast(90.0), "%", pair.share())
                .note(format!("{ours:.2} µs of processor a change, R_append {limit:.2}")),
        );
        let what = format!("segment bytes a change, W1, batches of {batch}");
        rows.push(Row::new("append", what, Bar::AtMost(bar), "B", number(bytes) / changes));
    }
    match (
        crate::measure::instructions("append", &context.folder, context.counted_changes),
        crate::measure::instructions("append-limit", &context.folder, context.counted_changes),
    ) {
        (Ok(ours), Ok(limit)) => {
            let (ours, limit) = (number(ours), number(limit));
            let changes = number(context.counted_changes);
            let note = format!("{:.0} instructions a change, R_append {:.0}", ours / changes, limit / changes);
            let what = "append, batches of 1000: share of R_append by instructions";
            rows.push(Row::new("append", what, Bar::None, "%", 100.0 * limit / ours).note(note));
        }
        (Err(why), _) | (_, Err(why)) => {
            let what = "append, batches of 1000: share of R_append by instructions";
            rows.push(Row::unmeasured("append", what, Bar::None, "%", why));
        }
    }
    rows
}
