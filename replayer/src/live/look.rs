//! Items read from the table in batches and compared.

use std::collections::BTreeMap;

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::{Attributes, Image, TableName};
use journal::source::sdk::{item_from_sdk, item_to_sdk};

use super::{LiveError, LiveReport};
use crate::audit::ItemDifference;
use crate::digest::to_plain;
use crate::key_schema::KeySchema;
use crate::restore::{ItemService, RestoreError, RestoreOptions, SdkItem, ServiceError};
use crate::table_write::back_off;

/// Keys of one request, as DynamoDB allows.
pub(super) const BATCH: usize = 100;
/// Attempts without progress before a batch is given up.
const ATTEMPTS_MAX: u32 = 12;

/// What an item is, numbers plain, as bytes; none when there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape(Option<Vec<u8>>);

impl Shape {
    pub(super) fn of(item: Option<&Attributes>) -> Self {
        // An item that cannot be encoded equals none that can.
        Self(item.and_then(|item| Image::encode(&to_plain(item)).ok()).map(|image| image.as_bytes().to_vec()))
    }
}

/// An item to look at.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) key: Attributes,
    /// The item at the cut, without its key.
    pub(super) before: Option<Attributes>,
    /// What the journal's last change left, where that is known.
    pub(super) newest: Option<Shape>,
}

/// Looks at items.
pub(super) struct Look<'a> {
    pub(super) service: &'a dyn ItemService,
    pub(super) table: &'a TableName,
    pub(super) schema: &'a KeySchema,
    pub(super) options: &'a RestoreOptions,
    pub(super) interrupt: &'a Interrupt,
    pub(super) visit: &'a mut (dyn FnMut(ItemDifference) -> Result<()> + Send),
    pub(super) report: LiveReport,
}

impl Look<'_> {
    /// Reads the items and gives those that differ to the visitor, in the order given.
    pub(super) async fn at(&mut self, candidates: Vec<Candidate>) -> Result<()> {
        let keys = candidates.iter().map(|candidate| item_to_sdk(&candidate.key)).collect();
        let mut live = self.read(keys).await?;
        for Candidate { key, before, newest } in candidates {
            let after = live.remove(&self.schema.plain_key(&key)?);
            let (before, after) = (before.as_ref().map(to_plain), after);
            let now = Shape::of(after.as_ref());
            self.report.unexplained += u64::from(newest.is_some_and(|newest| newest != now));
            let was = Shape::of(before.as_ref());
            let differs = was != now;
            self.report.compared.count(was.0, now.0);
            if differs {
                (self.visit)(ItemDifference { key, before, after })?;
            }
        }
        Ok(())
    }

    /// The items of these keys that are there, without their keys, by the bytes of the key.
    async fn read(&self, mut keys: Vec<SdkItem>) -> Result<BTreeMap<Vec<u8>, Attributes>> {
        let mut found = BTreeMap::new();
        let mut attempt = 0;
        while !keys.is_empty() {
            if self.interrupt.requested() {
                return Err(RestoreError::Interrupted { doing: "reading", table: self.table.clone() }.into());
            }
            let before = keys.len();
            match self.service.get_many(self.table, keys.clone()).await {
                Ok((items, left)) => {
                    for item in items {
                        let (key, rest) = self.split(&item)?;
                        found.insert(key, rest);
                    }
                    keys = left;
                }
                Err(error) if error.is_transient() && attempt < ATTEMPTS_MAX => {}
                Err(source) => {
                    return Err(RestoreError::Service { action: "reading", table: self.table.clone(), source }.into());
                }
            }
            attempt = if keys.len() < before { 0 } else { attempt + 1 };
            if attempt > ATTEMPTS_MAX {
                let (table, keys) = (self.table.clone(), keys.len());
                return Err(LiveError::Unprocessed { table, keys, attempts: ATTEMPTS_MAX }.into());
            }
            if !keys.is_empty() {
                back_off(self.options.pause, attempt.max(1)).await;
            }
        }
        Ok(found)
    }

    fn split(&self, item: &SdkItem) -> Result<(Vec<u8>, Attributes)> {
        let item = item_from_sdk(item).map_err(|error| ServiceError::Answer { reason: error.to_string() })?;
        let (key, rest): (Attributes, Attributes) =
            to_plain(&item).into_iter().partition(|(name, _)| self.schema.attributes().contains(name));
        Ok((self.schema.plain_key(&key)?, rest))
    }
}
