//! Where in a table's history a rewind lies, and whether the table of today can be rewound so far.
//!
//! What enters are the table's timelines with their coverage, the cuts and the live table; what leaves are the cuts, no longer
//! relative, and the segments to read, or why it cannot be done. Pure. The promises stand in SEMANTICS.md, "Rewinds".

use journal::error::Result;
use journal::listing::ListedSegment;
use journal::model::{KeyAttributes, Second, SequenceNumber, TableName, TimelineLabel};

use super::error::{RewindError, flags, told};
use super::table::LiveTable;
use crate::coverage::{CoveredTimeline, Ending, Interval, choose};
use crate::cut::{Cut, CutRequest, Position};
use crate::merge::{RunInput, RunKind};

/// The part of history that a rewind is about.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Index of the timeline.
    pub(super) timeline: usize,
    /// Changes up to here are not undone.
    pub(super) from: Cut,
    /// Changes after here are not undone; none for all.
    pub(super) to: Option<Cut>,
    /// The segments to read.
    pub(super) inputs: Vec<RunInput>,
    /// Segments of the timeline.
    pub(super) segments: usize,
    /// Until when the journal has been read.
    pub(super) through: Option<Second>,
    /// The last record.
    pub(super) last: Option<SequenceNumber>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

/// Chooses the timeline and the segments.
pub(super) fn scope(
    table: &TableName,
    timelines: &[CoveredTimeline],
    (from, to): (CutRequest, Option<CutRequest>),
    label: Option<&TimelineLabel>,
    live: Option<&LiveTable>,
) -> Result<Scope> {
    let choice = choose(table, timelines, from, label, false)?;
    let (from, mut notes) = (choice.cut, choice.notes);
    let Some(covered) = timelines.get(choice.timeline) else {
        return Err(
            RewindError::Gap { table: table.clone(), cut: from, reason: "it lies in no timeline".to_owned() }.into()
        );
    };
    let interval = choice.interval.and_then(|at| covered.intervals.get(at));
    still_the_same(table, timelines, choice.timeline, from, live)?;
    let gap = |reason: String| RewindError::Gap { table: table.clone(), cut: from, reason };
    if let Some(gap_after) = interval.and_then(|interval| interval.gap_after.as_ref()) {
        return Err(gap(gap_after.reason.clone()).into());
    }
    if let Some(Interval { ending: Ending::Ended { reason }, through, .. }) = interval {
        return Err(gap(format!("its stream ended at {} ({reason})", told(*through))).into());
    }
    if interval.is_some_and(|interval| interval.ending == Ending::LastRecord) {
        notes.push("nobody can say whether the table changed after the journal's last record: such items come out as conflicts".to_owned());
    }
    let to = match to {
        None => None,
        Some(to) => {
            let end = choose(table, timelines, to, Some(&covered.objects.timeline.label), false)?;
            notes.extend(end.notes);
            if end.interval != choice.interval {
                return Err(gap("a gap lies between the two".to_owned()).into());
            }
            if is_after(from, end.cut) {
                return Err(RewindError::Order { from, to: end.cut }.into());
            }
            Some(end.cut)
        }
    };
    let superseded = covered.objects.superseded();
    let inputs =
        covered.objects.segments.iter().filter(|segment| !superseded.contains(&segment.key) && reaches(segment, from));
    Ok(Scope {
        timeline: choice.timeline,
        from,
        to,
        inputs: inputs
            .map(|s| RunInput { key: s.key.clone(), size: s.size, kind: RunKind::Segment, from: None, until: None })
            .collect(),
        segments: covered.objects.segments.len(),
        through: interval.and_then(|interval| interval.through),
        last: covered.sequences().map(|(_, last)| last),
        notes,
    })
}

fn is_after(from: Cut, to: Cut) -> bool {
    match (from.position, to.position) {
        (Position::Second(_), Position::Second(_)) => from.last_second() > to.last_second(),
        (Position::Sequence(from), Position::Sequence(to)) => from.cmp_value(&to).is_gt(),
        // A second and a sequence number cannot be compared without the records: then nothing lies between them.
        _ => false,
    }
}

/// Whether a segment's name allows it to hold records after the cut.
fn reaches(segment: &ListedSegment, from: Cut) -> bool {
    let name = &segment.name;
    match from.position {
        Position::Second(_) => name.seconds.is_none_or(|(_, last)| !from.has(SequenceNumber::MIN, Some(last))),
        Position::Sequence(_) => !from.has(name.sequences.1, None),
    }
}

