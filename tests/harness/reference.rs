//! The plain reference that replays are compared with: records in maps, the three rules of "State at a cut" word by word.
//!
//! Written without a look at the merge, and slow on purpose: no runs, no blocks, no heap, nothing but the rules.

use std::collections::BTreeMap;

use journal::model::{ChangeRecord, Image, ItemKey, Second, SequenceNumber};
use replayer::cut::{Cut, Position};

/// Live items by key.
pub type State = BTreeMap<ItemKey, Image>;

/// All that is known of one timeline.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    records: BTreeMap<ItemKey, BTreeMap<SequenceNumber, ChangeRecord>>,
    snapshot_items: State,
}

impl Reference {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A reference of these records.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a ChangeRecord>) -> Self {
        let mut reference = Self::new();
        for record in records {
            reference.add(record);
        }
        reference
    }

    /// Adds a record. The same one again changes nothing.
    pub fn add(&mut self, record: &ChangeRecord) {
        self.records.entry(record.key.clone()).or_default().insert(record.sequence, record.clone());
    }

    /// Adds an item of a snapshot.
    pub fn add_snapshot_item(&mut self, key: ItemKey, image: Image) {
        self.snapshot_items.insert(key, image);
    }

    /// Records, copies counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.values().map(BTreeMap::len).sum()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The state at `cut`.
    #[must_use]
    pub fn at(&self, cut: Cut) -> State {
        // Rule 3 for keys without any record.
        let mut state: State = self
            .snapshot_items
            .iter()
            .filter(|(key, _)| !self.records.contains_key(*key))
            .map(|(key, image)| (key.clone(), image.clone()))
            .collect();
        for (key, records) in &self.records {
            if let Some(image) = image_at(records.values(), cut) {
                state.insert(key.clone(), image.clone());
            }
        }
        state
    }
}

/// Rules 1 and 2 for one key, its records given in sequence order.
fn image_at<'a>(records: impl Iterator<Item = &'a ChangeRecord>, cut: Cut) -> Option<&'a Image> {
    let mut second = None;
    let mut last_before = None;
    let mut first_after = None;
    for record in records {
        // A record without a second is as old as the one before it of its key.
        second = record.second.or(second);
        if has_happened(record.sequence, second, cut) {
            last_before = Some(record);
        } else if first_after.is_none() {
            first_after = Some(record);
        }
    }
    match (last_before, first_after) {
        (Some(record), _) => record.new.as_ref(),
        (None, Some(record)) => record.old.as_ref(),
        (None, None) => None,
    }
}

fn has_happened(sequence: SequenceNumber, second: Option<Second>, cut: Cut) -> bool {
    match cut.position {
        Position::Second(at) => second.is_none_or(|second| if cut.inclusive { second <= at } else { second < at }),
        Position::Sequence(at) => {
            let order = sequence.cmp_value(&at);
            order.is_lt() || (cut.inclusive && order.is_eq())
        }
    }
}
