//! A merge on several threads: the keys are cut into ranges, threads take one range after the other, and what became of the ranges is
//! handed on in their order.
//!
//! Where the cuts are follows from what is read, never from the number of threads, so the result does not depend on it. A block that has
//! keys on both sides of a cut is loaded twice: ranges are long enough that this is little beside what lies in them. Ranges that are done
//! before their turn wait, and nobody begins one that is far from its turn, so what waits is bounded.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};

use super::{MergeError, lock};
use crate::error::{Error, Result};

/// The ranges that some keys cut a range into.
pub(super) fn ranges<'a>(keys: &Range<&'a [u8]>, cuts: &'a [Vec<u8>]) -> Vec<Range<&'a [u8]>> {
    let starts = std::iter::once(keys.start).chain(cuts.iter().map(Vec::as_slice));
    let ends = cuts.iter().map(Vec::as_slice).chain(std::iter::once(keys.end));
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

/// Whose turn it is.
struct Turns<P> {
    /// The next that nobody has begun.
    next: usize,
    /// The next to be handed on.
    turn: usize,
    done: BTreeMap<usize, P>,
    /// Whether somebody hands on.
    handing: bool,
    failed: Option<(usize, Error)>,
}

/// Work on a number of parts.
struct Work<P> {
    parts: usize,
    window: usize,
    turns: Mutex<Turns<P>>,
    changed: Condvar,
}

impl<P> Work<P> {
    /// The next part to do, when its turn is near; none when there is no more to do.
    fn begin(&self) -> Option<usize> {
        let wait = |turns: &mut Turns<P>| {
            turns.failed.is_none() && turns.next < self.parts && turns.next >= turns.turn + self.window
        };
        let mut turns = self.changed.wait_while(lock(&self.turns), wait).unwrap_or_else(PoisonError::into_inner);
        if turns.failed.is_some() || turns.next >= self.parts {
            return None;
        }
        turns.next += 1;
        Some(turns.next - 1)
    }

    /// Of several failures the one that comes first in the order of the keys counts.
    fn fail(&self, part: usize, error: Error) {
        let mut turns = lock(&self.turns);
        if turns.failed.as_ref().is_none_or(|(first, _)| part < *first) {
            turns.failed = Some((part, error));
        }
        self.changed.notify_all();
    }

    /// Hands on what is done, as far as it is the turn of it.
    fn hand_on(&self, take: &Mutex<impl FnMut(P) -> Result<()>>) {
        let mut turns = lock(&self.turns);
        if turns.handing {
            return;
        }
        turns.handing = true;
        loop {
            let turn = turns.turn;
            let Some(part) = turns.done.remove(&turn) else { break };
            drop(turns);
            let taken = (*lock(take))(part);
            if let Err(error) = taken {
                // Nothing is handed on any more.
                self.fail(0, error);
                return;
            }
            turns = lock(&self.turns);
            turns.turn += 1;
            self.changed.notify_all();
        }
        turns.handing = false;
    }
}

/// A thread that ends within a part must not be waited for.
struct Unfinished<'a, P>(&'a Work<P>, usize);

impl<P> Drop for Unfinished<'_, P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "a thread of the merge was lost".to_owned();
            self.0.fail(self.1, MergeError::Thread { reason }.into());
        }
    }
}

/// Does parts 0 to `parts` on so many threads, this one among them, and gives what `run` makes of each to `take` in order.
///
/// # Errors
/// That of the first part that fails; parts before it were handed on. Or that of `take`.
pub(super) fn in_order<P: Send>(
    parts: usize,
    threads: NonZeroUsize,
    run: impl Fn(usize) -> Result<P> + Sync,
    take: impl FnMut(P) -> Result<()> + Send,
) -> Result<()> {
    let threads = threads.get().min(parts);
    let turns = Turns { next: 0, turn: 0, done: BTreeMap::new(), handing: false, failed: None };
    let work = Work { parts, window: threads + 1, turns: Mutex::new(turns), changed: Condvar::new() };
    let take = Mutex::new(take);
    let worker = || {
        while let Some(part) = work.begin() {
            let unfinished = Unfinished(&work, part);
            match run(part) {
                Ok(done) => {
                    lock(&work.turns).done.insert(part, done);
                    work.hand_on(&take);
                }
                Err(error) => work.fail(part, error),
            }
            drop(unfinished);
        }
    };
    std::thread::scope(|scope| {
        for number in 1..threads {
            // Without the thread the others do it all. A thread that is lost has said so.
            let named = std::thread::Builder::new().name(format!("merge-{number}"));
            drop(named.spawn_scoped(scope, worker));
        }
        worker();
    });
    let turns = work.turns.into_inner().unwrap_or_else(PoisonError::into_inner);
    turns.failed.map_or(Ok(()), |(_, error)| Err(error))
}
