//! What a fold is to be made of, and which folds are due. Pure but for the documents of folds under way.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use tracing::info;

use super::base::{Candidate, SKEW_SECONDS, Way, bases, earlier, later, why_not};
use super::write::gone;
use super::{SnapshotError, SnapshotOptions, UndatedSegment};
use crate::coverage::{Beginning, CoveredTimeline, Ending, Interval};
use crate::cut::Cut;
use crate::documents::{self, FoldDocument, SnapshotPlanDocument, UndatedDocument};
use crate::error::Result;
use crate::layout;
use crate::listing::ListedSnapshot;
use crate::merge;
use crate::model::{KeyAttributes, Second, SequenceNumber, StreamArn, TableName};
use crate::store::{ReadStore, StoreError, WriteStore};

/// Cuts that are not given by a user are the ends of UTC hours, where compaction cuts too.
const HOUR: u64 = 3600;

/// The last second of an interval that no record, and no gap, will be told of any more; none when there is no such one.
pub(crate) fn settled(interval: &Interval, now: Second, settle: std::time::Duration) -> Option<Second> {
    let settled = earlier(now, settle.as_secs().saturating_add(1));
    // While a stream is followed, a gap may still be stated from the second on that every shard has been read to.
    let through = match interval.ending {
        Ending::Read => interval.through?.get().checked_sub(1)?,
        _ => interval.through?.get(),
    };
    let last = Second::new(through.min(settled.get())).ok()?;
    interval.contains(last).then_some(last)
}

/// The timeline and interval that a cut lies in.
pub(super) fn place<'a>(
    table: &TableName,
    timelines: &'a [CoveredTimeline],
    cut: Second,
    now: Second,
    options: &SnapshotOptions,
) -> Result<(&'a CoveredTimeline, &'a Interval), SnapshotError> {
    // Of two tables of one name the younger is meant, as in a replay.
    let found = timelines
        .iter()
        .rev()
        .find_map(|covered| Some((covered, covered.intervals.iter().find(|interval| interval.contains(cut))?)));
    let refuse = |reason: String| SnapshotError::NotCovered { table: table.clone(), cut, reason };
    let Some((covered, interval)) = found else {
        return Err(refuse("the journal does not cover it".to_owned()));
    };
    match settled(interval, now, options.settle) {
        Some(last) if cut <= last => Ok((covered, interval)),
        Some(last) => Err(refuse(format!("records may still come; the last second that is settled is {last}"))),
        None => Err(refuse("records may still come; no second is settled yet".to_owned())),
    }
}

/// The cheapest way to make the state at a cut.
pub(super) fn candidate(
    covered: &CoveredTimeline,
    interval: &Interval,
    cut: Second,
) -> Result<Candidate, SnapshotError> {
    let timeline = &covered.objects.timeline;
    let found = bases(covered, interval, Cut::at(cut));
    let straddling = found.candidates.first().and_then(|candidate| candidate.straddling.first()).copied();
    if let Some(candidate) = found.candidates.into_iter().find(|candidate| candidate.straddling.is_empty()) {
        return Ok(candidate);
    }
    if let Some(segment) = straddling.and_then(|at| covered.objects.segments.get(at)) {
        return Err(SnapshotError::Straddles { timeline: timeline.clone(), cut, key: segment.key.clone() });
    }
    let reason = match &interval.beginning {
        Beginning::NotWhole { reason } => reason.clone(),
        Beginning::Whole | Beginning::Unknown => "nothing can be read".to_owned(),
    };
    Err(SnapshotError::NotWhole { timeline: timeline.clone(), cut, reason })
}

/// Whether the candidate is a fold of this very cut, and another one would make no more segments needless.
pub(super) fn is_there(
    covered: &CoveredTimeline,
    candidate: &Candidate,
    cut: Second,
    options: &SnapshotOptions,
) -> bool {
    let fold = base_of(covered, candidate).and_then(|base| base.document.fold.as_ref());
    fold.is_some_and(|fold| fold.cut == cut) && spared_bytes(covered, candidate, cut, options) == 0
}

/// Bytes of the segments that the candidate reads and that a replay from a fold made of them would not.
fn spared_bytes(covered: &CoveredTimeline, candidate: &Candidate, cut: Second, options: &SnapshotOptions) -> u64 {
    let through = appended_through(covered, options);
    let read = candidate.segments.iter().filter_map(|(at, _)| covered.objects.segments.get(*at));
    let spared =
        read.filter(|segment| segment.appended <= through && segment.name.seconds.is_some_and(|(_, last)| last <= cut));
    spared.map(|segment| segment.size).sum()
}

