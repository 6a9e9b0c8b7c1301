//! Where things lie in a journal: object keys, made and read back.
//!
//! Specified in FORMAT.md, "Object keys". Every name of a segment comes from its records, never from the clock, so a
//! retried batch meets its own object; a listing alone tells which segments a cut needs.

use crate::model::{Second, SequenceNumber, TableName, Timeline, TimelineLabel};

/// The object that says that a location is a journal, and of which major version.
pub const JOURNAL_DOCUMENT: &str = "journal.json";
/// Where records go whose table is not known. `~` is not allowed in table names, so no table can be in the way.
pub const UNKNOWN_QUARANTINE: &str = "~quarantine/";

/// The folder of a table: `TABLE/`.
#[must_use]
pub fn table_folder(table: &TableName) -> String {
    format!("{table}/")
}

/// The folder of a timeline: `TABLE/LABEL/`.
#[must_use]
pub fn timeline_folder(timeline: &Timeline) -> String {
    format!("{}/{}/", timeline.table, timeline.label)
}

/// The table's description as last seen in this timeline.
#[must_use]
pub fn table_document(timeline: &Timeline) -> String {
    format!("{}table.json", timeline_folder(timeline))
}

/// From when on this timeline is covered.
#[must_use]
pub fn start_document(timeline: &Timeline) -> String {
    format!("{}start.json", timeline_folder(timeline))
}

/// That the timeline has ended.
#[must_use]
pub fn end_document(timeline: &Timeline) -> String {
    format!("{}end.json", timeline_folder(timeline))
}

/// How far one shard has been read.
#[must_use]
pub fn checkpoint_document(timeline: &Timeline, shard: &str) -> String {
    format!("{}{}.json", checkpoints_folder(timeline), safe_part(shard))
}

/// The folder of the checkpoints.
#[must_use]
pub fn checkpoints_folder(timeline: &Timeline) -> String {
    format!("{}checkpoints/", timeline_folder(timeline))
}

/// The folder of the stated gaps.
#[must_use]
pub fn gaps_folder(timeline: &Timeline) -> String {
    format!("{}gaps/", timeline_folder(timeline))
}

/// The folder of the events.
#[must_use]
pub fn events_folder(timeline: &Timeline) -> String {
    format!("{}events/", timeline_folder(timeline))
}

/// Something that happened to the table or its stream.
#[must_use]
pub fn event_document(timeline: &Timeline, name: &str) -> String {
    format!("{}{}.json", events_folder(timeline), safe_part(name))
}

/// The folder of the segments of all levels.
#[must_use]
pub fn segments_folder(timeline: &Timeline) -> String {
    format!("{}segments/", timeline_folder(timeline))
}

/// The folder of the compaction documents.
#[must_use]
pub fn compactions_folder(timeline: &Timeline) -> String {
    format!("{}compactions/", timeline_folder(timeline))
}

/// The folder of the snapshots.
#[must_use]
pub fn snapshots_folder(timeline: &Timeline) -> String {
    format!("{}snapshots/", timeline_folder(timeline))
}

/// The folder of one snapshot, named by its cut.
#[must_use]
pub fn snapshot_folder(timeline: &Timeline, name: &str) -> String {
    format!("{}{}/", snapshots_folder(timeline), safe_part(name))
}

/// The document that completes a snapshot: without it the snapshot does not count.
#[must_use]
pub fn snapshot_document(timeline: &Timeline, name: &str) -> String {
    format!("{}snapshot.json", snapshot_folder(timeline, name))
}

/// What a snapshot under way is made of; see FORMAT.md, "Snapshots".
#[must_use]
pub fn snapshot_plan(timeline: &Timeline, name: &str) -> String {
    format!("{}plan.json", snapshot_folder(timeline, name))
}

/// Why a snapshot cannot be made; see FORMAT.md, "Snapshots".
#[must_use]
pub fn snapshot_undated(timeline: &Timeline, name: &str) -> String {
    format!("{}undated.json", snapshot_folder(timeline, name))
}

/// How far a compaction under way has come: its output `number`.
#[must_use]
pub fn compaction_progress(timeline: &Timeline, id: &str, number: usize) -> String {
    format!("{}{id}/{number:05}.json", compactions_folder(timeline))
}

/// The folder of a timeline's quarantined records.
#[must_use]
pub fn quarantine_folder(timeline: &Timeline) -> String {
    format!("{}quarantine/", timeline_folder(timeline))
}

