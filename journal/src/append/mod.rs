//! Makes batches of records durable: one segment a timeline, create-only, then acknowledged.

mod snapshot;

use bytes::Bytes;

use crate::error::Result;
use crate::model::{StreamRecord, Timeline};
use crate::store::WriteStore;

pub use snapshot::SnapshotWriter;

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
pub async fn append(_store: &dyn WriteStore, _batch: Batch) -> Result<AppendReport> {
    Ok(AppendReport::default())
}