fn appended_through(covered: &CoveredTimeline, options: &SnapshotOptions) -> u64 {
    covered.objects.newest.saturating_sub(options.margin.as_secs())
}

fn base_of<'a>(covered: &'a CoveredTimeline, candidate: &Candidate) -> Option<&'a ListedSnapshot> {
    covered.objects.snapshots.get(candidate.snapshot?)
}

/// The next cut of an interval at which a snapshot is due, and what it is made of: the first end of an hour at which a replay
/// from the last one reads more than the bound.
pub(super) fn due(
    covered: &CoveredTimeline,
    interval: &Interval,
    now: Second,
    options: &SnapshotOptions,
) -> Option<(Second, Candidate)> {
    let last = settled(interval, now, options.settle)?;
    // The last end of an hour that is settled, or the end of what has ended or of what nobody added to for an hour.
    let hour_end = |second: Second| Second::new((second.get() / HOUR + 1).saturating_mul(HOUR)).unwrap_or(Second::MAX);
    let over = interval.through == Some(last) && hour_end(last) <= earlier(now, options.settle.as_secs());
    let last = match interval.ending {
        Ending::Ended { .. } | Ending::Gap if interval.through == Some(last) => last,
        Ending::LastRecord if over => last,
        _ => Second::new((last.get().saturating_add(1) / HOUR * HOUR).checked_sub(1)?).ok()?,
    };
    if !interval.contains(last) {
        return None;
    }
    let exceeds = |candidate: &Candidate, cut: Second| {
        let base = base_of(covered, candidate).map_or(0, |base| base.document.parts.iter().map(|part| part.size).sum());
        spared_bytes(covered, candidate, cut, options) > options.replay_bytes_max.max(base)
    };
    let at_last = candidate(covered, interval, last).ok()?;
    if !exceeds(&at_last, last) {
        return None;
    }
    // What the segments to read add up to, by the hour in which they end.
    let mut by_hour: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, _) in &at_last.segments {
        if let Some(segment) = covered.objects.segments.get(*at)
            && let Some((_, end)) = segment.name.seconds
        {
            *by_hour.entry(end.get() / HOUR).or_default() += segment.size;
        }
    }
    let mut sum = 0u64;
    for (hour, bytes) in by_hour {
        sum = sum.saturating_add(bytes);
        let cut = Second::new((hour.saturating_add(1)).saturating_mul(HOUR).saturating_sub(1)).ok()?;
        if sum <= options.replay_bytes_max || cut >= last {
            continue;
        }
        if let Ok(candidate) = candidate(covered, interval, cut)
            && interval.contains(cut)
            && exceeds(&candidate, cut)
        {
            return Some((cut, candidate));
        }
    }
    Some((last, at_last))
}

/// Writes the plan of a fold; of one with the same inputs that is there already, the plan that is there.
pub(super) async fn begin(
    store: &dyn WriteStore,
    covered: &CoveredTimeline,
    interval: &Interval,
    cut: Second,
    candidate: &Candidate,
    options: &SnapshotOptions,
) -> Result<(String, SnapshotPlanDocument)> {
    let timeline = &covered.objects.timeline;
    let (stream, key_attributes) = whose(store, covered, candidate, &format!("{:012}-fold", cut.get())).await?;
    let plan = SnapshotPlanDocument {
        stream,
        key_attributes,
        fold: describe(covered, interval, cut, candidate, options),
        segments: segments(covered, candidate),
        until: candidate.until.and_then(|until| until.last_second()),
        part_bytes_max: options.part_bytes_max,
    };
    let name = format!("{:012}-fold-{}", cut.get(), identity(&plan));
    let key = layout::snapshot_plan(timeline, &name);
    match store.put_new(&key, documents::to_bytes(&plan)?).await {
        Ok(_) => Ok((name, plan)),
        // Another run listed the same inputs at another moment: its plan is as good.
        Err(StoreError::Differs { .. }) => match documents::read(store, &key).await? {
            Some(plan) => Ok((name, plan)),
            None => {
                Err(SnapshotError::Gone { timeline: timeline.clone(), name, missing: "its plan".to_owned() }.into())
            }
        },
        Err(error) => Err(error.into()),
    }
}

