//! The state at a cut, item by item, decoded: what `export`, `show` and `restore` stand on.
//!
//! What enters is a plan and a selection; what leaves are items in key order with the digest of those given out. Knows
//! nothing of formats or targets.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::error::{Classify, Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::{
    Attributes, Image, KeyAttributes, Second, SequenceNumber, SpliceError, Splicer, WalkedValue, walk_item,
};
use journal::store::ReadStore;
use thiserror::Error;

use crate::digest::{ItemHash, StateDigest};
use crate::filter::Filter;
use crate::key_schema::{KeySchema, KeySelection};
use crate::merge::{self, ItemRef, MergeOptions, MergeReport};
use crate::output::OutputError;
use crate::plan::ReplayPlan;

/// Items of a part, where items are counted to know where to end.
const PART_ITEMS: u32 = 1024;

/// How long a visit has to end by itself.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// Why a visit ended early.
#[derive(Debug, Error)]
pub enum StateError {
    /// The user stopped it.
    #[error("stopped while reading items")]
    Interrupted,
    /// The visitor has all it wanted. Never shown.
    #[error("the visitor has all it wanted")]
    Enough,
    /// An item whose bytes cannot be read, in objects whose checksums are right.
    #[error("item {key} cannot be read: {reason}")]
    Item {
        /// The key's bytes in hexadecimal digits.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The visitor was lost with its thread.
    #[error("the visit of the items ended without a result")]
    Lost,
}

impl Classify for StateError {
    fn kind(&self) -> Kind {
        match self {
            Self::Interrupted => Kind::Interrupted,
            Self::Item { .. } => Kind::Corrupt,
            Self::Enough | Self::Lost => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Item { .. } => Some("run `replay verify` to see which objects are unsound".to_owned()),
            Self::Interrupted => Some("nothing was written; run the same command again".to_owned()),
            Self::Enough | Self::Lost => None,
        }
    }
}

/// Which items are wanted.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By key.
    pub keys: KeySelection,
    /// By condition.
    pub filter: Option<Filter>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl Selection {
    /// Whether the range of keys says which items are wanted, so that none need be looked into.
    fn is_by_range_alone(&self) -> bool {
        self.keys.begins_with.is_none() && self.filter.is_none()
    }

    /// The item, when it is wanted.
    fn select<'a>(&self, item: ItemRef<'a>, schema: &'a KeySchema) -> Result<Option<EncodedItem<'a>>> {
        let ItemRef { key, image, sequence, second } = item;
        let mut item = EncodedItem { key, image, sequence, second, schema, decoded: None };
        if !self.is_by_range_alone() {
            let (attributes, hash) = item.decode()?;
            if !self.contains(&attributes) {
                return Ok(None);
            }
            item.decoded = Some((attributes, hash));
        }
        Ok(Some(item))
    }

    /// Whether an item of the range is wanted. An item has its key's attributes under their names.
    fn contains(&self, item: &Attributes) -> bool {
        self.keys.contains(item) && self.filter.as_ref().is_none_or(|filter| filter.accepts(item))
    }
}

/// One live item, decoded.
#[derive(Debug)]
pub struct Item<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// All attributes, the key's among them.
    pub attributes: Attributes,
    /// Its part of the state digest.
    pub hash: ItemHash,
    /// The record that made it so; none when it comes from a baseline.
    pub sequence: Option<SequenceNumber>,
    /// That record's second.
    pub second: Option<Second>,
}

/// One live item as its bytes.
#[derive(Debug)]
pub struct EncodedItem<'a> {
    /// The encoded key.
    pub key: &'a [u8],
    /// The canonical image: its other attributes.
    pub image: &'a [u8],
    /// The record that made it so; none when it comes from a baseline.
    pub sequence: Option<SequenceNumber>,
    /// That record's second.
    pub second: Option<Second>,
    schema: &'a KeySchema,
    /// What it says, where the selection had to know.
    decoded: Option<(Attributes, ItemHash)>,
}

