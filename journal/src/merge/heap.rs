//! The heap of the k-way merge: which source stands at the lowest (key, sequence number).

use std::cmp::Ordering;
use std::ops::Range;

use super::run::OpenRun;
use super::source::Source;
use crate::error::Result;
use crate::format::Decompressor;

/// Sources in heap order. The first is always the one to visit next.
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// Runs that are opened when the merge gets to them, the next one last.
    later: Vec<Later>,
    decompressor: Decompressor,
    /// Bytes that all keys begin with.
    shared: usize,
    /// Where the merge ends.
    end: Option<(u64, Vec<u8>)>,
    /// Records that were in more than one source.
    pub(super) duplicates: u64,
    /// Duplicates that did not say the same.
    pub(super) contradictions: u64,
    compare_content: bool,
    /// A key whose prefix is lower stands in the first source alone.
    bound: Option<u64>,
    scratch: [Vec<u8>; 2],
}

/// Eight bytes of a key behind its first `shared` ones, which all keys have in common: the order of most keys, as one number.
#[inline]
pub(super) fn prefix_of(key: &[u8], shared: usize) -> u64 {
    let key = key.get(shared..).unwrap_or_default();
    let bytes = key.first_chunk::<8>().copied().unwrap_or_else(|| {
        let mut bytes = [0u8; 8];
        for (to, from) in bytes.iter_mut().zip(key) {
            *to = *from;
        }
        bytes
    });
    u64::from_be_bytes(bytes)
}

struct Entry {
    /// So that most comparisons touch no key.
    prefix: u64,
    source: Source,
}

impl Entry {
    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| {
            let (a, b) = (&self.source, &other.source);
            a.key().cmp(b.key()).then_with(|| a.order().cmp(&b.order()))
        })
    }
}

/// A run that has no key below `key`: until the merge is there, nothing of it has to be in memory.
struct Later {
    prefix: u64,
    key: Vec<u8>,
    run: OpenRun,
}

/// What a heap gives of its sources.
#[derive(Clone, Copy, Default)]
pub(super) struct Bounds<'a> {
    /// A half-open range of keys; everything when none.
    pub(super) keys: Option<&'a Range<&'a [u8]>>,
    /// Bytes that all keys of the sources, and the end of the range, begin with.
    pub(super) shared: usize,
    /// Whether duplicates are compared.
    pub(super) compare_content: bool,
}

impl Heap {
    /// Brings every source to its first wanted record, but for runs that begin behind the first wanted key.
    pub(super) fn new(runs: Vec<OpenRun>, mut sources: Vec<Source>, bounds: Bounds<'_>) -> Result<Self> {
        let Bounds { keys, shared, compare_content } = bounds;
        let mut later = Vec::new();
        for run in runs {
            let key = run.first_key();
            if keys.is_some_and(|keys| key <= keys.start) {
                // Of several all are asked for before the first is waited for.
                run.begin();
                sources.push(Source::Run(Box::new(run)));
            } else {
                let (prefix, key) = (prefix_of(key, shared), key.to_vec());
                later.push(Later { prefix, key, run });
            }
        }
        later.sort_unstable_by(|a, b| b.key.cmp(&a.key));
        let mut heap = Self {
            entries: Vec::with_capacity(sources.len() + later.len()),
            later,
            decompressor: Decompressor::new()?,
            shared,
            end: keys.map(|keys| (prefix_of(keys.end, shared), keys.end.to_vec())),
            duplicates: 0,
            contradictions: 0,
            compare_content,
            bound: None,
            scratch: [Vec::new(), Vec::new()],
        };
        for source in sources {
            let mut entry = Entry { prefix: 0, source };
            let mut step = |entry: &mut Entry| step(entry, &mut heap.decompressor, shared, heap.end.as_ref());
            let mut more = step(&mut entry)?;
            while more && keys.is_some_and(|keys| entry.source.key() < keys.start) {
                more = step(&mut entry)?;
            }
            if more {
                heap.entries.push(entry);
            }
        }
        for at in (0..heap.entries.len() / 2).rev() {
            heap.sift_down(at);
        }
        heap.begin_next();
        heap.settle()?;
        Ok(heap)
    }

    /// The source that stands at the lowest record; none at the end.
    #[inline]
    pub(super) fn top(&self) -> Option<&Source> {
        self.entries.first().map(|entry| &entry.source)
    }

