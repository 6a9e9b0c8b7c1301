//! The heap of the k-way merge: which run stands at the lowest (key, sequence number).

use std::cmp::Ordering;
use std::sync::Arc;

use super::ahead::{Loader, Workers};
use super::run::OpenRun;
use crate::error::Result;

/// Runs in heap order. The first is always the one to visit next.
pub(super) struct Heap {
    runs: Vec<Entry>,
    loader: Loader,
    /// Records that were in more than one run.
    pub(super) duplicates: u64,
    /// Duplicates that did not say the same.
    pub(super) contradictions: u64,
    /// Records and items read.
    pub(super) records: u64,
    /// Bytes that runs which have ended had read.
    pub(super) bytes_read: u64,
    compare_content: bool,
    /// A key whose prefix is lower stands in the first run alone.
    bound: Option<u64>,
    scratch: [Vec<u8>; 2],
}

struct Entry {
    /// The key's first 8 bytes, so that most comparisons touch no key.
    prefix: u64,
    run: OpenRun,
}

impl Entry {
    fn set_prefix(&mut self) {
        let key = self.run.cursor.key();
        let bytes = key.first_chunk::<8>().copied().unwrap_or_else(|| {
            let mut bytes = [0u8; 8];
            for (to, from) in bytes.iter_mut().zip(key) {
                *to = *from;
            }
            bytes
        });
        self.prefix = u64::from_be_bytes(bytes);
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| {
            let (a, b) = (&self.run, &other.run);
            a.cursor.key().cmp(b.cursor.key()).then_with(|| a.order().cmp(&b.order()))
        })
    }
}

impl Heap {
    /// Brings every run to its first record. `compare_content` says whether duplicates are compared; `workers` load blocks ahead.
    pub(super) fn new(mut runs: Vec<OpenRun>, compare_content: bool, workers: Option<&Arc<Workers>>) -> Result<Self> {
        let mut heap = Self {
            runs: Vec::with_capacity(runs.len()),
            loader: Loader::new(workers, runs.len())?,
            duplicates: 0,
            contradictions: 0,
            records: 0,
            bytes_read: 0,
            compare_content,
            bound: None,
            scratch: [Vec::new(), Vec::new()],
        };
        for run in &mut runs {
            run.load_ahead(&heap.loader);
        }
        for mut run in runs {
            if run.advance(&mut heap.loader)? {
                let mut entry = Entry { prefix: 0, run };
                entry.set_prefix();
                heap.runs.push(entry);
                heap.records += 1;
            } else {
                heap.bytes_read = heap.bytes_read.saturating_add(run.bytes_read);
            }
        }
        for at in (0..heap.runs.len() / 2).rev() {
            heap.sift_down(at);
        }
        heap.drop_duplicates()?;
        heap.find_bound();
        Ok(heap)
    }

    /// The run that stands at the lowest record; none at the end.
    #[inline]
    pub(super) fn top(&self) -> Option<&OpenRun> {
        self.runs.first().map(|entry| &entry.run)
    }

    /// Leaves the lowest record.
    #[inline]
    pub(super) fn next(&mut self) -> Result<()> {
        let Some(entry) = self.runs.first_mut() else { return Ok(()) };
        if entry.run.advance(&mut self.loader)? {
            self.records += 1;
            entry.set_prefix();
            if self.bound.is_none_or(|bound| entry.prefix < bound) {
                return Ok(());
            }
            self.sift_down(0);
        } else {
            self.leave(0);
        }
        self.drop_duplicates()?;
        self.find_bound();
        Ok(())
    }

    /// The lowest prefix of all runs but the first.
    fn find_bound(&mut self) {
        self.bound = self.runs.iter().skip(1).take(2).map(|entry| entry.prefix).min();
    }

    /// Goes to the last record of the lowest record's key, and gives the run that stands there, when it is plain that no other
    /// record of the key is needed: no other run has the key, all of the run's records have happened at the cut, and the
    /// key's last record lies in the same block. None changes nothing but where in the key's records the run stands: those
    /// that were passed over have no effect.
    #[inline]
    pub(super) fn skip_superseded(&mut self) -> Result<Option<&OpenRun>> {
        let Some(entry) = self.runs.first_mut() else { return Ok(None) };
        if !entry.run.is_simple() || self.bound.is_some_and(|bound| entry.prefix >= bound) {
            return Ok(None);
        }
        let cursor = &mut entry.run.cursor;
        loop {
            match cursor.next_has_same_key() {
                Some(true) => {
                    cursor.advance()?;
                    self.records += 1;
                }
                Some(false) => return Ok(self.top()),
                None => return Ok(None),
            }
        }
    }

    fn advance_at(&mut self, at: usize) -> Result<()> {
        let Some(entry) = self.runs.get_mut(at) else { return Ok(()) };
        if entry.run.advance(&mut self.loader)? {
            self.records += 1;
            entry.set_prefix();
            self.sift_down(at);
        } else {
            self.leave(at);
        }
        Ok(())
    }

    /// Takes out a run that has ended.
    fn leave(&mut self, at: usize) {
        let ended = self.runs.swap_remove(at);
        self.bytes_read = self.bytes_read.saturating_add(ended.run.bytes_read);
        // What came to this place was a leaf below it or beside it: it can only have to go down, or up.
        self.sift_down(at);
        self.sift_up(at);
    }

    /// Copies of the lowest record stand right below it: they are left, so that every record is visited once.
    #[inline]
    fn drop_duplicates(&mut self) -> Result<()> {
        if self.runs.len() < 2 {
            return Ok(());
        }
        loop {
            let copy = [1usize, 2].into_iter().find(|at| match (self.runs.first(), self.runs.get(*at)) {
                (Some(top), Some(other)) => top.compare(other) == Ordering::Equal,
                _ => false,
            });
            let Some(at) = copy else { return Ok(()) };
            self.duplicates += 1;
            if self.compare_content && !self.same_content(at) {
                self.contradictions += 1;
            }
            self.advance_at(at)?;
        }
    }

    fn same_content(&mut self, at: usize) -> bool {
        let (Some(top), Some(other)) = (self.runs.first(), self.runs.get(at)) else { return true };
        let (a, b) = (top.run.cursor.record(), other.run.cursor.record());
        let [scratch_a, scratch_b] = &mut self.scratch;
        a.kind == b.kind
            && a.second == b.second
            && a.new == b.new
            && a.user == b.user
            && a.old.bytes(scratch_a) == b.old.bytes(scratch_b)
    }

    #[inline]
    fn sift_down(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let mut least = at;
            for child in [left, left + 1] {
                if let (Some(a), Some(b)) = (self.runs.get(child), self.runs.get(least))
                    && a.compare(b) == Ordering::Less
                {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.runs.swap(at, least);
            at = least;
        }
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            match (self.runs.get(at), self.runs.get(parent)) {
                (Some(a), Some(b)) if a.compare(b) == Ordering::Less => {}
                _ => return,
            }
            self.runs.swap(at, parent);
            at = parent;
        }
    }

    /// Bytes read from the store, by runs that have ended and by those that have not.
    pub(super) fn total_bytes_read(&self) -> u64 {
        self.runs.iter().fold(self.bytes_read, |sum, entry| sum.saturating_add(entry.run.bytes_read))
    }
}