/// Whether the table of today is the one that the cut lies in.
fn still_the_same(
    table: &TableName,
    timelines: &[CoveredTimeline],
    chosen: usize,
    cut: Cut,
    live: Option<&LiveTable>,
) -> Result<(), RewindError> {
    let id = |at: usize| timelines.get(at)?.objects.table.as_ref()?.table_id.clone();
    let ended = |at: usize| {
        let end = timelines.get(at).and_then(|covered| covered.objects.end.as_ref());
        told(end.map(|end| end.at))
    };
    let Some(live) = live else {
        return Err(RewindError::Missing { table: table.clone(), at: flags(cut) });
    };
    // A younger timeline: of the same table, whose stream was switched off and on, or of another one of its name.
    if let Some(newest) = timelines.len().checked_sub(1).filter(|newest| *newest != chosen) {
        if id(chosen).is_some() && id(chosen) == id(newest) {
            let reason = format!("its stream was off for a time after {}", ended(chosen));
            return Err(RewindError::Gap { table: table.clone(), cut, reason });
        }
        return Err(RewindError::Recreated { table: table.clone(), cut, ended: ended(chosen) });
    }
    if let (Some(known), Some(found)) = (id(chosen), &live.id)
        && known != *found
    {
        let reason = format!("its id is {found}, the journal's is {known}: it was deleted and made again since");
        return Err(other(table, reason));
    }
    let label = timelines.get(chosen).map(|covered| covered.objects.timeline.label.as_str());
    if let (Some(known), Some(found)) = (label, &live.stream_label)
        && known != found
    {
        let reason = format!("its stream is {found}, and the journal's newest is {known}");
        return Err(other(table, reason));
    }
    Ok(())
}

fn other(table: &TableName, reason: String) -> RewindError {
    RewindError::OtherTable { table: table.clone(), of: "the journal".to_owned(), reason }
}

