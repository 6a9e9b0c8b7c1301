//! What a query read, for `--explain`, for empty answers, and for what could not be read.

use std::sync::{Arc, Mutex, PoisonError};

use crate::merge::{Unreadable, UnreadableList};

/// What one query read of one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanReport {
    /// `changes` or `state_at`.
    pub source: &'static str,
    /// Table and stream label.
    pub timeline: String,
    /// Segments of the timeline.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Segments that were opened.
    pub opened: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Rows given to the engine.
    pub rows: u64,
    /// What was asked of it, for people.
    pub asked: String,
}

/// What a statement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SqlReport {
    /// Rows of the answer.
    pub rows: u64,
    /// What was read.
    pub scans: Vec<ScanReport>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// What could not be read: its changes are missing in the answer.
    pub unreadable: Vec<Unreadable>,
}

/// Where the parts of a query say what they did.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    inner: Arc<Mutex<(Vec<ScanReport>, Vec<String>)>>,
    pub(super) unreadable: UnreadableList,
}

impl Log {
    /// Adds what was read; partitions of one scan become one report.
    pub(super) fn scan(&self, report: ScanReport) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &&mut ScanReport| {
            (one.source, &one.timeline, &one.asked) == (report.source, &report.timeline, &report.asked)
        };
        match inner.0.iter_mut().find(same) {
            Some(one) => {
                one.opened = one.opened.max(report.opened);
                one.bytes_read += report.bytes_read;
                one.rows += report.rows;
            }
            None => inner.0.push(report),
        }
    }

    pub(super) fn note(&self, text: String) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.1.contains(&text) {
            inner.1.push(text);
        }
    }

    pub(super) fn report(&self, rows: u64) -> SqlReport {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let unreadable = self.unreadable.to_vec();
        SqlReport { rows, scans: inner.0.clone(), notes: inner.1.clone(), unreadable }
    }
}
