//! Opening and making journals at a location.
//!
//! Which store serves a location is decided here and nowhere else.

use std::sync::Arc;

use super::{FileStore, Location, ReadStore, S3Store, StoreError, WriteStore};
use crate::documents::{self, DocumentError, JournalDocument};
use crate::layout::JOURNAL_DOCUMENT;

/// Opens a location for reading. Whether a journal is there is asked by [`documents::check_journal`].
///
/// # Errors
/// [`StoreError::Location`] when the text is not a location, [`StoreError::NoLocation`] when the folder or bucket is not
/// there, [`StoreError::Settings`] when AWS settings are missing.
pub async fn open_read(location: &str) -> Result<Arc<dyn ReadStore>, StoreError> {
    Ok(match Location::parse(location)? {
        Location::File { path } => Arc::new(FileStore::open_read(location, &path).await?),
        Location::S3 { bucket, prefix } => Arc::new(S3Store::open_read(location, &bucket, &prefix).await?),
    })
}

/// Opens a location for writing.
///
/// # Errors
/// As [`open_read`], and [`StoreError::Unversioned`] for a bucket that keeps no versions.
pub async fn open_write(location: &str) -> Result<Arc<dyn WriteStore>, StoreError> {
    Ok(match Location::parse(location)? {
        Location::File { path } => Arc::new(FileStore::open_write(location, &path).await?),
        Location::S3 { bucket, prefix } => Arc::new(S3Store::open_write(location, &bucket, &prefix).await?),
    })
}

/// Opens a place that is no journal, such as the on-failure destination of an event source mapping: it is read, and small
/// documents are put into it. A bucket needs no versions for that.
///
/// # Errors
/// As [`open_read`].
pub async fn open_place(location: &str) -> Result<Arc<dyn WriteStore>, StoreError> {
    Ok(match Location::parse(location)? {
        Location::File { path } => Arc::new(FileStore::open_write(location, &path).await?),
        Location::S3 { bucket, prefix } => Arc::new(S3Store::open_read(location, &bucket, &prefix).await?),
    })
}

/// Makes a journal: the folder, where it is one, and `journal.json`. A journal that is there already is left as it is. A
/// bucket is not made, for its region, versioning and lock are its owner's to choose.
///
/// # Errors
/// [`StoreError::NotEmpty`] when something else lies there, [`DocumentError::Version`] when a journal of another major
/// version does, and as [`open_write`].
pub async fn init(location: &str) -> Result<(), DocumentError> {
    if let Location::File { path } = Location::parse(location)? {
        FileStore::make(location, &path).await?;
    }
    let store = open_write(location).await?;
    init_in(&*store).await
}

/// Makes a journal in a store that is open.
///
/// # Errors
/// As [`init`].
pub async fn init_in(store: &dyn WriteStore) -> Result<(), DocumentError> {
    match documents::check_journal(store).await {
        Ok(()) => return Ok(()),
        Err(DocumentError::NotAJournal { .. }) => {}
        Err(error) => return Err(error),
    }
    let page = store.list("", None).await?;
    let found = page.objects.iter().find(|object| object.key != JOURNAL_DOCUMENT).or(page.objects.first());
    if let Some(object) = found {
        // Between the two requests another process may have made the journal and begun to write.
        if documents::check_journal(store).await.is_ok() {
            return Ok(());
        }
        let found = object.key.clone();
        return Err(StoreError::NotEmpty { location: store.location().to_owned(), found }.into());
    }
    match store.put_new(JOURNAL_DOCUMENT, documents::to_bytes(&JournalDocument::current())?).await {
        Ok(_) => Ok(()),
        // Another release made it at the same time: it counts if this one can read it.
        Err(StoreError::Differs { .. }) => documents::check_journal(store).await,
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::error::{Classify, Kind};
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_journal_is_made_once_and_left_alone_after() {
        let folder = tempfile::tempdir().unwrap();
        let location = super::super::file_url(&folder.path().join("new/journal")).unwrap();
        assert!(matches!(open_write(&location).await, Err(StoreError::NoLocation { .. })));
        assert!(matches!(open_read(&location).await, Err(StoreError::NoLocation { .. })));
        init(&location).await.unwrap();
        init(&location).await.unwrap();
        let store = open_write(&location).await.unwrap();
        documents::check_journal(&*store).await.unwrap();
        store.put_new("t/1/x", Bytes::from_static(b"x")).await.unwrap();
        init(&location).await.unwrap();
        assert_eq!(store.list_all("").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_is_not_a_journal_is_not_made_one() {
        let store = MemoryStore::new();
        store.put_new("holiday.jpg", Bytes::from_static(b"x")).await.unwrap();
        let error = init_in(&store).await.unwrap_err();
        assert!(error.to_string().contains("holiday.jpg"), "{error}");
        assert_eq!(error.kind(), Kind::Invalid);

        let store = MemoryStore::new();
        store.put_new(JOURNAL_DOCUMENT, Bytes::from_static(br#"{"format":"other","major":1}"#)).await.unwrap();
        assert!(matches!(init_in(&store).await, Err(DocumentError::Store(StoreError::NotEmpty { .. }))));
    }

    #[tokio::test]
    async fn another_major_version_is_refused() {
        let store = MemoryStore::new();
        let newer = JournalDocument { major: 2, ..JournalDocument::current() };
        store.put_new(JOURNAL_DOCUMENT, documents::to_bytes(&newer).unwrap()).await.unwrap();
        let error = init_in(&store).await.unwrap_err();
        assert!(matches!(error, DocumentError::Version { found: 2, .. }));
        assert_eq!(error.kind(), Kind::Unsupported);
    }

    #[tokio::test]
    async fn a_file_where_the_folder_should_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let location = super::super::file_url(&path).unwrap();
        for error in [open_read(&location).await.unwrap_err(), open_write(&location).await.unwrap_err()] {
            assert!(matches!(&error, StoreError::Location { .. }), "{error}");
        }
        let error = init(&location).await.unwrap_err();
        assert!(error.to_string().contains("not a folder"), "{error}");
    }
}
