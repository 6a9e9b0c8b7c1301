//! How far a compaction under way has come, so that one that was stopped goes on behind the last key that is stored.

use std::ops::Range;

use bytes::Bytes;

use super::CompactError;
use super::group::Written;
use crate::documents::{self, CompactionProgress};
use crate::error::Result;
use crate::layout;
use crate::listing::TimelineObjects;
use crate::model::Timeline;
use crate::store::{ReadStore, StoreError, WriteStore};

/// Above every encoded key: their first byte is a type, 1 to 3.
const ABOVE_ALL_KEYS: &[u8] = &[0xff];

/// What runs that were stopped have stored.
#[derive(Default)]
pub(super) struct Done {
    pub(super) outputs: Vec<Written>,
    pub(super) last_key: Option<Vec<u8>>,
    pub(super) breaks: u64,
}

impl Done {
    /// The keys that are still to be merged; none for all.
    pub(super) fn keys(&self) -> Option<Range<Bytes>> {
        self.last_key.as_ref().map(|last| Range {
            start: Bytes::from([last.as_slice(), &[0]].concat()),
            end: Bytes::from_static(ABOVE_ALL_KEYS),
        })
    }
}

/// Where a compaction stands after an output.
pub(super) struct Reached<'a> {
    /// The output's number.
    pub(super) number: usize,
    /// The last key that is stored.
    pub(super) last_key: &'a [u8],
    pub(super) breaks: u64,
}

/// Says that an output is stored. Another run that has stored another one of this number uses other bounds.
pub(super) async fn put(
    store: &dyn WriteStore,
    timeline: &Timeline,
    id: &str,
    written: &Written,
    reached: &Reached<'_>,
) -> Result<()> {
    let folder = layout::segments_folder(timeline);
    let document = CompactionProgress {
        output: written.key.strip_prefix(&folder).unwrap_or(&written.key).to_owned(),
        bytes: written.bytes,
        records: written.records,
        last_key: to_hex(reached.last_key),
        breaks: reached.breaks,
    };
    let key = layout::compaction_progress(timeline, id, reached.number);
    match store.put_new(&key, documents::to_bytes(&document)?).await {
        Ok(_) => Ok(()),
        Err(StoreError::Differs { .. }) => {
            Err(CompactError::Moved { timeline: timeline.clone(), window: "window".to_owned() }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The outputs of the compaction `id` that are stored, from the first on without a hole.
pub(super) async fn done(store: &dyn ReadStore, objects: &TimelineObjects, id: &str) -> Result<Done> {
    let timeline = &objects.timeline;
    let segments = layout::segments_folder(timeline);
    let mut done = Done::default();
    loop {
        let key = layout::compaction_progress(timeline, id, done.outputs.len());
        if !objects.progress.iter().any(|(listed, _)| *listed == key) {
            return Ok(done);
        }
        let Some(document) = documents::read::<CompactionProgress>(store, &key).await? else { return Ok(done) };
        let output = format!("{segments}{}", document.output);
        let listed = objects.segments.iter().any(|segment| segment.key == output);
        let (true, Some(last_key)) = (listed, from_hex(&document.last_key)) else { return Ok(done) };
        done.outputs.push(Written { key: output, bytes: document.bytes, records: document.records });
        done.last_key = Some(last_key);
        done.breaks = document.breaks;
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
