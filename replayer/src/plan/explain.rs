//! What a replay will read and why, for people and for programs: `--explain`.
//!
//! What enters is the choice between what a state can be made from; what leaves is plain data, with no key that is not a
//! snapshot's name. Decides nothing.

use std::fmt;

use journal::snapshot::{Bases, Candidate, Way};
use serde::Serialize;

use crate::coverage::CoveredTimeline;

/// One way to make the state, and what it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alternative {
    /// The baseline or snapshot, by its folder's name; none for the records alone.
    pub base: Option<String>,
    /// How the state is made of it.
    pub way: Way,
    /// Objects it reads: segments and parts of the base.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments among them.
    pub segments: usize,
    /// Bytes of the segments.
    pub segment_bytes: u64,
    /// What it costs: the bytes, and 64 KiB for each object.
    pub cost_bytes: u64,
}

/// A baseline or snapshot that cannot serve the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// Its folder's name.
    pub base: String,
    /// Why.
    pub reason: String,
}

/// The choice of what a replay reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What is used; none where there is nothing to choose: outside coverage, or in a table without any record.
    pub chosen: Option<Alternative>,
    /// What could be used instead, cheapest first.
    pub alternatives: Vec<Alternative>,
    /// What cannot.
    pub unusable: Vec<Unusable>,
}

impl Explanation {
    pub(super) fn new(covered: &CoveredTimeline, bases: &Bases, chosen: &Candidate) -> Self {
        let name = |at: usize| covered.objects.snapshots.get(at).map(|snapshot| snapshot.name.clone());
        let told = |candidate: &Candidate| Alternative {
            base: candidate.snapshot.and_then(name),
            way: candidate.way,
            objects: candidate.objects,
            bytes: candidate.bytes,
            segments: candidate.segments.len(),
            segment_bytes: candidate.segment_bytes,
            cost_bytes: candidate.cost(),
        };
        Self {
            chosen: Some(told(chosen)),
            alternatives: bases.candidates.iter().filter(|other| *other != chosen).map(told).collect(),
            unusable: bases
                .rejected
                .iter()
                .filter_map(|rejected| {
                    Some(Unusable { base: name(rejected.snapshot)?, reason: rejected.reason.clone() })
                })
                .collect(),
        }
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.base.as_deref().unwrap_or_default();
        match self.way {
            Way::Records => f.write_str("the records alone")?,
            Way::Forward => write!(f, "{base} and the records since")?,
            Way::Backward => write!(f, "{base}, walked back by old images")?,
            Way::Around => write!(f, "{base} and the records around it")?,
        }
        write!(
            f,
            ": {} objects, {} bytes ({} segments, {} bytes)",
            self.objects, self.bytes, self.segments, self.segment_bytes
        )
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chosen {
            Some(chosen) => writeln!(f, "reads     {chosen}")?,
            None => writeln!(f, "reads     everything that the timeline has")?,
        }
        for alternative in &self.alternatives {
            writeln!(f, "instead   {alternative}")?;
        }
        for unusable in &self.unusable {
            writeln!(f, "unusable  {}: {}", unusable.base, unusable.reason)?;
        }
        Ok(())
    }
}