fn segments(covered: &CoveredTimeline, candidate: &Candidate) -> Vec<(String, u64, Option<Second>)> {
    let folder = layout::segments_folder(&covered.objects.timeline);
    let named = candidate.segments.iter().filter_map(|(at, from)| {
        let segment = covered.objects.segments.get(*at)?;
        Some((segment.key.strip_prefix(&folder)?.to_owned(), segment.size, *from))
    });
    let mut segments: Vec<_> = named.collect();
    segments.sort_unstable();
    segments
}

fn describe(
    covered: &CoveredTimeline,
    interval: &Interval,
    cut: Second,
    candidate: &Candidate,
    options: &SnapshotOptions,
) -> FoldDocument {
    let base = base_of(covered, candidate);
    let base_fold = base.and_then(|base| base.document.fold.as_ref());
    let read = || candidate.segments.iter().filter_map(|(at, _)| covered.objects.segments.get(*at)).map(|s| &s.name);
    let first_second = read().filter_map(|name| name.seconds).map(|(first, _)| first).min();
    let first_sequence = read().map(|name| name.sequences.0).min();
    let first = first_second.zip(first_sequence);
    let first = match (first, base_fold.and_then(|fold| fold.first)) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.min(b.1))),
        (a, b) => a.or(b),
    };
    let last_sequence = read().map(|name| name.sequences.1).chain(base_fold.and_then(|fold| fold.last_sequence)).max();
    let through = appended_through(covered, options);
    let segments = candidate.segments.iter().filter_map(|(at, _)| covered.objects.segments.get(*at));
    // What was appended so lately that it will be read beside the fold must not be older than the tombstones.
    let recent = segments.filter(|segment| segment.appended > through);
    let recent = recent.filter_map(|segment| segment.name.seconds).map(|(first, _)| first).min();
    let horizon = earlier(cut, options.tombstones.as_secs());
    let horizon = recent.map_or(horizon, |recent| horizon.min(recent));
    // What is not known of an item (its last record, when it was removed) is not known of records from before either.
    let known = [candidate.floor, base_fold.map(|fold| fold.horizon), rests_on(candidate, base)];
    let horizon = known.into_iter().flatten().fold(horizon, Ord::max);
    FoldDocument {
        cut,
        covered_from: interval.from,
        whole: candidate.whole,
        baseline: match (base, base_fold) {
            (_, Some(fold)) => fold.baseline.clone(),
            (Some(baseline), None) => Some(baseline.name.clone()),
            (None, None) => None,
        },
        base: base.map(|base| base.name.clone()),
        appended_through: through,
        horizon,
        last_sequence,
        first,
        tombstones: 0,
    }
}

/// Up to when a fold rests on records after its cut having been there: one that is walked back to says of a key without a
/// record what its base says, so a record that comes late, from between the two, would have said otherwise.
fn rests_on(candidate: &Candidate, base: Option<&ListedSnapshot>) -> Option<Second> {
    let base = base.filter(|_| matches!(candidate.way, Way::Backward | Way::Around))?;
    Some(later(base.document.finished, SKEW_SECONDS))
}