/// What is known of an item once it is spliced.
#[derive(Debug)]
pub struct SplicedItem<'a> {
    /// Its part of the state digest.
    pub hash: ItemHash,
    /// Its key's bytes, numbers plain: the same however a service spells them.
    pub plain_key: Cow<'a, [u8]>,
    /// About how many bytes DynamoDB counts for it.
    pub bytes: usize,
    /// Whether its JSON is known to be printable ASCII.
    pub printable: bool,
}

/// Why an item's attributes are read no further.
#[derive(Debug)]
pub enum ReadError {
    /// Its bytes cannot be read.
    Bytes(SpliceError),
    /// The reader cannot go on.
    Reader(journal::error::Error),
}

impl From<SpliceError> for ReadError {
    fn from(error: SpliceError) -> Self {
        Self::Bytes(error)
    }
}

impl From<OutputError> for ReadError {
    fn from(error: OutputError) -> Self {
        Self::Reader(error.into())
    }
}

impl<'a> EncodedItem<'a> {
    /// An item of this table by its bytes alone.
    pub(crate) fn of(key: &'a [u8], image: &'a [u8], schema: &'a KeySchema) -> Self {
        Self { key, image, sequence: None, second: None, schema, decoded: None }
    }

    /// Gives its attributes to `read`, names in the order of their bytes. Gives whether every number has its plain form.
    ///
    /// # Errors
    /// When its bytes are not a key of the table, or no image; and those of `read`.
    pub fn attributes(
        &self,
        read: impl FnMut(&str, &mut WalkedValue<'_, '_>) -> Result<(), ReadError>,
    ) -> Result<bool> {
        walk_item(self.schema.attributes(), self.key, self.image, read).map_err(|error| match error {
            ReadError::Bytes(error) => self.unreadable(&error).into(),
            ReadError::Reader(error) => error,
        })
    }

    /// Its part of the state digest, when it is known whether every number has its plain form.
    ///
    /// # Errors
    /// As [`EncodedItem::splice`].
    pub fn hash(&self, plain_numbers: bool) -> Result<ItemHash> {
        match &self.decoded {
            Some((_, hash)) => Ok(*hash),
            None if plain_numbers => Ok(ItemHash::of_bytes(self.key, self.image)),
            None => Ok(self.decode()?.1),
        }
    }

    /// Appends the item to `out` as one JSON object in the splicer's spelling, and tells what is known of it then.
    ///
    /// # Errors
    /// When its bytes are not a key of the table, or no image.
    pub fn splice(&self, splicer: &mut Splicer, out: &mut Vec<u8>) -> Result<SplicedItem<'a>> {
        let seen = splicer.splice(self.key, self.image, out).map_err(|error| self.unreadable(&error))?;
        let (hash, plain_key) = match (&self.decoded, seen.plain_numbers) {
            (None, true) => (ItemHash::of_bytes(self.key, self.image), Cow::Borrowed(self.key)),
            (Some((_, hash)), true) => (*hash, Cow::Borrowed(self.key)),
            (Some((attributes, hash)), false) => (*hash, Cow::Owned(self.schema.plain_key(attributes)?)),
            (None, false) => {
                let (attributes, hash) = self.decode()?;
                (hash, Cow::Owned(self.schema.plain_key(&attributes)?))
            }
        };
        Ok(SplicedItem { hash, plain_key, bytes: seen.bytes, printable: seen.printable })
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> StateError {
        StateError::Item { key: to_hex(self.key), reason: error.to_string() }
    }

    /// All attributes, and the item's part of the state digest.
    fn decode(&self) -> Result<(Attributes, ItemHash)> {
        let key_values = self.schema.decode(self.key).map_err(|error| self.unreadable(&error))?;
        let mut attributes = Image::decode_slice(self.image).map_err(|error| self.unreadable(&error))?;
        let names = self.schema.attributes();
        let hash = ItemHash::of(names, (self.key, &key_values), (self.image, &attributes))?;
        attributes.extend(key_values);
        Ok((attributes, hash))
    }

    /// Names and types of the table's key.
    #[must_use]
    pub fn key_attributes(&self) -> &KeyAttributes {
        self.schema.attributes()
    }

