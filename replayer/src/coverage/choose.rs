//! Which timeline and which of its intervals a cut lies in.

use journal::error::{Classify, Kind};
use journal::model::{Second, SequenceNumber, TableName, TimelineLabel};
use thiserror::Error;

use super::{CoveredTimeline, Ending, Interval};
use crate::cut::{Cut, CutRequest, Position};

/// Why a cut cannot be answered.
#[derive(Debug, Error)]
pub enum CoverageError {
    /// The cut lies outside every interval.
    #[error("table {table} {cut} is not covered: {reason}\n{allowed}")]
    Outside {
        /// The table.
        table: TableName,
        /// The cut.
        cut: Cut,
        /// What is known of that moment.
        reason: String,
        /// Whether the table is known not to have been there.
        absent: bool,
        /// The intervals that are covered, one a line.
        allowed: String,
    },
    /// `--at latest`, and nothing is covered.
    #[error("table {table} has no covered moment yet: {reason}")]
    Nothing {
        /// The table.
        table: TableName,
        /// Why.
        reason: String,
    },
    /// `--timeline` names none.
    #[error("table {table} has no timeline {label} in this journal; it has {known}")]
    NoTimeline {
        /// The table.
        table: TableName,
        /// The label asked for.
        label: TimelineLabel,
        /// The labels there are.
        known: String,
    },
    /// A sequence number that several timelines could mean.
    #[error("sequence number {sequence} lies in several timelines of table {table}: {labels}")]
    Ambiguous {
        /// The table.
        table: TableName,
        /// The sequence number.
        sequence: SequenceNumber,
        /// The timelines.
        labels: String,
    },
}

impl Classify for CoverageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Outside { .. } | Self::Nothing { .. } => Kind::Gap,
            Self::NoTimeline { .. } | Self::Ambiguous { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Outside { .. } => Some(
                "choose a cut in one of these intervals; --at latest takes the newest; --allow-partial goes on with what \
                 the journal has"
                    .to_owned(),
            ),
            Self::Nothing { table, .. } => Some(format!("run `journal follow --table {table}` until it has read the stream")),
            Self::NoTimeline { .. } => None,
            Self::Ambiguous { .. } => Some("say which with --timeline LABEL".to_owned()),
        }
    }
}

/// Where a cut lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Index of the timeline.
    pub timeline: usize,
    /// Index of the interval in the timeline; none when the cut is not covered and a partial answer was allowed.
    pub interval: Option<usize>,
    /// The cut, no longer relative.
    pub cut: Cut,
    /// What the user should know, for standard error.
    pub notes: Vec<String>,
}

/// Finds the timeline and interval of a cut. `timelines` are all of the table, in order of their beginnings.
///
/// # Errors
/// When the cut is not covered and `allow_partial` is not set, no timeline has the label, or a sequence number could mean
/// several.
pub fn choose(
    table: &TableName,
    timelines: &[CoveredTimeline],
    request: CutRequest,
    label: Option<&TimelineLabel>,
    allow_partial: bool,
) -> Result<Choice, CoverageError> {
    let mut candidates: Vec<(usize, &CoveredTimeline)> = timelines.iter().enumerate().collect();
    if let Some(label) = label {
        candidates.retain(|(_, timeline)| timeline.objects.timeline.label == *label);
        if candidates.is_empty() {
            let known: Vec<&str> = timelines.iter().map(|t| t.objects.timeline.label.as_str()).collect();
            return Err(CoverageError::NoTimeline {
                table: table.clone(),
                label: label.clone(),
                known: known.join(", "),
            });
        }
    }
    let chooser = Chooser { table, candidates, allow_partial };
    match request {
        CutRequest::Latest => chooser.latest(),
        CutRequest::Cut(cut) => match cut.position {
            Position::Second(_) => chooser.by_second(cut),
            Position::Sequence(sequence) => chooser.by_sequence(cut, sequence),
        },
    }
}

struct Chooser<'a> {
    table: &'a TableName,
    candidates: Vec<(usize, &'a CoveredTimeline)>,
    allow_partial: bool,
}