    /// Leaves the lowest record.
    #[inline]
    pub(super) fn next(&mut self) -> Result<()> {
        let Some(entry) = self.entries.first_mut() else { return Ok(()) };
        if step(entry, &mut self.decompressor, self.shared, self.end.as_ref())? {
            if self.bound.is_none_or(|bound| entry.prefix < bound) {
                return Ok(());
            }
            self.sift_down(0);
        } else {
            self.leave(0);
        }
        self.settle()
    }

    /// After the first source has changed.
    fn settle(&mut self) -> Result<()> {
        self.open_due()?;
        self.drop_duplicates()?;
        // The lowest prefix of all sources but the first.
        let beside = self.entries.iter().skip(1).take(2).map(|entry| entry.prefix);
        self.bound = beside.chain(self.later.last().map(|later| later.prefix)).min();
        Ok(())
    }

    /// Opens the runs that may have the lowest key, or one below it.
    #[inline]
    fn open_due(&mut self) -> Result<()> {
        let is_due = |later: &Later, top: &Entry| {
            later.prefix.cmp(&top.prefix).then_with(|| later.key.as_slice().cmp(top.source.key())) != Ordering::Greater
        };
        while let Some(later) = self.later.pop_if(|later| self.entries.first().is_none_or(|top| is_due(later, top))) {
            self.begin_next();
            let mut entry = Entry { prefix: 0, source: Source::Run(Box::new(later.run)) };
            if step(&mut entry, &mut self.decompressor, self.shared, self.end.as_ref())? {
                self.entries.push(entry);
                self.sift_up(self.entries.len() - 1);
            }
        }
        Ok(())
    }

    /// Asks for the first blocks of the run that is opened next.
    fn begin_next(&self) {
        if let Some(next) = self.later.last() {
            next.run.begin();
        }
    }

    /// Goes to the last record of the lowest record's key, and gives the source that stands there, when it is plain that no other
    /// record of the key is needed: no other source has the key, all of the source's records have happened at the cut, and the
    /// key's last record can be told. None changes nothing but where in the key's records the source stands: those
    /// that were passed over have no effect.
    #[inline]
    pub(super) fn skip_superseded(&mut self) -> Result<Option<&Source>> {
        let Some(entry) = self.entries.first_mut() else { return Ok(None) };
        if self.bound.is_some_and(|bound| entry.prefix >= bound) {
            return Ok(None);
        }
        Ok(if entry.source.skip_superseded()? { self.top() } else { None })
    }

    fn advance_at(&mut self, at: usize) -> Result<()> {
        let Some(entry) = self.entries.get_mut(at) else { return Ok(()) };
        if step(entry, &mut self.decompressor, self.shared, self.end.as_ref())? {
            self.sift_down(at);
        } else {
            self.leave(at);
        }
        Ok(())
    }

    /// Takes out a source that has ended.
    fn leave(&mut self, at: usize) {
        drop(self.entries.swap_remove(at));
        // What came to this place was a leaf below it or beside it: it can only have to go down, or up.
        self.sift_down(at);
        self.sift_up(at);
    }

    /// Copies of the lowest record stand right below it: they are left, so that every record is visited once.
    #[inline]
    fn drop_duplicates(&mut self) -> Result<()> {
        if self.entries.len() < 2 {
            return Ok(());
        }
        loop {
            let copy = [1usize, 2].into_iter().find(|at| match (self.entries.first(), self.entries.get(*at)) {
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
        let (Some(top), Some(other)) = (self.entries.first(), self.entries.get(at)) else { return true };
        let (Some(a), Some(b)) = (top.source.record(), other.source.record()) else { return true };
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
                if let (Some(a), Some(b)) = (self.entries.get(child), self.entries.get(least))
                    && a.compare(b) == Ordering::Less
                {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.entries.swap(at, least);
            at = least;
        }
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            match (self.entries.get(at), self.entries.get(parent)) {
                (Some(a), Some(b)) if a.compare(b) == Ordering::Less => {}
                _ => return,
            }
            self.entries.swap(at, parent);
            at = parent;
        }
    }
}

/// Goes to a source's next record; false where the merge has no more of it.
#[inline]
fn step(
    entry: &mut Entry,
    decompressor: &mut Decompressor,
    shared: usize,
    end: Option<&(u64, Vec<u8>)>,
) -> Result<bool> {
    if !entry.source.advance(decompressor)? {
        return Ok(false);
    }
    let key = entry.source.key();
    entry.prefix = prefix_of(key, shared);
    Ok(end.is_none_or(|(prefix, end)| entry.prefix < *prefix || key < end.as_slice()))
}
