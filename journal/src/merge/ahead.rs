//! Blocks loaded ahead by other threads: checked and decompressed while the merge walks the blocks before them.
//!
//! What enters are the stored bytes of blocks, each with a cursor to load it into; what leaves, in the order in which the blocks are
//! wanted, are cursors that stand before their block's first record. A block that nobody has begun when it is wanted is loaded by the one
//! who wants it, and who has to wait loads others meanwhile. What a merge gives does not depend on how many threads there are.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::MergeError;
use crate::error::{Error, Result};
use crate::format::{BlockCursor, BlockEntry, Columns, Decompressor, FormatError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A block that is to be loaded, and the cursor that takes it.
pub(super) struct Block {
    pub(super) cursor: BlockCursor,
    pub(super) number: usize,
    pub(super) entry: BlockEntry,
    /// Its part of the first area, and of the second.
    pub(super) stored: [Bytes; 2],
    pub(super) columns: Columns,
}

impl Block {
    pub(super) fn load(self, decompressor: &mut Decompressor) -> Result<BlockCursor, FormatError> {
        let Self { mut cursor, number, entry, stored, columns } = self;
        let stored = stored.each_ref().map(Bytes::as_ref);
        cursor.load(decompressor, number, &entry, stored, columns).map(|()| cursor)
    }
}

/// How far a block is.
enum State {
    Waiting(Box<Block>),
    /// A thread loads it.
    Running,
    Done(Result<Box<BlockCursor>, FormatError>),
    /// The thread that loaded it was lost.
    Lost,
    /// Nobody wants it any more.
    Left,
}

struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

impl Slot {
    /// Loads the block unless somebody has begun it.
    fn run(&self, decompressor: &mut Decompressor) {
        let block = {
            let mut state = lock(&self.state);
            match std::mem::replace(&mut *state, State::Running) {
                State::Waiting(block) => block,
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let unfinished = Unfinished(self);
        let loaded = block.load(decompressor);
        self.leave_running(State::Done(loaded.map(Box::new)));
        drop(unfinished);
    }

    fn leave_running(&self, to: State) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Running) {
            *state = to;
        }
        self.changed.notify_all();
    }
}

/// A thread that ends within a block must not be waited for.
struct Unfinished<'a>(&'a Slot);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.leave_running(State::Lost);
    }
}

/// A block on its way. Dropped, it is not loaded.
pub(super) struct Pending(Arc<Slot>);

impl Drop for Pending {
    fn drop(&mut self) {
        *lock(&self.0.state) = State::Left;
    }
}

#[derive(Default)]
struct Queue {
    slots: VecDeque<Arc<Slot>>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

impl Shared {
    /// Loads blocks until there will be no more.
    fn work(&self) {
        // Without memory for a context the others do it all.
        let Ok(mut decompressor) = Decompressor::new() else { return };
        loop {
            let mut queue = lock(&self.queue);
            let slot = loop {
                if queue.closed {
                    return;
                }
                match queue.slots.pop_front() {
                    Some(slot) => break slot,
                    None => queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queue);
            slot.run(&mut decompressor);
        }
    }
}

/// Threads that load blocks. They end when it is dropped.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// As many threads as there are beside the one that merges; none when it is alone, or the system gives none.
    pub(super) fn beside(threads: NonZeroUsize) -> Option<Arc<Self>> {
        let shared = Arc::new(Shared::default());
        let thread = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("blocks-{number}")).spawn(move || shared.work()).ok()
        };
        let threads: Vec<_> = (1..threads.get()).map_while(thread).collect();
        (!threads.is_empty()).then(|| Arc::new(Self { shared, threads }))
    }

    fn submit(&self, slot: Arc<Slot>) {
        lock(&self.shared.queue).slots.push_back(slot);
        self.shared.more.notify_one();
    }

    /// Loads the block that has waited longest; false when none waits.
    fn help(&self, decompressor: &mut Decompressor) -> bool {
        let slot = lock(&self.shared.queue).slots.pop_front();
        slot.inspect(|slot| slot.run(decompressor)).is_some()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            // What it was lost by is told by the block that it had.
            drop(thread.join());
        }
    }
}

/// Loads blocks for the runs of one merge, alone or with others.
pub(super) struct Loader {
    decompressor: Decompressor,
    workers: Option<Arc<Workers>>,
    /// Blocks of each run that are loaded ahead.
    ahead: usize,
}

impl Loader {
    /// For so many runs. A few share what is loaded ahead; of many each has one block, as [`super::run`] counts its memory.
    pub(super) fn new(workers: Option<&Arc<Workers>>, runs: usize) -> Result<Self> {
        let ahead = workers.map_or(0, |workers| (2 * (workers.threads.len() + 1)).div_ceil(runs.max(1)));
        Ok(Self { decompressor: Decompressor::new()?, workers: workers.cloned(), ahead })
    }

    /// How many blocks of a run are to be under way; none when the merge is alone.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// The context of the thread that merges.
    pub(super) fn decompressor(&mut self) -> &mut Decompressor {
        &mut self.decompressor
    }

    /// Lets a block be loaded, at the latest when it is taken.
    pub(super) fn submit(&self, block: Block) -> Pending {
        let slot = Arc::new(Slot { state: Mutex::new(State::Waiting(Box::new(block))), changed: Condvar::new() });
        if let Some(workers) = &self.workers {
            workers.submit(Arc::clone(&slot));
        }
        Pending(slot)
    }

    /// The loaded block.
    pub(super) fn take(&mut self, pending: &Pending) -> Result<BlockCursor> {
        let slot = &pending.0;
        loop {
            slot.run(&mut self.decompressor);
            {
                let mut state = lock(&slot.state);
                match std::mem::replace(&mut *state, State::Left) {
                    State::Done(loaded) => return loaded.map(|cursor| *cursor).map_err(Error::from),
                    State::Lost | State::Left => {
                        let reason = "a thread that loaded a block was lost".to_owned();
                        return Err(MergeError::Thread { reason }.into());
                    }
                    other => *state = other,
                }
            }
            if self.workers.as_ref().is_some_and(|workers| workers.help(&mut self.decompressor)) {
                continue;
            }
            let state = lock(&slot.state);
            drop(slot.changed.wait_while(state, |state| matches!(state, State::Running)));
        }
    }
}
