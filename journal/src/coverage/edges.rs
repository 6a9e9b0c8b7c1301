//! The outer edges of a timeline's coverage.

use crate::documents::CheckpointDocument;
use crate::model::Second;

use super::Ending;
use crate::listing::TimelineObjects;

pub(super) struct Edges {
    pub(super) from: Option<Second>,
    pub(super) through: Option<Second>,
    pub(super) ending: Ending,
}

pub(super) fn edges(objects: &TimelineObjects) -> Edges {
    let seconds = objects.segments.iter().filter_map(|segment| segment.name.seconds);
    let baselines =
        || objects.snapshots.iter().map(|snapshot| &snapshot.document).filter(|document| document.kind == "baseline");
    // A baseline shows the table from its start to its end, whatever the records say.
    let first = seconds.clone().map(|(first, _)| first).chain(baselines().map(|document| document.started)).min();
    let last = seconds.map(|(_, last)| last).chain(baselines().map(|document| document.finished)).max();
    let from = objects.start.as_ref().map(|start| start.covered_from).or(first);
    if let Some(end) = &objects.end {
        return Edges { from, through: Some(end.at), ending: Ending::Ended { reason: end.reason.clone() } };
    }
    match read_through(objects) {
        ReadThrough::To(second) => Edges { from, through: second, ending: Ending::Read },
        ReadThrough::Unknown => Edges { from, through: last, ending: Ending::LastRecord },
    }
}

enum ReadThrough {
    /// Every shard has been read so far; none when one has not been read at all.
    To(Option<Second>),
    /// No checkpoint says anything: nobody follows the stream.
    Unknown,
}

fn read_through(objects: &TimelineObjects) -> ReadThrough {
    let checkpoints = &objects.checkpoints;
    let has_child = |shard: &str| checkpoints.iter().any(|other| other.parent.as_deref() == Some(shard));
    let last_gap_to = objects.gaps.iter().map(|gap| gap.to).max();
    let mut least: Option<Option<Second>> = None;
    for checkpoint in checkpoints {
        let second = effective(checkpoint, checkpoints);
        // A finished shard whose children have no checkpoint yet: what they hold has not been read. When a later gap is
        // stated, the children are what it speaks of.
        let passed = match (second, last_gap_to) {
            (Some(second), Some(to)) => second < to,
            (None, Some(_)) => true,
            _ => false,
        };
        if checkpoint.finished && (has_child(&checkpoint.shard) || passed) {
            continue;
        }
        least = Some(match least {
            None => second,
            Some(other) => other.min(second),
        });
    }
    match least {
        // None when a shard has not been read at all: nothing is covered then.
        Some(second) => ReadThrough::To(second),
        None => ReadThrough::Unknown,
    }
}

/// How far a shard has been read; for one that has not been read at all, how far its parent was, for it comes after.
fn effective(checkpoint: &CheckpointDocument, all: &[CheckpointDocument]) -> Option<Second> {
    let mut current = checkpoint;
    // At most as many steps as there are shards, so that a circle of parents ends.
    for _ in 0..=all.len() {
        if let Some(second) = current.last_second.max(current.read_through) {
            return Some(second);
        }
        let parent = current.parent.as_deref()?;
        current = all.iter().find(|other| other.shard == parent)?;
    }
    None
}