    /// Decodes it.
    ///
    /// # Errors
    /// As [`EncodedItem::splice`].
    pub fn into_item(mut self) -> Result<Item<'a>> {
        let (attributes, hash) = match self.decoded.take() {
            Some(decoded) => decoded,
            None => self.decode()?,
        };
        Ok(Item { key: self.key, attributes, hash, sequence: self.sequence, second: self.second })
    }
}

/// Whether a visitor wants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// It has all it wanted.
    Enough,
}

/// What a visit did.
#[derive(Debug, Clone, Default)]
pub struct Visited {
    /// What the merge did; all zero when it was stopped early.
    pub merge: MergeReport,
    /// Digest and count of the items given out.
    pub digest: StateDigest,
    /// Whether it ended before the last item.
    pub cut_short: bool,
}

/// Gives the selected items of the state to `visit` in key order, with `state` to keep things in; gives `state` back.
///
/// # Errors
/// When an object cannot be read or is not what was written, `visit` fails, or `interrupt` asks to stop.
pub async fn visit_items<S, F>(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    selection: Selection,
    options: MergeOptions,
    interrupt: &Interrupt,
    state: S,
    mut visit: F,
) -> Result<(S, Visited)>
where
    S: Send + 'static,
    F: FnMut(&mut S, Item<'_>) -> Result<Flow> + Send + 'static,
{
    let decode = move |state: &mut S, item: EncodedItem<'_>| {
        let item = item.into_item()?;
        let hash = item.hash;
        Ok((visit(state, item)?, hash))
    };
    visit_encoded(store, plan, selection, options, interrupt, state, decode).await
}

