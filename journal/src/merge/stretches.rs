//! The index of a long run, read as the merge gets to it: a stretch is some neighbouring pages of it with the blocks that they describe.
//!
//! Each stretch is read once, though several threads read parts of it, the next one ahead, and is given up when all have left it. So what is
//! held of an index does not grow with the run.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::run::{Blocks, RunPlan};
use super::spans::Spans;
use super::{MergeError, lock};
use crate::error::Result;
use crate::store::{ReadStore, StoreError};

/// The blocks of a stretch, and what fetches them; no spans where the object was fetched whole.
pub(super) struct Stretch {
    pub(super) blocks: Arc<Blocks>,
    pub(super) spans: Option<Spans>,
}

/// Pages of the index under way, or what they say.
enum Pages {
    Asked(JoinHandle<std::result::Result<Bytes, StoreError>>),
    Here(Arc<Stretch>),
    /// Who waited for it was told why.
    Failed,
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Self::Asked(task) = self {
            task.abort();
        }
    }
}

struct Slot {
    /// Readers that have not left it.
    readers: usize,
    pages: Option<Arc<Mutex<Pages>>>,
}

/// What reads one run, as a whole or in parts.
pub(super) struct Stretches {
    plan: Arc<RunPlan>,
    store: Arc<dyn ReadStore>,
    handle: Handle,
    /// The ranges of keys in which it is read, in order; it is read as a whole when there are none.
    parts: Arc<[Range<Vec<u8>>]>,
    threads: usize,
    slots: Mutex<Vec<Slot>>,
    bytes_read: Arc<AtomicU64>,
}

impl Stretches {
    pub(super) fn new(
        plan: Arc<RunPlan>,
        (store, handle): (Arc<dyn ReadStore>, Handle),
        parts: Arc<[Range<Vec<u8>>]>,
        threads: usize,
    ) -> Self {
        let mut readers = vec![usize::from(parts.is_empty()); plan.stretches()];
        for part in parts.iter() {
            for at in plan.stretches_of(&(part.start.as_slice()..part.end.as_slice())) {
                if let Some(readers) = readers.get_mut(at) {
                    *readers += 1;
                }
            }
        }
        let slots = readers.into_iter().map(|readers| Slot { readers, pages: None }).collect();
        let bytes_read = Arc::new(AtomicU64::new(0));
        Self { plan, store, handle, parts, threads, slots: Mutex::new(slots), bytes_read }
    }

    /// Bytes that were read from the store so far, those for opening the run not among them.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The blocks of a stretch with what fetches them.
    fn stretch(&self, at: usize, blocks: Arc<Blocks>) -> Arc<Stretch> {
        let spans = self.plan.is_read_by_range().then(|| {
            let mut readers = vec![usize::from(self.parts.is_empty()); blocks.spans.len()];
            let keys = self.plan.keys_of(at);
            // Those that end before the stretch begins, and those that begin beyond its end, have none of it.
            let first = self.parts.partition_point(|part| part.end.as_slice() < keys.start);
            let parts = self.parts.iter().skip(first);
            for part in parts.take_while(|part| keys.end.is_none_or(|end| part.start.as_slice() <= end)) {
                for span in blocks.spans_of(&blocks.places_of(&(part.start.as_slice()..part.end.as_slice()))) {
                    if let Some(readers) = readers.get_mut(span) {
                        *readers += 1;
                    }
                }
            }
            let spans = blocks.spans.iter().map(|(_, parts)| parts.clone()).zip(readers);
            let object = self.plan.object().to_owned();
            let from = (self.store.clone(), self.handle.clone(), object);
            Spans::new(from, spans, self.plan.ahead(self.threads), self.bytes_read.clone())
        });
        Arc::new(Stretch { blocks, spans })
    }

    fn ask(&self, slots: &mut [Slot], at: usize) -> Option<Arc<Mutex<Pages>>> {
        let slot = slots.get_mut(at).filter(|slot| slot.readers > 0)?;
        if slot.pages.is_none() {
            let pages = match self.plan.pages_of(at) {
                None => Pages::Here(self.stretch(at, self.plan.first.clone())),
                Some(place) => {
                    let (store, object) = (self.store.clone(), self.plan.object().to_owned());
                    Pages::Asked(self.handle.spawn(async move { store.get_range(&object, place).await }))
                }
            };
            slot.pages = Some(Arc::new(Mutex::new(pages)));
        }
        slot.pages.clone()
    }

    /// A stretch, waited for; the pages of the next one are asked for.
    pub(super) fn get(&self, at: usize) -> Result<Arc<Stretch>> {
        let asked = {
            let mut slots = lock(&self.slots);
            let asked = self.ask(&mut slots, at);
            self.ask(&mut slots, at + 1);
            asked
        };
        let lost = || MergeError::Thread { reason: "a stretch of a run was left before it was read".to_owned() };
        let asked = asked.ok_or_else(lost)?;
        let mut pages = lock(&asked);
        self.wait(at, &mut pages)
    }

    fn wait(&self, at: usize, pages: &mut Pages) -> Result<Arc<Stretch>> {
        let fetched = match pages {
            Pages::Here(stretch) => return Ok(stretch.clone()),
            Pages::Asked(task) => {
                self.handle.block_on(task).map_err(|error| MergeError::Thread { reason: error.to_string() })?
            }
            Pages::Failed => {
                let place = self.plan.pages_of(at).unwrap_or_default();
                self.handle.block_on(self.store.get_range(self.plan.object(), place))
            }
        };
        *pages = Pages::Failed;
        let stored = fetched?;
        self.bytes_read.fetch_add(u64::try_from(stored.len()).unwrap_or(0), Ordering::Relaxed);
        let stretch = self.stretch(at, Arc::new(self.plan.parse(at, &stored)?));
        *pages = Pages::Here(stretch.clone());
        Ok(stretch)
    }

    /// Asks for a stretch that will be read soon: for its pages, and for its first blocks if the pages are here.
    pub(super) fn begin(&self, at: usize) {
        self.ask(&mut lock(&self.slots), at);
        self.ask_ahead(at);
    }

    /// Asks for the first blocks of a stretch that will be read soon, if its pages are here.
    pub(super) fn ask_ahead(&self, at: usize) {
        let Some(pages) = lock(&self.slots).get(at).and_then(|slot| slot.pages.clone()) else { return };
        // Who holds it asks for the blocks as well.
        let Ok(mut pages) = pages.try_lock() else { return };
        if matches!(&*pages, Pages::Here(_)) || matches!(&*pages, Pages::Asked(task) if task.is_finished()) {
            // What is wrong with it is told to those who get there.
            if let Ok(stretch) = self.wait(at, &mut pages)
                && let Some(spans) = &stretch.spans
            {
                spans.begin();
            }
        }
    }

    /// Says that a reader wants none of these stretches any more.
    pub(super) fn leave(&self, left: Range<usize>) {
        let mut given_up = Vec::new();
        let mut slots = lock(&self.slots);
        for slot in slots.get_mut(left).unwrap_or_default() {
            slot.readers = slot.readers.saturating_sub(1);
            if slot.readers == 0 {
                given_up.extend(slot.pages.take());
            }
        }
        drop(slots);
    }
}