/// 16 hexadecimal digits of what the fold is made of. Not of when its inputs were listed.
fn identity(plan: &SnapshotPlanDocument) -> String {
    let mut hash = Sha256::new();
    for (name, _, from) in &plan.segments {
        hash.update(name.as_bytes());
        hash.update(format!("\n{:?}\n", from.map(Second::get)));
    }
    hash.update(format!("{:?}\n{:?}\n{}\n", plan.until.map(Second::get), plan.fold.base, plan.part_bytes_max));
    hash.finalize().iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The stream and key attributes, as the first object to read says; the merge checks the others.
async fn whose(
    store: &dyn ReadStore,
    covered: &CoveredTimeline,
    candidate: &Candidate,
    name: &str,
) -> Result<(StreamArn, KeyAttributes)> {
    let first = candidate.inputs(covered).into_iter().next();
    let Some(first) = first else {
        return Err(SnapshotError::NotWhole {
            timeline: covered.objects.timeline.clone(),
            cut: covered.intervals.first().and_then(|interval| interval.from).unwrap_or(Second::MIN),
            reason: "it has no record and no item".to_owned(),
        }
        .into());
    };
    let timeline = &covered.objects.timeline;
    let tail = merge::tail_of(store, &first.key).await.map_err(|error| gone(error, timeline, name))?;
    Ok((tail.footer.stream.clone(), tail.footer.key_attributes.clone()))
}

/// Folds under way whose inputs are all there still, and that a replay could start from, by cut.
pub(super) async fn unfinished(
    store: &dyn ReadStore,
    covered: &CoveredTimeline,
) -> Result<Vec<(String, SnapshotPlanDocument)>> {
    let objects = &covered.objects;
    let folder = layout::segments_folder(&objects.timeline);
    let listed: HashSet<&str> =
        objects.segments.iter().filter_map(|segment| segment.key.strip_prefix(&folder)).collect();
    let mut found = Vec::new();
    for (name, plan) in plans(store, covered).await? {
        let base = plan.fold.base.as_ref();
        let alive = plan.segments.iter().all(|(segment, ..)| listed.contains(segment.as_str()))
            && base.is_none_or(|base| objects.snapshots.iter().any(|snapshot| snapshot.name == *base));
        let serves = covered.intervals.iter().any(|interval| why_not(interval, &plan.fold).is_none());
        if alive && serves {
            found.push((name, plan));
        }
    }
    found.sort_by_key(|(_, plan)| plan.fold.cut);
    Ok(found)
}

/// Plans of folds that are not complete.
pub(crate) async fn plans(
    store: &dyn ReadStore,
    covered: &CoveredTimeline,
) -> Result<Vec<(String, SnapshotPlanDocument)>> {
    let mut found = Vec::new();
    for object in covered.objects.unfinished.iter().filter(|object| object.key.ends_with("/plan.json")) {
        if let Some(plan) = documents::read::<SnapshotPlanDocument>(store, &object.key).await? {
            found.push((object.snapshot.clone(), plan));
        }
    }
    Ok(found)
}

/// Notes why no fold can be made of a plan, and ends it: compaction need not heed it, and nobody goes on with it.
pub(super) async fn give_up(store: &dyn WriteStore, name: &str, segment: &UndatedSegment) -> Result<()> {
    let UndatedSegment { timeline, object, count } = segment;
    let document = UndatedDocument { object: object.clone(), count: *count };
    store.put_new(&layout::snapshot_undated(timeline, name), documents::to_bytes(&document)?).await?;
    store.delete(&layout::snapshot_plan(timeline, name)).await?;
    info!(%timeline, object, count, "no snapshot can be made: records have no second");
    Ok(())
}

/// Segments that are there and were found to have records without a second, by the folds that found them.
pub(super) async fn undated(store: &dyn ReadStore, covered: &CoveredTimeline) -> Result<Vec<(String, UndatedSegment)>> {
    let objects = &covered.objects;
    let mut found = Vec::new();
    for noted in objects.unfinished.iter().filter(|object| object.key.ends_with("/undated.json")) {
        if let Some(UndatedDocument { object, count }) = documents::read(store, &noted.key).await?
            && objects.segments.iter().any(|segment| segment.key == object)
        {
            let segment = UndatedSegment { timeline: objects.timeline.clone(), object, count };
            found.push((noted.snapshot.clone(), segment));
        }
    }
    Ok(found)
}

/// Deletes what folds have left that were never completed and that nobody has added to for the grace time; what those of
/// `known` found stays, for it spares finding it again.
pub(super) async fn clean(
    store: &dyn WriteStore,
    covered: &CoveredTimeline,
    known: &[(String, UndatedSegment)],
    now: Second,
    options: &SnapshotOptions,
) -> Result<u64> {
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    let is_known = |snapshot: &str| known.iter().any(|(name, _)| name == snapshot);
    let folds = covered.objects.unfinished.iter().filter(|object| object.snapshot.contains("-fold-"));
    for object in folds.filter(|object| !is_known(&object.snapshot)) {
        let latest = newest.entry(&object.snapshot).or_default();
        *latest = object.modified.max(*latest);
    }
    let over = |modified: u64| later(Second::new(modified).unwrap_or(Second::MAX), options.grace.as_secs()) <= now;
    let mut deleted = 0;
    for object in &covered.objects.unfinished {
        if newest.get(object.snapshot.as_str()).is_some_and(|modified| over(*modified)) {
            deleted += 1;
            if !options.dry_run {
                store.delete(&object.key).await?;
            }
        }
    }
    if deleted > 0 {
        info!(timeline = %covered.objects.timeline, deleted, "what unfinished snapshots had left is deleted");
    }
    Ok(deleted)
}

/// The highest sequence number for a document that has none.
pub(super) fn first_of(fold: &FoldDocument) -> (SequenceNumber, Option<Second>) {
    fold.first.map_or((SequenceNumber::MIN, None), |(second, sequence)| (sequence, Some(second)))
}
