//! Where a journal's objects lie: a folder or an S3 bucket behind one narrow trait.
//!
//! Owns keys, listings, versions, checksums on the wire, timeouts and retries. What enters are whole objects; what
//! leaves are whole objects or byte ranges. Knows nothing of what the bytes mean. [`ReadStore`] is all that the read
//! side is given, so it cannot write a segment.
//!
//! A key is the same in every store: parts separated by `/`, none of them empty, `.` or `..`, 1024 bytes at most, and
//! not under [`TEMPORARY_FOLDER`], where the folder store keeps what is not yet an object.

mod error;
mod file;
mod keeping;
mod key;
mod location;
pub mod memory;
mod open;
mod s3;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::StoreError;
pub use file::FileStore;
pub use keeping::KeepingStore;
pub use key::TEMPORARY_FOLDER;
pub use location::{Location, file_url};
pub use open::{init, init_in, open_place, open_read, open_write};
pub use s3::S3Store;

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key, relative to the journal's root, parts separated by `/`.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was stored, in seconds since 1970, as the store says.
    pub modified: u64,
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The object's key, relative to the journal's root.
    pub key: String,
    /// The store's name of the version.
    pub version: String,
    /// Bytes; 0 for a delete marker.
    pub size: u64,
    /// When it was stored, in seconds since 1970.
    pub modified: u64,
    /// Whether this is the version a plain read gives.
    pub latest: bool,
    /// Whether this version says that the object was deleted.
    pub delete_marker: bool,
}

/// A page of a listing, in the order of the keys' bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ObjectMeta>,
    /// Where the next page begins: give it as `after`. None on the last page.
    pub next: Option<String>,
}

/// What a create-only put found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was made.
    Created,
    /// It was there already, with exactly these bytes.
    AlreadyThere,
}

/// Reading a journal's objects. Keys are relative to the journal's root.
#[async_trait]
pub trait ReadStore: Send + Sync + fmt::Debug {
    /// The location as the user gave it, for messages.
    fn location(&self) -> &str;

    /// A whole object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not there.
    async fn get(&self, key: &str) -> Result<Bytes, StoreError>;

    /// Exactly the bytes of `range`. An empty range gives no bytes, and the store is not asked.
    ///
    /// # Errors
    /// [`StoreError::Range`] when the object is shorter.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// The last `length` bytes, or all when it has fewer, and the object's size, in one request.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not there.
    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError>;

    /// Up to 1000 objects whose keys begin with `prefix` and come after `after`, in the order of the keys' bytes.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError>;

    /// The names of the folders directly below `folder` (`""` or a key part sequence that ends in `/`), sorted, without
    /// `/` at the end.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Every version of every object whose key begins with `prefix`, delete markers too, by key, newest first. A store
    /// without versions gives the objects as they are.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError>;

    /// All objects below `prefix`, page after page.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut objects = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.list(prefix, after.as_deref()).await?;
            objects.extend(page.objects);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(objects),
            }
        }
    }
}

/// Writing a journal's objects. Every put is durable when it returns.
#[async_trait]
pub trait WriteStore: ReadStore {
    /// Makes an object that must not be there yet. When it is, its stored bytes are compared: the same bytes are
    /// success, for a retried batch meets its own object.
    ///
    /// # Errors
    /// [`StoreError::Differs`] when other bytes lie under the key.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError>;

    /// Makes or replaces a small document such as `table.json` or a checkpoint, atomically. Segments and snapshots are
    /// never written this way.
    ///
    /// # Errors
    /// When the store refuses.
    async fn replace(&self, key: &str, body: Bytes) -> Result<(), StoreError>;

    /// Deletes an object; in a versioned bucket this adds a delete marker. Deleting what is not there is success.
    ///
    /// # Errors
    /// When the store refuses.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
}
