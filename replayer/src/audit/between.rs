//! What the changes between two cuts did to each key.
//!
//! What enters are a timeline's segments and two cuts; what leaves is a key with its image at the first cut and at the second, for each
//! key that has a change in between. SEMANTICS.md, "Audit", says why records from 300 seconds around the cuts are enough.

use std::sync::{Arc, Mutex, PoisonError};

use journal::error::Result;
use journal::listing::{ListedSegment, TimelineObjects};
use journal::model::{Second, SequenceNumber};
use journal::snapshot::SKEW_SECONDS;
use journal::store::ReadStore;

use crate::cut::{Cut, Position};
use crate::key_schema::KeySelection;
use crate::merge::{self, MergeOptions, MergeReport, RecordRef, RecordScan, RunInput, RunKind};
use crate::state::StateError;

/// A key with a change between two cuts.
#[derive(Debug)]
pub(crate) struct ChangedKey<'a> {
    /// The encoded key.
    pub(crate) key: &'a [u8],
    /// The last change between the cuts.
    pub(crate) sequence: SequenceNumber,
    /// The image at the first cut; none when there was no item.
    pub(crate) before: Option<&'a [u8]>,
    /// The image at the second cut; none when there is no item.
    pub(crate) after: Option<&'a [u8]>,
}

/// Where two cuts lie; without the second, everything after the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: Cut,
    pub(crate) to: Option<Cut>,
}

impl Span {
    /// First and last second of the records that are needed; none where a sequence number bounds them.
    pub(crate) fn seconds(&self) -> Option<(Second, Second)> {
        let at = |cut: &Cut| match cut.position {
            Position::Second(second) => Some(second.get()),
            Position::Sequence(_) => None,
        };
        let first = at(&self.from)?.saturating_sub(SKEW_SECONDS);
        let last = match &self.to {
            Some(to) => at(to)?.saturating_add(SKEW_SECONDS).min(Second::MAX.get()),
            None => Second::MAX.get(),
        };
        Some((Second::new(first).ok()?, Second::new(last).ok()?))
    }

    /// Whether a segment's name allows it to hold records that are needed.
    fn may_need(&self, segment: &ListedSegment) -> bool {
        let name = &segment.name;
        if let (Some((first, last)), Some((from, to))) = (name.seconds, self.seconds()) {
            return first <= to && last >= from;
        }
        let begun = self.to.is_none_or(|to| match to.position {
            Position::Second(_) => true,
            Position::Sequence(_) => to.has(name.sequences.0, None),
        });
        let over = match self.from.position {
            Position::Second(_) => false,
            Position::Sequence(_) => self.from.has(name.sequences.1, None),
        };
        begun && !over
    }
}

