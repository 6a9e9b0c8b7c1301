//! Makes batches of records durable: one segment a timeline, create-only, then acknowledged.
//!
//! What enters are decoded records and what could not be decoded; what leaves is a report, and only when everything is
//! durable. Names are made of the records, so the same batch twice is one object. Knows no source and no clock.

mod quarantine;
mod snapshot;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::try_join_all;

use crate::error::Result;
use crate::format::{RunWriter, WriterOptions};
use crate::layout::SegmentName;
use crate::model::{ChangeRecord, KeyAttributes, StreamArn, StreamRecord, Timeline};
use crate::store::{PutOutcome, WriteStore};

pub use snapshot::{PART_BYTES_MAX, SnapshotWriter};

/// A record that could not be understood: kept as raw bytes with the reason, never dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRecord {
    /// The timeline, where at least that could be read.
    pub timeline: Option<Timeline>,
    /// The record exactly as it came.
    pub raw: Bytes,
    /// Why it was not understood.
    pub reason: String,
}

/// What one read of a source gave.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Records of any timelines, in any order.
    pub records: Vec<StreamRecord>,
    /// What could not be understood.
    pub quarantined: Vec<QuarantinedRecord>,
}

/// What an append did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct AppendReport {
    /// Records in segments, those that were there already included.
    pub records: u64,
    /// Segments made.
    pub segments_created: u64,
    /// Segments that were there already with the same bytes.
    pub segments_already_there: u64,
    /// Bytes of the segments made.
    pub bytes: u64,
    /// Records put into quarantine.
    pub quarantined: u64,
}

impl std::ops::AddAssign for AppendReport {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.segments_created += other.segments_created;
        self.segments_already_there += other.segments_already_there;
        self.bytes += other.bytes;
        self.quarantined += other.quarantined;
    }
}

/// Makes a batch durable. When it returns, every record lies in a segment or in quarantine; the same batch again meets
/// its own objects.
///
/// # Errors
/// When the store fails: then nothing of the batch is acknowledged, and it must be given again.
pub async fn append(store: &dyn WriteStore, batch: Batch) -> Result<AppendReport> {
    let mut report = AppendReport::default();
    let mut quarantined = batch.quarantined;
    let mut timelines: BTreeMap<(StreamArn, KeyAttributes), Vec<ChangeRecord>> = BTreeMap::new();
    for record in batch.records {
        timelines.entry((record.stream, record.key_attributes)).or_default().push(record.record);
    }
    let mut segments = Vec::with_capacity(timelines.len());
    for ((stream, key_attributes), records) in timelines {
        let records = sort_and_dedup(records, stream.timeline(), &mut quarantined);
        let timeline = stream.timeline().clone();
        let run = RunWriter::encode(WriterOptions::rows(), stream, key_attributes, &records)?;
        let name = SegmentName {
            level: 0,
            seconds: run.footer.statistics.seconds,
            sequences: run.footer.sequences,
            crc32: run.crc32,
            appended: None,
        };
        report.records += run.footer.statistics.records;
        segments.push((name.key(&timeline), Bytes::from(run.bytes)));
    }
    let puts = segments.into_iter().map(|(key, bytes)| async move {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let outcome = store.put_new(&key, bytes).await?;
        tracing::debug!(key, size, ?outcome, "segment");
        Ok::<_, crate::error::Error>((outcome, size))
    });
    let quarantine = try_join_all(quarantined.iter().map(|record| quarantine::put(store, record)));
    let (puts, kept) = futures::future::try_join(try_join_all(puts), quarantine).await?;
    for (outcome, size) in puts {
        match outcome {
            PutOutcome::Created => {
                report.segments_created += 1;
                report.bytes += size;
            }
            PutOutcome::AlreadyThere => report.segments_already_there += 1,
        }
    }
    report.quarantined = u64::try_from(kept.len()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Sorts by (key, sequence number) and drops copies. Two records with the same key and sequence number that are not
/// copies cannot both be true: the first in the order of their content is kept, whatever order they came in, and the
/// other goes to quarantine.
fn sort_and_dedup(
    mut records: Vec<ChangeRecord>,
    timeline: &Timeline,
    quarantined: &mut Vec<QuarantinedRecord>,
) -> Vec<ChangeRecord> {
    fn content(record: &ChangeRecord) -> impl Ord + '_ {
        (
            record.kind.as_str(),
            record.second,
            &record.old,
            &record.new,
            record.user.as_ref().map(|u| (&u.identity_type, &u.principal_id)),
        )
    }
    records.sort_by(|a, b| (&a.key, a.sequence).cmp(&(&b.key, b.sequence)).then_with(|| content(a).cmp(&content(b))));
    records.dedup_by(|next, kept| {
        if next.key != kept.key || next.sequence != kept.sequence {
            return false;
        }
        if next != kept {
            quarantined.push(quarantine::contradiction(next, timeline));
        }
        true
    });
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChangeKind, Image, ItemKey, SequenceNumber};

    fn record(key: &'static [u8], sequence: &str, image: &'static [u8]) -> ChangeRecord {
        ChangeRecord {
            key: ItemKey::from_bytes(Bytes::from_static(key)),
            sequence: SequenceNumber::parse(sequence).unwrap(),
            second: None,
            kind: ChangeKind::Insert,
            old: None,
            new: Some(Image::from_bytes(Bytes::from_static(image))),
            user: None,
        }
    }

    #[test]
    fn copies_are_dropped_and_contradictions_kept_aside_in_any_order() {
        let timeline = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap().timeline().clone();
        let (a, b, c) = (record(b"a", "1", b"x"), record(b"a", "1", b"y"), record(b"b", "1", b"z"));
        let mut results = Vec::new();
        for order in [vec![&a, &b, &c, &a], vec![&c, &a, &b], vec![&b, &b, &a, &c]] {
            let mut quarantined = Vec::new();
            let sorted = sort_and_dedup(order.into_iter().cloned().collect(), &timeline, &mut quarantined);
            assert_eq!(sorted, vec![a.clone(), c.clone()]);
            quarantined.dedup();
            results.push(quarantined);
        }
        assert!(results.iter().all(|quarantined| quarantined.len() == 1 && *quarantined == results[0]));
    }
}