/// Checks that the live table has the key that `of` knows, and can be written to.
pub(super) fn check_key(
    table: &TableName,
    of: &str,
    known: &KeyAttributes,
    live: &LiveTable,
) -> Result<(), RewindError> {
    if live.key != *known {
        let reason = format!("its key is {}, and was {known}", live.key);
        return Err(RewindError::OtherTable { table: table.clone(), of: of.to_owned(), reason });
    }
    if !matches!(live.status.as_str(), "ACTIVE" | "UPDATING") {
        return Err(RewindError::NotActive { table: table.clone(), status: live.status.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::tests::{Pieces, second, sequence, table};
    use journal::documents::{CompactionDocument, TableDocument};
    use journal::layout;
    use journal::listing::ListedCompaction;
    use journal::model::{KeyAttribute, KeyType, StreamArn};

    fn key(name: &str) -> KeyAttributes {
        KeyAttributes::new(vec![KeyAttribute { name: name.to_owned(), key_type: KeyType::S }]).unwrap()
    }

    fn live() -> LiveTable {
        LiveTable {
            id: Some("one".to_owned()),
            stream_label: Some("1".to_owned()),
            key: key("noteId"),
            status: "ACTIVE".to_owned(),
            indexes: 0,
            write_units_per_second: None,
        }
    }

    fn followed() -> Pieces {
        Pieces::new("1").start(1000, true).shard("a", None, None, Some(3000))
    }

    /// A timeline whose `table.json` has this id.
    fn of(mut pieces: Pieces, id: &str) -> CoveredTimeline {
        let table = table();
        pieces.0.table = Some(TableDocument {
            stream_arn: StreamArn::parse(&format!("arn:aws:dynamodb:x:0:table/{table}/stream/1")).unwrap(),
            table,
            table_id: Some(id.to_owned()),
            key_schema: Vec::new(),
            stream_view_type: "NEW_AND_OLD_IMAGES".to_owned(),
            created_milliseconds: None,
            described_at: second(1000),
            description: serde_json::Value::Null,
            time_to_live: None,
            tags: None,
            point_in_time_recovery: None,
            not_read: Vec::new(),
        });
        pieces.covered()
    }

    fn asked(timelines: &[CoveredTimeline], from: u64, to: Option<u64>, live: &LiveTable) -> Result<Scope> {
        let cut = |at: u64| CutRequest::Cut(Cut::at(second(at)));
        scope(&table(), timelines, (cut(from), to.map(cut)), None, Some(live))
    }

    #[track_caller]
    fn refused(timelines: &[CoveredTimeline], from: u64, to: Option<u64>, live: &LiveTable) -> (RewindKind, String) {
        let error = asked(timelines, from, to, live).unwrap_err();
        let kind = match error.downcast_ref() {
            Some(RewindError::Gap { .. }) => RewindKind::Gap,
            Some(RewindError::OtherTable { .. }) => RewindKind::OtherTable,
            Some(RewindError::Recreated { .. }) => RewindKind::Recreated,
            _ => panic!("{error}"),
        };
        (kind, error.to_string())
    }

    #[derive(Debug, PartialEq)]
    enum RewindKind {
        Gap,
        OtherTable,
        Recreated,
    }

    #[test]
    fn segments_that_may_hold_changes_after_the_cut_are_read_and_no_others() {
        let pieces = followed().segment(Some((1000, 2000)), (1, 9)).segment(Some((1990, 2500)), (10, 19));
        let timelines = [of(pieces.segment(None, (20, 21)), "one")];
        let scope = asked(&timelines, 2000, None, &live()).unwrap();
        let read: Vec<bool> = scope.inputs.iter().map(|input| input.key.contains("undated")).collect();
        assert_eq!((read, scope.segments), (vec![false, true], 3));
        let by_sequence = |at: u64| {
            let cut = CutRequest::Cut(Cut::at_sequence(sequence(at)));
            super::scope(&table(), &timelines, (cut, None), None, Some(&live())).unwrap().inputs.len()
        };
        assert_eq!([8, 9, 10, 18, 19, 20].map(by_sequence), [3, 2, 2, 2, 1, 1]);
        let by_second = |at: u64| asked(&timelines, at, None, &live()).unwrap().inputs.len();
        assert_eq!([1999, 2000, 2499, 2500].map(by_second), [3, 2, 2, 1]);
    }

    #[test]
    fn segments_that_compaction_has_replaced_are_not_read() {
        let segment = |pieces: Pieces, numbers: (u64, u64)| pieces.segment(Some((1990, 2500)), numbers);
        let mut pieces = [(1, 9), (10, 19), (1, 19)].into_iter().fold(followed(), segment);
        let folder = layout::segments_folder(&pieces.0.timeline);
        let names: Vec<&str> =
            pieces.0.segments.iter().map(|segment| segment.key.strip_prefix(&folder).unwrap()).collect();
        let (inputs, outputs) = names.split_at(2);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let document = CompactionDocument {
            inputs: owned(inputs),
            outputs: owned(outputs),
            records: 19,
            bytes_in: 200,
            bytes_out: 100,
        };
        pieces.0.compactions.push(ListedCompaction { key: "one.json".to_owned(), modified: 0, document });
        let output = pieces.0.segments[2].key.clone();
        let scope = asked(&[of(pieces, "one")], 2000, None, &live()).unwrap();
        assert_eq!(scope.inputs.iter().map(|input| &input.key).collect::<Vec<_>>(), [&output]);
    }

    #[test]
    fn a_window_may_be_empty_and_must_not_be_turned_around() {
        let timelines = [of(followed(), "one")];
        assert!(asked(&timelines, 2000, Some(2000), &live()).is_ok());
        let turned = asked(&timelines, 2000, Some(1999), &live()).unwrap_err();
        assert!(matches!(turned.downcast_ref(), Some(RewindError::Order { .. })), "{turned}");
    }

    #[test]
    fn another_table_of_the_name_is_refused_by_its_id_or_its_stream() {
        let known = || [of(followed(), "one")];
        assert!(asked(&known(), 2000, None, &live()).is_ok());
        let nameless = LiveTable { id: None, stream_label: None, ..live() };
        assert!(asked(&known(), 2000, None, &nameless).is_ok(), "some services give neither");
        let (kind, text) = refused(&known(), 2000, None, &LiveTable { id: Some("two".to_owned()), ..live() });
        assert!(kind == RewindKind::OtherTable && text.contains("deleted and made again"), "{text}");
        let (kind, text) = refused(&known(), 2000, None, &LiveTable { stream_label: Some("2".to_owned()), ..live() });
        assert!(kind == RewindKind::OtherTable && text.contains("its stream is 2"), "{text}");
    }

    #[test]
    fn a_younger_timeline_is_a_gap_of_the_same_table_or_another_table() {
        let old = || of(Pieces::new("1").start(1000, true).end(2000, "stream disabled"), "one");
        let young = |id: &str| of(Pieces::new("2").start(2600, true).shard("a", None, None, Some(3000)), id);
        let (kind, text) = refused(&[old(), young("one")], 1500, None, &live());
        assert!(kind == RewindKind::Gap && text.contains("its stream was off"), "{text}");
        assert_eq!(refused(&[old(), young("two")], 1500, None, &live()).0, RewindKind::Recreated);
        let (kind, text) = refused(&[old()], 1500, None, &live());
        assert!(kind == RewindKind::Gap && text.contains("its stream ended at"), "{text}");
    }

    #[test]
    fn a_gap_after_the_cut_or_within_the_window_is_refused() {
        let pieces = || [of(followed().gap(2000, 2100, None), "one")];
        assert_eq!(refused(&pieces(), 1500, None, &live()).0, RewindKind::Gap);
        let (kind, text) = refused(&pieces(), 2500, Some(1500), &live());
        assert!(kind == RewindKind::Gap && text.contains("between the two"), "{text}");
        assert!(asked(&pieces(), 2200, Some(2500), &live()).is_ok());
    }

    #[test]
    fn a_table_with_another_key_or_that_cannot_be_written_to_is_refused() {
        let check = |live: &LiveTable| check_key(&table(), "the journal", &key("noteId"), live);
        for status in ["ACTIVE", "UPDATING"] {
            check(&LiveTable { status: status.to_owned(), ..live() }).unwrap();
        }
        let deleting = check(&LiveTable { status: "DELETING".to_owned(), ..live() });
        assert!(matches!(deleting, Err(RewindError::NotActive { .. })), "{deleting:?}");
        let other = check(&LiveTable { key: key("id"), ..live() });
        assert!(matches!(other, Err(RewindError::OtherTable { .. })), "{other:?}");
    }
}