/// Gives each key with a change between the cuts to `visit`, in key order, on a blocking thread.
pub(crate) async fn changed_keys<F>(
    store: Arc<dyn ReadStore>,
    objects: &TimelineObjects,
    span: Span,
    keys: &KeySelection,
    options: &MergeOptions,
    visit: F,
) -> Result<MergeReport>
where
    F: FnMut(ChangedKey<'_>) -> Result<()> + Send + 'static,
{
    let superseded = objects.superseded();
    let segments =
        objects.segments.iter().filter(|segment| !superseded.contains(&segment.key) && span.may_need(segment));
    let inputs = segments
        .map(|segment| RunInput {
            key: segment.key.clone(),
            size: segment.size,
            kind: RunKind::Segment,
            from: None,
            until: None,
        })
        .collect();
    let wanted = RecordScan { keys: keys.range.clone(), seconds: span.seconds(), ..RecordScan::default() };
    let shared = Arc::new(Mutex::new(Fold { state: KeyBetween::new(span), visit }));
    let inner = Arc::clone(&shared);
    let merged = merge::scan_records(store, inputs, wanted, options.clone(), move |record| {
        inner.lock().unwrap_or_else(PoisonError::into_inner).add(&record).map(|()| true)
    })
    .await?;
    // The last key is visited where the others were.
    let last = tokio::task::spawn_blocking(move || shared.lock().unwrap_or_else(PoisonError::into_inner).end_key());
    last.await.map_err(|_| StateError::Lost)??;
    Ok(merged)
}

struct Fold<F> {
    state: KeyBetween,
    visit: F,
}

impl<F: FnMut(ChangedKey<'_>) -> Result<()>> Fold<F> {
    fn add(&mut self, record: &RecordRef<'_>) -> Result<()> {
        if self.state.key.as_deref() != Some(record.key) {
            self.end_key()?;
            self.state.key = Some(record.key.to_vec());
        }
        self.state.add(record);
        Ok(())
    }

    fn end_key(&mut self) -> Result<()> {
        match self.state.end() {
            Some((key, before, (sequence, after))) => {
                let (before, after) = (before.as_deref(), after.as_deref());
                (self.visit)(ChangedKey { key: &key, sequence, before, after })
            }
            None => Ok(()),
        }
    }
}

type Ended = (Vec<u8>, Option<Vec<u8>>, (SequenceNumber, Option<Vec<u8>>));

/// What the records so far say of the state at the first cut.
#[derive(Debug, Default)]
enum Before {
    /// Nothing: the last of them has happened there.
    #[default]
    Told,
    /// The old image of the first record that has not.
    Old(Option<Vec<u8>>),
}

/// One key's records, in sequence order.
struct KeyBetween {
    span: Span,
    key: Option<Vec<u8>>,
    last_second: Option<Second>,
    /// The old image of the first record after the last one that has happened at the first cut: the state there.
    before: Before,
    /// The last record that has happened at the second cut, unless it has at the first too.
    after: Option<(SequenceNumber, Option<Vec<u8>>)>,
}

impl KeyBetween {
    fn new(span: Span) -> Self {
        Self { span, key: None, last_second: None, before: Before::Told, after: None }
    }

    fn add(&mut self, record: &RecordRef<'_>) {
        let second = record.second.or(self.last_second);
        self.last_second = second;
        if self.span.from.has(record.sequence, second) {
            // In sequence order it is the last word on both states so far, whatever an earlier record's second says.
            (self.before, self.after) = (Before::Told, None);
            return;
        }
        if let Before::Told = self.before {
            self.before = Before::Old(record.old.map(<[u8]>::to_vec));
        }
        if self.span.to.is_none_or(|to| to.has(record.sequence, second)) {
            self.after = Some((record.sequence, record.new.map(<[u8]>::to_vec)));
        }
    }

    fn end(&mut self) -> Option<Ended> {
        self.last_second = None;
        let (key, before, after) = (self.key.take(), std::mem::take(&mut self.before), self.after.take());
        match before {
            Before::Old(before) => Some((key?, before, after?)),
            Before::Told => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use journal::model::ChangeKind;
    use proptest::prelude::*;

    use super::*;

    /// Seconds of one key's records in sequence order; record n leaves the image n, the first finds none.
    fn record(number: usize, second: u64, images: &[Vec<u8>]) -> RecordRef<'_> {
        let image = |at: usize| images.get(at).map(Vec::as_slice);
        RecordRef {
            key: b"k",
            sequence: SequenceNumber::parse(&(100 + number).to_string()).unwrap(),
            second: Some(Second::new(second).unwrap()),
            kind: ChangeKind::Modify,
            old: number.checked_sub(1).and_then(image),
            new: image(number),
            user: None,
        }
    }

    /// The state at a cut as SEMANTICS.md has it: rules 1 and 2.
    fn state(seconds: &[u64], cut: Cut, images: &[Vec<u8>]) -> Option<Vec<u8>> {
        let has = |at: &usize| {
            let found = record(*at, seconds[*at], images);
            cut.has(found.sequence, found.second)
        };
        (0..seconds.len()).rev().find(has).map(|at| images[at].clone())
    }

    fn difference(
        seconds: &[u64],
        visible: impl Fn(u64) -> bool,
        span: Span,
    ) -> (Option<Vec<u8>>, Option<Vec<u8>>, bool) {
        let images: Vec<Vec<u8>> = (0..seconds.len()).map(|at| vec![u8::try_from(at).unwrap()]).collect();
        let mut fold = KeyBetween::new(span);
        fold.key = Some(b"k".to_vec());
        for (at, second) in seconds.iter().enumerate().filter(|(_, second)| visible(**second)) {
            fold.add(&record(at, *second, &images));
        }
        let expected = [span.from, span.to.unwrap_or(Cut::at(Second::MAX))].map(|cut| state(seconds, cut, &images));
        let [from, to] = expected;
        if let Some((_, before, (_, after))) = fold.end() {
            assert_eq!((&before, &after), (&from, &to), "{seconds:?}");
            (before, after, true)
        } else {
            assert_eq!(from, to, "{seconds:?} has a difference that is not told");
            (from, to, false)
        }
    }

    fn at(second: u64) -> Cut {
        Cut::at(Second::new(second).unwrap())
    }

    #[test]
    fn a_record_whose_second_is_before_that_of_the_record_before_it_decides_the_state() {
        // The second record has happened at 9, and with it, in sequence order, all before it.
        let span = Span { from: at(9), to: Some(at(20)) };
        assert_eq!(difference(&[10, 8], |_| true, span), (Some(vec![1]), Some(vec![1]), false));
        assert_eq!(difference(&[10, 8, 15], |_| true, span), (Some(vec![1]), Some(vec![2]), true));
        assert_eq!(difference(&[10, 8, 25, 12], |_| true, span), (Some(vec![1]), Some(vec![3]), true));
    }

    proptest! {
        /// Any order of seconds that disagrees with the sequence by no more than the allowance, with nothing read beyond it.
        #[test]
        fn both_states_are_those_of_a_replay_though_seconds_and_sequence_disagree(
            steps in proptest::collection::vec((0u64..400, 0u64..=SKEW_SECONDS), 0..12),
            from in 0u64..3000,
            length in 0u64..1500,
            bounded: bool,
        ) {
            let mut clock = 1000;
            let seconds: Vec<u64> = steps.iter().map(|(step, skew)| { clock += step; clock - skew }).collect();
            let span = Span { from: at(from + 500), to: bounded.then(|| at(from + 500 + length)) };
            let (first, last) = span.seconds().unwrap();
            let _ = difference(&seconds, |second| first.get() <= second && second <= last.get(), span);
            let _ = difference(&seconds, |_| true, span);
        }
    }
}