/// A text as one part of a key: what is not a letter, digit, `_`, `-`, `.` or `:` becomes `~` and two hex digits.
#[must_use]
pub fn safe_part(text: &str) -> String {
    use std::fmt::Write as _;
    let dots = text.bytes().all(|b| b == b'.');
    text.bytes().fold(String::with_capacity(text.len()), |mut part, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':') || (byte == b'.' && !dots) {
            part.push(char::from(byte));
        } else {
            let _ = write!(part, "~{byte:02x}");
        }
        part
    })
}

/// What a segment's name says of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// 0 for what one batch made; higher for what compaction made.
    pub level: u8,
    /// First and last second of its records; none when no record has one.
    pub seconds: Option<(Second, Second)>,
    /// First and last sequence number of its records.
    pub sequences: (SequenceNumber, SequenceNumber),
    /// CRC-32 of the whole object.
    pub crc32: u32,
    /// For what compaction made: when the last of what it holds was appended, in seconds since 1970, as the store says. None
    /// for what one batch made, whose own time of storing says it.
    pub appended: Option<u64>,
}

impl SegmentName {
    /// The object key: `…/segments/LEVEL/DATE/FIRST-LAST-FIRSTSEQ-LASTSEQ-CRC.seg`, seconds in 12 digits, sequence numbers
    /// in 40, DATE and seconds `undated` and `none` when no record has a second. What compaction made has `-APPENDED` in
    /// 12 digits behind CRC.
    #[must_use]
    pub fn key(&self, timeline: &Timeline) -> String {
        let (date, seconds) = self.seconds.map_or_else(
            || ("undated".to_owned(), "none-none".to_owned()),
            |(first, last)| (first.to_date(), format!("{:012}-{:012}", first.get(), last.get())),
        );
        let appended = self.appended.map_or_else(String::new, |appended| format!("-{appended:012}"));
        format!(
            "{}{}/{date}/{seconds}-{}-{}-{:08x}{appended}.seg",
            segments_folder(timeline),
            self.level,
            self.sequences.0.to_padded(),
            self.sequences.1.to_padded(),
            self.crc32
        )
    }

    /// Reads a key that `key` made. None when it is not one: a foreign object, which `verify` reports.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.rsplit('/');
        let name = parts.next()?.strip_suffix(".seg")?;
        let date = parts.next()?;
        let level = parts.next()?.parse().ok()?;
        let mut fields = name.split('-');
        let (first, last) = (fields.next()?, fields.next()?);
        let seconds = if first == "none" && last == "none" {
            None
        } else {
            let second = |text: &str| Second::new(text.parse().ok()?).ok();
            Some((second(first)?, second(last)?))
        };
        let sequence = |text: &str| {
            let digits = text.trim_start_matches('0');
            SequenceNumber::parse(if digits.is_empty() { "0" } else { digits }).ok()
        };
        let sequences = (sequence(fields.next()?)?, sequence(fields.next()?)?);
        let crc32 = u32::from_str_radix(fields.next()?, 16).ok()?;
        let appended = match fields.next() {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let dated = seconds.map_or_else(|| "undated".to_owned(), |(first, _)| first.to_date());
        (fields.next().is_none() && date == dated).then_some(Self { level, seconds, sequences, crc32, appended })
    }
}

/// The timeline that a key lies in, if it lies in one.
#[must_use]
pub fn timeline_of(key: &str) -> Option<Timeline> {
    let mut parts = key.split('/');
    let table = TableName::parse(parts.next()?).ok()?;
    let label = TimelineLabel::parse(parts.next()?).ok()?;
    parts.next()?;
    Some(Timeline { table, label })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_name_reads_back() {
        let timeline = Timeline {
            table: TableName::parse("notes-table-dev").unwrap(),
            label: TimelineLabel::parse("2020-03-29T00:00:00.000").unwrap(),
        };
        let seconds = (Second::new(1_584_810_304).unwrap(), Second::new(1_585_022_472).unwrap());
        for (seconds, appended) in [(None, None), (Some(seconds), None), (Some(seconds), Some(1_585_022_500))] {
            let name = SegmentName {
                level: 0,
                seconds,
                sequences: (SequenceNumber::parse("100000000000000000000007").unwrap(), SequenceNumber::MIN),
                crc32: 0xdead_beef,
                appended,
            };
            let key = name.key(&timeline);
            assert_eq!(SegmentName::parse(&key), Some(name));
            assert_eq!(timeline_of(&key), Some(timeline.clone()));
        }
        assert_eq!(SegmentName::parse("a/b/segments/0/2020-01-01/x.seg"), None);
    }

    #[test]
    fn no_text_can_leave_its_folder() {
        assert_eq!(safe_part("../x"), "..~2fx");
        assert_eq!(safe_part(".."), "~2e~2e");
        assert_eq!(safe_part("shardId-00000001603-abc"), "shardId-00000001603-abc");
    }
}
