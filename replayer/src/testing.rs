//! A store in memory for the unit tests of this crate.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use journal::store::{ListPage, ObjectMeta, ObjectVersion, ReadStore, StoreError};

/// Objects by key.
#[derive(Debug, Default)]
pub(crate) struct MapStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl MapStore {
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        self.objects.lock().unwrap().insert(key.to_owned(), Bytes::copy_from_slice(bytes));
    }

    pub(crate) fn put_json<T: serde::Serialize>(&self, key: &str, document: &T) {
        self.put(key, &journal::documents::to_bytes(document).unwrap());
    }
}

#[async_trait]
impl ReadStore for MapStore {
    fn location(&self) -> &str {
        "memory:"
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.objects
            .lock()
            .unwrap()
            .get(key)
            .cloned()
            .ok_or_else(|| StoreError::NotFound { location: "memory:".to_owned(), key: key.to_owned() })
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.get(key).await?;
        Ok(bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()))
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        let bytes = self.get(key).await?;
        let from = bytes.len().saturating_sub(usize::try_from(length).unwrap());
        Ok((bytes.slice(from..), bytes.len() as u64))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        let objects = self.objects.lock().unwrap();
        let objects = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .map(|(key, bytes)| ObjectMeta { key: key.clone(), size: bytes.len() as u64, modified: 0 })
            .collect();
        Ok(ListPage { objects, next: None })
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let objects = self.objects.lock().unwrap();
        let mut names: Vec<String> =
            objects.keys().filter_map(|key| Some(key.strip_prefix(folder)?.split_once('/')?.0.to_owned())).collect();
        names.dedup();
        Ok(names)
    }

    async fn list_versions(&self, _prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        Ok(Vec::new())
    }
}
