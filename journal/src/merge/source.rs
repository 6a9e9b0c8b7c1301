//! What a merge merges: runs of the store, batches of small runs in memory, and temporary files, each standing at a record.

use super::StateRef;
use super::batch::BatchCursor;
use super::packed::Packed;
use super::run::OpenRun;
use super::spill::SpilledCursor;
use crate::cut::Cut;
use crate::error::Result;
use crate::format::{Decompressor, Record, RecordKind};
use crate::model::SequenceNumber;

/// One of the sorted sources of a merge.
pub(super) enum Source {
    Run(Box<OpenRun>),
    Batch(BatchCursor),
    Spilled(SpilledCursor),
}

impl Source {
    /// Goes to the next record; false at the end.
    #[inline]
    pub(super) fn advance(&mut self, decompressor: &mut Decompressor) -> Result<bool> {
        match self {
            Self::Run(run) => run.advance(decompressor),
            Self::Batch(batch) => Ok(batch.advance()?),
            Self::Spilled(spilled) => Ok(spilled.advance()?),
        }
    }

    #[inline]
    fn packed(&self) -> Option<Packed<'_>> {
        match self {
            Self::Run(_) => None,
            Self::Batch(batch) => batch.packed(),
            Self::Spilled(spilled) => spilled.packed(),
        }
    }

    /// The key of the current record.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Self::Run(run) => run.cursor.key(),
            Self::Batch(batch) => batch.key(),
            Self::Spilled(spilled) => spilled.key(),
        }
    }

    /// Where the record that it stands at comes in the order of the merge: items of a snapshot come before the records of
    /// their key, and are never copies of one.
    #[inline]
    pub(super) fn order(&self) -> Option<SequenceNumber> {
        match self {
            Self::Run(run) => run.order(),
            _ => self.packed().and_then(|packed| packed.order()),
        }
    }

    /// The current record.
    #[inline]
    pub(super) fn record(&self) -> Option<Record<'_>> {
        match self {
            Self::Run(run) => Some(run.cursor.record()),
            Self::Batch(batch) => Some(batch.packed()?.record(batch.batch().users())),
            Self::Spilled(spilled) => Some(spilled.packed()?.record(spilled.spilled().users())),
        }
    }

    /// Goes to the last record of the current one's key when it is plain that this source has no need of the others: all of them have
    /// happened at the cut, and the key's last record can be told. False changes nothing but where in the key's records it stands.
    #[inline]
    pub(super) fn skip_superseded(&mut self) -> Result<bool> {
        match self {
            Self::Run(run) => run.skip_superseded(),
            Self::Batch(batch) => Ok(batch.batch().all_before()),
            Self::Spilled(spilled) => Ok(spilled.spilled().all_before()),
        }
    }

    /// The state that the last record of a key tells, all of whose records have happened at the cut: as a fold would find it.
    #[inline]
    pub(super) fn last_state(&self, cut: &Cut) -> Option<StateRef<'_>> {
        let (key, image, sequence, second, kind) = if let Self::Run(run) = self {
            let cursor = &run.cursor;
            (cursor.key(), cursor.new_image(), cursor.sequence(), cursor.second(), cursor.kind())
        } else {
            let packed = self.packed()?;
            (packed.key, packed.new, packed.sequence, packed.second, packed.kind)
        };
        let counts = match kind {
            RecordKind::Change(_) => true,
            RecordKind::Item | RecordKind::Tombstone => sequence != SequenceNumber::MIN && cut.has(sequence, second),
        };
        Some(StateRef { key, image, sequence: counts.then_some(sequence), second: second.filter(|_| counts) })
    }
}
