//! The image chain: a record's old image is the new image of the record before it.

use std::sync::{Arc, Mutex, PoisonError};

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::{KeyAttributes, Second, SequenceNumber};
use journal::source::attribute::write_dynamodb_json;
use journal::store::ReadStore;

use super::objects::Sound;
use super::{ChainBreak, ChainEnd, LISTED_MAX, TimelineReport, VerifyError};
use crate::coverage::{Beginning, CoveredTimeline, Gap};
use crate::key_schema::KeySchema;
use crate::merge::{MergeOptions, RecordRef, for_each_record};
use crate::state::to_hex;

/// Longest text of a key in a report.
const KEY_CHARS_MAX: usize = 300;

/// Walks the sound segments' records in the order of key and sequence number.
pub(super) async fn check(
    store: &Arc<dyn ReadStore>,
    covered: &CoveredTimeline,
    sound: Sound,
    report: &mut TimelineReport,
    options: MergeOptions,
    interrupt: &Interrupt,
) -> Result<()> {
    if sound.inputs.is_empty() {
        return Ok(());
    }
    let chain = Arc::new(Mutex::new(Chain::new(covered, sound.key_attributes)));
    let (shared, interrupt) = (Arc::clone(&chain), interrupt.clone());
    let timeline = covered.objects.timeline.to_string();
    let merged = for_each_record(Arc::clone(store), sound.inputs, None, options, move |record| {
        if interrupt.requested() {
            return Err(VerifyError::Interrupted { timeline: timeline.clone() }.into());
        }
        shared.lock().unwrap_or_else(PoisonError::into_inner).record(&record);
        Ok(())
    });
    let merged = merged.await?;
    let chain = chain.lock().unwrap_or_else(PoisonError::into_inner);
    report.records = chain.records;
    report.keys = chain.keys;
    report.duplicates = merged.duplicates;
    report.contradictions = merged.contradictions;
    report.undated = chain.undated;
    report.out_of_order = chain.out_of_order;
    report.broken = chain.broken;
    report.broken_stated = chain.broken_stated;
    report.breaks.clone_from(&chain.breaks);
    Ok(())
}

/// The chain of the key that is being walked, and what was found so far.
struct Chain {
    schema: Option<KeySchema>,
    gaps: Vec<Gap>,
    /// Whether the first record of a key must find no item.
    whole: bool,
    first_second: Option<Second>,
    key: Vec<u8>,
    last: Option<ChainEnd>,
    last_image: Option<Vec<u8>>,
    latest_second: Option<Second>,
    records: u64,
    keys: u64,
    undated: u64,
    out_of_order: u64,
    broken: u64,
    broken_stated: u64,
    breaks: Vec<ChainBreak>,
}

impl Chain {
    fn new(covered: &CoveredTimeline, key_attributes: Option<KeyAttributes>) -> Self {
        let gaps = covered.intervals.iter().flat_map(|i| [&i.gap_before, &i.gap_after]).flatten().cloned();
        Self {
            schema: key_attributes.map(KeySchema::unordered),
            gaps: gaps.collect(),
            whole: covered.intervals.first().is_some_and(|interval| interval.beginning == Beginning::Whole),
            first_second: covered.beginning(),
            key: Vec::new(),
            last: None,
            last_image: None,
            latest_second: None,
            records: 0,
            keys: 0,
            undated: 0,
            out_of_order: 0,
            broken: 0,
            broken_stated: 0,
            breaks: Vec::new(),
        }
    }

    fn record(&mut self, record: &RecordRef<'_>) {
        self.records += 1;
        let end = ChainEnd { sequence: record.sequence, second: record.second };
        if record.second.is_none() {
            self.undated += 1;
        }
        if self.last.is_some() && self.key == record.key {
            if self.last_image.as_deref() != record.old {
                self.found(record, self.last.clone(), end.clone());
            }
            if record.second.is_some() && record.second < self.latest_second {
                self.out_of_order += 1;
            }
        } else {
            self.keys += 1;
            self.key.clear();
            self.key.extend_from_slice(record.key);
            self.latest_second = None;
            if self.whole && record.old.is_some() {
                self.found(record, None, end.clone());
            }
        }
        self.latest_second = self.latest_second.max(record.second);
        self.last = Some(end);
        match (&mut self.last_image, record.new) {
            // The buffer is kept from record to record.
            (Some(buffer), Some(image)) => {
                buffer.clear();
                buffer.extend_from_slice(image);
            }
            (last, image) => *last = image.map(<[u8]>::to_vec),
        }
    }

    fn found(&mut self, record: &RecordRef<'_>, after: Option<ChainEnd>, before: ChainEnd) {
        let stated = self.stated_gap(after.as_ref(), &before);
        match stated {
            Some(_) => self.broken_stated += 1,
            None => self.broken += 1,
        }
        if self.breaks.len() < LISTED_MAX {
            let key = self.show(record.key);
            self.breaks.push(ChainBreak { key, after, before, stated });
        }
    }

    /// The reason of a stated gap between two records: one whose seconds, or whose sequence numbers, meet theirs.
    fn stated_gap(&self, after: Option<&ChainEnd>, before: &ChainEnd) -> Option<String> {
        let from = after.map_or(self.first_second, |end| end.second);
        let by_seconds = |gap: &Gap| match (from, before.second) {
            (Some(from), Some(to)) => from < gap.to && gap.from < to,
            (None, Some(to)) => gap.from < to,
            (Some(from), None) => from < gap.to,
            (None, None) => false,
        };
        let by_sequences = |gap: &Gap| {
            let lowest = after.map_or(SequenceNumber::MIN, |end| end.sequence);
            match (gap.after_sequence, gap.before_sequence) {
                (Some(first), Some(last)) => {
                    lowest.cmp_value(&last).is_lt() && first.cmp_value(&before.sequence).is_lt()
                }
                _ => false,
            }
        };
        self.gaps.iter().find(|gap| by_seconds(gap) || by_sequences(gap)).map(|gap| gap.reason.clone())
    }

    fn show(&self, key: &[u8]) -> String {
        let values = self.schema.as_ref().and_then(|schema| schema.decode(key).ok());
        let json = values.and_then(|values| {
            let mut text = Vec::new();
            write_dynamodb_json(&values, &mut text).ok()?;
            String::from_utf8(text).ok()
        });
        let text = json.unwrap_or_else(|| to_hex(key));
        if text.chars().count() <= KEY_CHARS_MAX {
            return text;
        }
        text.chars().take(KEY_CHARS_MAX).chain(['…']).collect()
    }
}