impl Chooser<'_> {
    fn latest(&self) -> Result<Choice, CoverageError> {
        let Some((timeline, newest)) = self.candidates.last() else {
            return Err(self.nothing("the journal has no timeline of it"));
        };
        let Some((at, interval)) = newest.intervals.iter().enumerate().next_back() else {
            return Err(self.nothing("its newest stream has not been read yet"));
        };
        let cut = match (interval.through, newest.sequences()) {
            (Some(through), _) => Cut::at(through),
            (None, Some((_, last))) => Cut::at_sequence(last),
            (None, None) => return Err(self.nothing("there are no records")),
        };
        Ok(Choice { timeline: *timeline, interval: Some(at), cut, notes: edge_notes(interval, cut) })
    }

    fn nothing(&self, reason: &str) -> CoverageError {
        CoverageError::Nothing { table: self.table.clone(), reason: reason.to_owned() }
    }

    fn by_second(&self, cut: Cut) -> Result<Choice, CoverageError> {
        let second = cut.last_second().unwrap_or(Second::MIN);
        // A deleted table's end is seen a little after a new one of its name may have begun: the new one is meant.
        for (timeline, covered) in self.candidates.iter().rev() {
            if let Some((at, interval)) = covered.intervals.iter().enumerate().find(|(_, i)| i.contains(second)) {
                let mut notes = edge_notes(interval, cut);
                notes.extend(self.remade_note(*timeline, second));
                return Ok(Choice { timeline: *timeline, interval: Some(at), cut, notes });
            }
        }
        let before = |covered: &CoveredTimeline| covered.beginning().is_some_and(|beginning| beginning <= second);
        let nearest = self.candidates.iter().rev().find(|(_, covered)| before(covered));
        self.outside(cut, nearest.or(self.candidates.first()).map(|(at, _)| *at), self.why_outside(second))
    }

    /// Streams have whole seconds, rounded down: near the moment at which a table was made again under its name, a second may
    /// mean either.
    fn remade_note(&self, chosen: usize, second: Second) -> Option<String> {
        let near = |beginning: &Second| beginning.get().abs_diff(second.get()) <= 1;
        let mut neighbours = self.candidates.iter().zip(self.candidates.iter().skip(1));
        neighbours.find_map(|((before, old), (after, new))| {
            let beginning = new.beginning().filter(near).filter(|_| !same_table(old, new))?;
            let (this, other, covered) = match chosen {
                chosen if chosen == *after => ("the new one", "the one before", old),
                chosen if chosen == *before => ("the one before", "the new one", new),
                _ => return None,
            };
            let label = &covered.objects.timeline.label;
            Some(format!(
                "the table was made again at {beginning}, within a second of the cut: this is {this}; --timeline {label} takes {other}"
            ))
        })
    }

    fn by_sequence(&self, cut: Cut, sequence: SequenceNumber) -> Result<Choice, CoverageError> {
        let within: Vec<&(usize, &CoveredTimeline)> = self
            .candidates
            .iter()
            .filter(|(_, covered)| {
                covered
                    .sequences()
                    .is_some_and(|(a, b)| a.cmp_value(&sequence).is_le() && sequence.cmp_value(&b).is_le())
            })
            .collect();
        let (timeline, covered) = match within.as_slice() {
            [] => {
                let ranges: Vec<String> = self.candidates.iter().filter_map(|(_, t)| sequence_line(t)).collect();
                let reason = if ranges.is_empty() {
                    "the journal has no records of it".to_owned()
                } else {
                    format!("the journal's records have {}", ranges.join("; "))
                };
                return self.outside(cut, self.candidates.last().map(|(at, _)| *at), (reason, false));
            }
            [one] => *one,
            several => {
                let labels: Vec<&str> = several.iter().map(|(_, t)| t.objects.timeline.label.as_str()).collect();
                return Err(CoverageError::Ambiguous {
                    table: self.table.clone(),
                    sequence,
                    labels: labels.join(", "),
                });
            }
        };
        let gap = covered.intervals.iter().filter_map(|interval| interval.gap_before.as_ref()).find(|gap| {
            gap.after_sequence.is_some_and(|after| after.cmp_value(&sequence).is_lt())
                && gap.before_sequence.is_some_and(|before| sequence.cmp_value(&before).is_lt())
        });
        let interval = covered.intervals.iter().enumerate().find(|(_, interval)| interval.contains_sequence(sequence));
        match (gap, interval) {
            (Some(gap), _) => self.outside(cut, Some(*timeline), (format!("it lies in a gap: {}", gap.reason), false)),
            (None, None) => self.outside(cut, Some(*timeline), ("it lies in a gap".to_owned(), false)),
            (None, Some((at, interval))) => {
                let mut notes = edge_notes(interval, cut);
                if covered.objects.checkpoints.len() > 1 {
                    notes.push(
                        "the stream has several shards: sequence numbers of different shards are compared by value"
                            .to_owned(),
                    );
                }
                Ok(Choice { timeline: *timeline, interval: Some(at), cut, notes })
            }
        }
    }

    fn outside(
        &self,
        cut: Cut,
        timeline: Option<usize>,
        (reason, absent): (String, bool),
    ) -> Result<Choice, CoverageError> {
        match timeline {
            Some(timeline) if self.allow_partial => {
                let note =
                    format!("{cut} is not covered: {reason}; the result is what the journal has, and may be wrong");
                Ok(Choice { timeline, interval: None, cut, notes: vec![note] })
            }
            _ => {
                let (table, allowed) = (self.table.clone(), self.allowed());
                Err(CoverageError::Outside { table, cut, reason, absent, allowed })
            }
        }
    }

    fn allowed(&self) -> String {
        let mut lines = Vec::new();
        for (_, covered) in &self.candidates {
            let label = &covered.objects.timeline.label;
            let mut any = false;
            for interval in &covered.intervals {
                if let (Some(from), Some(through)) = (interval.from, interval.through) {
                    lines.push(format!("  covered: {from} to {through} (timeline {label})"));
                    any = true;
                }
            }
            if !any {
                match sequence_line(covered) {
                    Some(range) => lines.push(format!("  no covered second in timeline {label}; {range}")),
                    None => lines.push(format!("  nothing covered yet in timeline {label}")),
                }
            }
        }
        lines.join("\n")
    }

    /// What is known of a second that no interval contains, and whether it is that there was no table.
    fn why_outside(&self, second: Second) -> (String, bool) {
        for (_, covered) in &self.candidates {
            let gap = covered
                .intervals
                .iter()
                .filter_map(|interval| interval.gap_before.as_ref().or(interval.gap_after.as_ref()))
                .find(|gap| gap.from < second && second < gap.to);
            if let Some(gap) = gap {
                return (format!("it lies in a gap: {}", gap.reason), false);
            }
        }
        let begun = |covered: &CoveredTimeline| covered.beginning().is_some_and(|beginning| beginning <= second);
        let before = self.candidates.iter().rev().find(|(_, covered)| begun(covered));
        let after = self.candidates.iter().find(|(_, covered)| !begun(covered));
        let next = after.and_then(|(_, covered)| covered.beginning());
        let next_text = next.map_or_else(String::new, |next| format!("; the next covered moment is {next}"));
        let Some((_, before)) = before else {
            return match self.candidates.first().and_then(|(_, covered)| covered.objects.start.as_ref()) {
                Some(start) if start.whole => ("the table did not exist yet".to_owned(), true),
                _ => ("it is before the first record".to_owned(), false),
            };
        };
        let Some(interval) = before.intervals.last() else {
            return (format!("nothing of that stream has been read yet{next_text}"), false);
        };
        let through = interval.through.map_or_else(String::new, |through| through.to_string());
        let reason = match &interval.ending {
            Ending::Ended { reason } if reason == "table deleted" => match after {
                Some((_, after)) if same_table(before, after) => {
                    format!("the table was there, but its stream was off: it ended at {through}{next_text}")
                }
                _ => return (format!("the table did not exist: its deletion was seen at {through}{next_text}"), true),
            },
            Ending::Ended { reason } => {
                format!("it was not covered: the stream ended at {through} ({reason}){next_text}")
            }
            Ending::Read => {
                format!("the stream has been read through {through}, and nobody has read further{next_text}")
            }
            Ending::LastRecord => {
                format!("the last record is of {through}, and nobody can say what came after it{next_text}")
            }
            Ending::Gap => format!("it lies in a gap after {through}, which nobody has read past{next_text}"),
        };
        (reason, false)
    }
}

fn same_table(a: &CoveredTimeline, b: &CoveredTimeline) -> bool {
    let id = |covered: &CoveredTimeline| covered.objects.table.as_ref().and_then(|table| table.table_id.clone());
    id(a).is_some() && id(a) == id(b)
}

fn sequence_line(covered: &CoveredTimeline) -> Option<String> {
    let (first, last) = covered.sequences()?;
    Some(format!("sequence numbers {first} to {last} in timeline {}", covered.objects.timeline.label))
}

fn edge_notes(interval: &Interval, cut: Cut) -> Vec<String> {
    let last = cut.last_second();
    match interval.ending {
        Ending::LastRecord if last.is_some() && last == interval.through => {
            vec!["this is the second of the last record: nobody can say whether more records of it exist".to_owned()]
        }
        _ => Vec::new(),
    }
}