/// As [`visit_items`], without decoding what the selection need not know: `visit` gives each item's part of the state digest, as
/// [`EncodedItem::splice`] finds it on its way.
///
/// # Errors
/// As [`visit_items`].
pub async fn visit_encoded<S, F>(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    selection: Selection,
    options: MergeOptions,
    interrupt: &Interrupt,
    state: S,
    visit: F,
) -> Result<(S, Visited)>
where
    S: Send + 'static,
    F: FnMut(&mut S, EncodedItem<'_>) -> Result<(Flow, ItemHash)> + Send + 'static,
{
    // Without a key schema the journal has no record of the table, so there is nothing to merge.
    let Some(key) = plan.key.clone() else { return Ok((state, Visited::default())) };
    if selection.limit == Some(0) {
        return Ok((state, Visited { cut_short: true, ..Visited::default() }));
    }
    let range = selection.keys.range.clone();
    let visitor = Visitor {
        key,
        selection,
        interrupt: interrupt.clone(),
        state,
        visit,
        digest: StateDigest::default(),
        cut_short: false,
    };
    let shared = Arc::new(Mutex::new(Some(visitor)));
    let inner = Arc::clone(&shared);
    let merging = merge::for_each_item(store, plan.inputs.clone(), plan.cut, range, options, move |item| {
        let mut visitor = inner.lock().unwrap_or_else(PoisonError::into_inner);
        visitor.as_mut().ok_or(StateError::Lost)?.item(item)
    });
    let merged = tokio::select! {
        merged = merging => merged,
        () = stopped(interrupt) => {
            // The read that hangs keeps the visitor's box, not the visitor: what it holds, such as a file that is not
            // whole, goes now.
            drop(shared.try_lock().ok().and_then(|mut visitor| visitor.take()));
            return Err(StateError::Interrupted.into());
        }
    };
    let visitor = shared.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(StateError::Lost)?;
    let report = match merged {
        Ok(report) => report,
        Err(_) if visitor.cut_short => MergeReport::default(),
        Err(error) => return Err(error),
    };
    Ok((visitor.state, Visited { merge: report, digest: visitor.digest, cut_short: visitor.cut_short }))
}

/// Gives the selected items of the state, on all threads of `options`, to parts that `begin` makes: each is of a range of keys, and `visit`
/// gives it the range's items in key order and says each item's part of the state digest. `take` is given `state` and the parts, in the
/// order of the keys. Gives `state` back. What comes of it does not depend on the number of threads, when what is made of two parts, one
/// after the other, is what is made of both together. A limited selection is given on one thread.
///
/// # Errors
/// As [`visit_items`].
pub async fn visit_parts<S, P, B, V, T>(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    selection: Selection,
    options: MergeOptions,
    interrupt: &Interrupt,
    state: S,
    (begin, visit, mut take): (B, V, T),
) -> Result<(S, Visited)>
where
    S: Send + 'static,
    P: Send + 'static,
    B: Fn() -> P + Send + Sync + 'static,
    V: Fn(&mut P, EncodedItem<'_>) -> Result<ItemHash> + Send + Sync + 'static,
    T: FnMut(&mut S, P) -> Result<()> + Send + 'static,
{
    if selection.limit.is_some() {
        let whole = (state, begin(), 0u32, take);
        let one = move |(state, part, items, take): &mut (S, P, u32, T), item: EncodedItem<'_>| {
            let hash = visit(part, item)?;
            *items += 1;
            if *items == PART_ITEMS {
                *items = 0;
                take(state, std::mem::replace(part, begin()))?;
            }
            Ok((Flow::Continue, hash))
        };
        let (whole, visited) = visit_encoded(store, plan, selection, options, interrupt, whole, one).await?;
        let (mut state, part, _, mut take) = whole;
        take(&mut state, part)?;
        return Ok((state, visited));
    }
    let Some(key) = plan.key.clone() else { return Ok((state, Visited::default())) };
    let range = selection.keys.range.clone();
    let shared = Arc::new(Mutex::new(Some((state, StateDigest::default()))));
    let (inner, stop) = (Arc::clone(&shared), interrupt.clone());
    let give = move |(part, digest): &mut (P, StateDigest), item: ItemRef<'_>| {
        if stop.requested() {
            return Err(StateError::Interrupted.into());
        }
        if let Some(item) = selection.select(item, &key)? {
            digest.add(visit(part, item)?);
        }
        Ok(())
    };
    let take = move |(part, of_part): (P, StateDigest)| {
        let mut shared = inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, digest) = shared.as_mut().ok_or(StateError::Lost)?;
        digest.merge(&of_part);
        take(state, part)
    };
    let begin = move || (begin(), StateDigest::default());
    let merging = merge::for_each_part(store, plan.inputs.clone(), plan.cut, range, options, (begin, give, take));
    let report = tokio::select! {
        merged = merging => merged?,
        () = stopped(interrupt) => {
            // As above.
            drop(shared.try_lock().ok().and_then(|mut state| state.take()));
            return Err(StateError::Interrupted.into());
        }
    };
    let (state, digest) = shared.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(StateError::Lost)?;
    Ok((state, Visited { merge: report, digest, cut_short: false }))
}

/// Waits until the user has asked to stop, and then as long as a visit between two items needs to see it: what ends here is
/// a read that hangs.
pub async fn stopped(interrupt: &Interrupt) {
    interrupt.wait().await;
    tokio::time::sleep(STOP_GRACE).await;
}

struct Visitor<S, F> {
    key: KeySchema,
    selection: Selection,
    interrupt: Interrupt,
    state: S,
    visit: F,
    digest: StateDigest,
    cut_short: bool,
}

impl<S, F: FnMut(&mut S, EncodedItem<'_>) -> Result<(Flow, ItemHash)>> Visitor<S, F> {
    fn item(&mut self, item: ItemRef<'_>) -> Result<()> {
        if self.interrupt.requested() {
            return Err(StateError::Interrupted.into());
        }
        let Some(item) = self.selection.select(item, &self.key)? else { return Ok(()) };
        let (flow, hash) = (self.visit)(&mut self.state, item)?;
        self.digest.add(hash);
        let limited = self.selection.limit.is_some_and(|limit| self.digest.items() >= limit);
        if flow == Flow::Enough || limited {
            self.cut_short = true;
            return Err(StateError::Enough.into());
        }
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
