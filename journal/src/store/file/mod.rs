//! Objects as files below a folder: the store of a journal on one machine.
//!
//! An object is visible whole or not at all, and durable when a put returns: it is written under another name, flushed,
//! then linked to its own (`place`). A listing is in the order of keys, which is not the order of a walk from folder to
//! folder (`walk`). Symbolic links are followed. All I/O runs on blocking threads. Keeps no versions: a deleted object is
//! gone, and whoever may write in the folder may change anything in it.

mod place;
mod walk;

use std::fs;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::place::{Placed, Placer};
use super::{ListPage, ObjectMeta, ObjectVersion, PutOutcome, ReadStore, StoreError, WriteStore, key};
use crate::task::own_task;

/// How many objects a page of a listing holds, as in S3.
const PAGE_OBJECTS_MAX: usize = 1000;

/// Threads that read at the same time: enough for a disk, and each keeps for itself some memory of what it has read.
const READERS: usize = 4;

/// A journal in a folder.
#[derive(Debug, Clone)]
pub struct FileStore {
    folder: Arc<Folder>,
    readers: Arc<Semaphore>,
}

/// The folder, and what the blocking threads need to know of it.
#[derive(Debug)]
struct Folder {
    location: String,
    root: PathBuf,
    placer: Placer,
}

impl FileStore {
    /// Opens the folder at `path` for reading; `location` is what the user gave, for messages.
    ///
    /// # Errors
    /// [`StoreError::NoLocation`] when it is not there, [`StoreError::Location`] when it is not a folder.
    pub async fn open_read(location: &str, path: &Path) -> Result<Self, StoreError> {
        Self::open(location, path, |_| {}).await
    }

    /// Opens the folder at `path` for writing, and clears away what writers that crashed left unfinished.
    ///
    /// # Errors
    /// As [`FileStore::open_read`].
    pub async fn open_write(location: &str, path: &Path) -> Result<Self, StoreError> {
        Self::open(location, path, |folder| folder.placer.clear_abandoned()).await
    }

    /// Makes the folder, and those above it, unless it is there.
    ///
    /// # Errors
    /// [`StoreError::Location`] when a file is in the way, [`StoreError::Denied`] when it is not allowed.
    pub async fn make(location: &str, path: &Path) -> Result<(), StoreError> {
        let folder = Folder::new(location, path);
        blocking(Arc::new(folder), "make", "", |folder| match place::make_folders(&folder.root) {
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => {
                Err(folder.not_a_folder())
            }
            result => result.map_err(|error| folder.failed("make", "", &error)),
        })
        .await
    }

    async fn open(
        location: &str,
        path: &Path,
        prepare: impl FnOnce(&Folder) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let folder = Arc::new(Folder::new(location, path));
        blocking(Arc::clone(&folder), "open", "", move |folder| {
            folder.check_there()?;
            prepare(folder);
            Ok(())
        })
        .await?;
        Ok(Self { folder, readers: Arc::new(Semaphore::new(READERS)) })
    }

    /// As [`Self::run`], when a reader is free.
    async fn run_reader<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (folder, readers, own_key) = (Arc::clone(&self.folder), Arc::clone(&self.readers), key.to_owned());
        let handle = Handle::current();
        let reading = own_task(&handle, async move {
            // It fails when it is closed alone, which nobody does.
            let free = readers.acquire_owned().await;
            blocking(folder, "read", &own_key, move |folder| {
                let result = work(folder);
                drop(free);
                result
            })
            .await
        });
        reading.await.unwrap_or_else(|reason| Err(self.folder.ending("read", key, reason)))
    }

    /// Runs `work` on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        blocking(Arc::clone(&self.folder), action, key, work).await
    }
}

async fn blocking<T: Send + 'static>(
    folder: Arc<Folder>,
    action: &'static str,
    key: &str,
    work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let shared = Arc::clone(&folder);
    match tokio::task::spawn_blocking(move || work(&shared)).await {
        Ok(result) => result,
        Err(error) => Err(folder.ending(action, key, error.to_string())),
    }
}

impl Folder {
    fn new(location: &str, root: &Path) -> Self {
        Self { location: location.to_owned(), root: root.to_owned(), placer: Placer::new(root) }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// The runtime is shutting down.
    fn ending(&self, action: &'static str, key: &str, reason: String) -> StoreError {
        let (location, key) = (self.location.clone(), key.to_owned());
        StoreError::Unavailable { action, location, key, attempts: 1, reason }
    }

    fn check_there(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(self.not_a_folder()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.no_location()),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(self.not_a_folder()),
            Err(error) => Err(self.failed("open", "", &error)),
        }
    }

    fn no_location(&self) -> StoreError {
        StoreError::NoLocation { location: self.location.clone() }
    }

    fn not_a_folder(&self) -> StoreError {
        StoreError::Location { location: self.location.clone(), reason: "it is not a folder".to_owned() }
    }

    /// The one place where an error of the file system becomes one of the store.
    fn failed(&self, action: &'static str, key: &str, error: &std::io::Error) -> StoreError {
        let (location, key) = (self.location.clone(), key.to_owned());
        let reason = error.to_string();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreError::Full { action, location, key }
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                StoreError::Denied { action, location, key, reason }
            }
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidFilename => {
                StoreError::Refused { action, location, key, reason }
            }
            _ => StoreError::Unavailable { action, location, key, attempts: 1, reason },
        }
    }

    /// As [`Folder::failed`], for an object that is read: it may be missing, and so may the whole folder, as after an
    /// unmount, which must not look like an empty journal.
    fn not_read(&self, key: &str, error: &std::io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => match self.check_there() {
                Ok(()) => StoreError::NotFound { location: self.location.clone(), key: key.to_owned() },
                Err(error) => error,
            },
            _ => self.failed("read", key, error),
        }
    }

    fn read(&self, key: &str) -> Result<Bytes, StoreError> {
        fs::read(self.path(key)).map(Bytes::from).map_err(|error| self.not_read(key, &error))
    }

    /// Opens an object and tells its size.
    fn open_object(&self, key: &str) -> Result<(fs::File, u64), StoreError> {
        let file = fs::File::open(self.path(key)).map_err(|error| self.not_read(key, &error))?;
        let metadata = file.metadata().map_err(|error| self.not_read(key, &error))?;
        if metadata.is_dir() {
            return Err(self.not_read(key, &ErrorKind::IsADirectory.into()));
        }
        Ok((file, metadata.len()))
    }

    /// Reads `range`, which lies within the object.
    fn read_within(&self, key: &str, mut file: fs::File, range: &Range<u64>) -> Result<Bytes, StoreError> {
        let read = || {
            file.seek(SeekFrom::Start(range.start))?;
            let length = range.end - range.start;
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            let got = file.take(length).read_to_end(&mut bytes)?;
            if u64::try_from(got).is_ok_and(|got| got == length) {
                Ok(bytes)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            }
        };
        let result: std::io::Result<Vec<u8>> = read();
        result.map(Bytes::from).map_err(|error| self.not_read(key, &error))
    }

    fn put_new(&self, key: &str, body: &Bytes) -> Result<PutOutcome, StoreError> {
        let target = self.path(key);
        // Looking first saves the temporary file; the link decides.
        if !fs::exists(&target).unwrap_or(false) {
            let placed = self.placer.place_new(&target, body).map_err(|error| self.not_written(key, &error))?;
            if placed == Placed::Created {
                return Ok(PutOutcome::Created);
            }
        }
        if target.is_dir() {
            return Err(self.failed("write", key, &ErrorKind::IsADirectory.into()));
        }
        let stored = self.read(key)?;
        if stored == *body {
            // Whoever made it may have crashed before its name was durable.
            self.placer.make_durable(&target).map_err(|error| self.not_written(key, &error))?;
            return Ok(PutOutcome::AlreadyThere);
        }
        Err(StoreError::Differs {
            location: self.location.clone(),
            key: key.to_owned(),
            found: crc32fast::hash(&stored),
            expected: crc32fast::hash(body),
        })
    }

    /// As [`Folder::failed`], for an object that is written. The journal's folder is never made anew, so that a lost
    /// mount is told instead of being written beside.
    fn not_written(&self, key: &str, error: &std::io::Error) -> StoreError {
        match self.check_there() {
            Ok(()) => self.failed("write", key, error),
            Err(error) => error,
        }
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        let target = self.path(key);
        match fs::remove_file(&target) {
            Ok(()) => place::sync_folder_of(&target).map_err(|error| self.failed("delete", key, &error)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => self.check_there(),
            Err(error) => Err(self.failed("delete", key, &error)),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.check_there()?;
        walk::objects(&self.root, prefix, after, limit).map_err(|error| self.failed("list", prefix, &error))
    }
}

/// When a file was last written, in whole seconds since 1970.
fn modified(metadata: &fs::Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

#[async_trait]
impl ReadStore for FileStore {
    fn location(&self) -> &str {
        &self.folder.location
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        key::check(key)?;
        let wanted = key.to_owned();
        self.run_reader(key, move |folder| folder.read(&wanted)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        key::check(key)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = key.to_owned();
        self.run_reader(key, move |folder| {
            let (file, size) = folder.open_object(&wanted)?;
            if range.end > size {
                let location = folder.location.clone();
                return Err(StoreError::Range { location, key: wanted, start: range.start, end: range.end, size });
            }
            folder.read_within(&wanted, file, &range)
        })
        .await
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        key::check(key)?;
        let wanted = key.to_owned();
        self.run_reader(key, move |folder| {
            let (file, size) = folder.open_object(&wanted)?;
            let tail = folder.read_within(&wanted, file, &(size.saturating_sub(length)..size))?;
            Ok((tail, size))
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        key::check_prefix(prefix)?;
        let (wanted, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.run("list", prefix, move |folder| {
            let mut objects = folder.list(&wanted, after.as_deref(), PAGE_OBJECTS_MAX + 1)?;
            let more = objects.len() > PAGE_OBJECTS_MAX;
            objects.truncate(PAGE_OBJECTS_MAX);
            let next = objects.last().filter(|_| more).map(|object| object.key.clone());
            Ok(ListPage { objects, next })
        })
        .await
    }

    /// In one walk, for each page would read its folder anew.
    async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        key::check_prefix(prefix)?;
        let wanted = prefix.to_owned();
        self.run("list", prefix, move |folder| folder.list(&wanted, None, usize::MAX)).await
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        key::check_folder(folder)?;
        let wanted = folder.to_owned();
        self.run("list", folder, move |folder| {
            folder.check_there()?;
            walk::folders(&folder.root, &wanted).map_err(|error| folder.failed("list", &wanted, &error))
        })
        .await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        let objects = self.list_all(prefix).await?;
        // `null` is S3's own name for the version of an object in a bucket without versions.
        let version = |object: ObjectMeta| ObjectVersion {
            key: object.key,
            version: "null".to_owned(),
            size: object.size,
            modified: object.modified,
            latest: true,
            delete_marker: false,
        };
        Ok(objects.into_iter().map(version).collect())
    }
}

#[async_trait]
impl WriteStore for FileStore {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        key::check(key)?;
        let wanted = key.to_owned();
        self.run("write", key, move |folder| folder.put_new(&wanted, &body)).await
    }

    async fn replace(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        key::check(key)?;
        let wanted = key.to_owned();
        self.run("write", key, move |folder| {
            let target = folder.path(&wanted);
            folder.placer.place_over(&target, &body).map_err(|error| folder.not_written(&wanted, &error))
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        key::check(key)?;
        let wanted = key.to_owned();
        self.run("delete", key, move |folder| folder.delete(&wanted)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classify, Kind};

    async fn store() -> (tempfile::TempDir, FileStore) {
        let root = tempfile::tempdir().unwrap();
        let store = FileStore::open_write("file:///journal", root.path()).await.unwrap();
        (root, store)
    }

    #[tokio::test]
    async fn reads_that_nobody_waits_for_just_now_do_not_keep_others_from_reading() {
        let (_root, store) = store().await;
        store.put_new("a", Bytes::from_static(b"bytes")).await.unwrap();
        let mut asked: Vec<_> = (0..3 * READERS).map(|_| store.get("a")).collect();
        for read in &mut asked {
            let _ = futures::poll!(read);
        }
        let alone = tokio::time::timeout(std::time::Duration::from_mins(1), store.get("a"));
        assert_eq!(alone.await.expect("it is not kept waiting").unwrap(), "bytes");
        for read in asked {
            assert_eq!(read.await.unwrap(), "bytes");
        }
    }

    #[tokio::test]
    async fn so_many_threads_read_at_once_and_no_more() {
        use std::sync::Barrier;
        use std::sync::atomic::{AtomicUsize, Ordering};

        let (_root, store) = store().await;
        let (together, reading, most) = (Barrier::new(READERS), AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new((together, reading, most));
        let reads = (0..3 * READERS).map(|_| {
            let shared = Arc::clone(&shared);
            store.run_reader("a", move |_| {
                let (together, reading, most) = &*shared;
                most.fetch_max(reading.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // None goes on before so many are here.
                together.wait();
                reading.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        });
        futures::future::try_join_all(reads).await.unwrap();
        assert_eq!(shared.2.load(Ordering::SeqCst), READERS);
    }

    fn mapped(kind: ErrorKind) -> StoreError {
        Folder::new("file:///journal", Path::new("/journal")).failed("write", "a/b", &kind.into())
    }

    #[test]
    fn errors_of_the_file_system_are_told_as_what_the_user_can_do() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            let error = mapped(kind);
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            assert_eq!(error.kind(), Kind::Unavailable);
        }
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
            let error = mapped(kind);
            assert!(matches!(error, StoreError::Denied { .. }), "{error}");
            assert!(error.to_string().starts_with("write a/b in file:///journal: permission denied"), "{error}");
            assert_eq!(error.kind(), Kind::Invalid);
        }
        assert!(matches!(mapped(ErrorKind::NotADirectory), StoreError::Refused { .. }));
        assert!(matches!(mapped(ErrorKind::TimedOut), StoreError::Unavailable { attempts: 1, .. }));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_systems_own_numbers_are_known() {
        // ENOSPC, EDQUOT, EFBIG; EACCES, EPERM, EROFS.
        let folder = Folder::new("file:///journal", Path::new("/journal"));
        let mapped = |number| folder.failed("write", "a", &std::io::Error::from_raw_os_error(number));
        assert!([28, 122, 27].into_iter().all(|number| matches!(mapped(number), StoreError::Full { .. })));
        assert!([13, 1, 30].into_iter().all(|number| matches!(mapped(number), StoreError::Denied { .. })));
    }

    #[tokio::test]
    async fn a_folder_and_an_object_cannot_share_a_name() {
        let (_root, store) = store().await;
        store.put_new("a/b", Bytes::from_static(b"x")).await.unwrap();
        for key in ["a", "a/b/c"] {
            let put = store.put_new(key, Bytes::from_static(b"x")).await;
            assert!(matches!(put, Err(StoreError::Refused { .. })), "{key}: {put:?}");
            let replaced = store.replace(key, Bytes::from_static(b"x")).await;
            assert!(matches!(replaced, Err(StoreError::Refused { .. })), "{key}: {replaced:?}");
            assert!(matches!(store.get(key).await, Err(StoreError::NotFound { .. })), "{key}");
            assert!(matches!(store.get_tail(key, 1).await, Err(StoreError::NotFound { .. })), "{key}");
        }
        store.delete("a/b/c").await.unwrap();
        assert_eq!(store.list_all("").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_lost_mount_is_told_and_never_looks_like_an_empty_journal() {
        let (root, store) = store().await;
        store.put_new("a/b", Bytes::from_static(b"x")).await.unwrap();
        drop(root);
        let body = Bytes::from_static(b"x");
        let gone = |error: &StoreError| matches!(error, StoreError::NoLocation { .. });
        assert!(gone(&store.get("a/b").await.unwrap_err()));
        assert!(gone(&store.get_range("a/b", 0..1).await.unwrap_err()));
        assert!(gone(&store.list("", None).await.unwrap_err()));
        assert!(gone(&store.list_all("a/").await.unwrap_err()));
        assert!(gone(&store.list_folders("").await.unwrap_err()));
        assert!(gone(&store.put_new("a/c", body.clone()).await.unwrap_err()));
        assert!(gone(&store.replace("a/c", body).await.unwrap_err()));
        assert!(gone(&store.delete("a/b").await.unwrap_err()));
    }

    #[tokio::test]
    async fn what_a_crash_left_is_not_an_object_and_goes_when_a_writer_opens() {
        let (root, store) = store().await;
        store.put_new("a", Bytes::from_static(b"x")).await.unwrap();
        let left = root.path().join(key::TEMPORARY_FOLDER).join("0123456789abcdef");
        std::fs::write(&left, "half an obj").unwrap();
        FileStore::open_read("file:///journal", root.path()).await.unwrap();
        assert!(left.exists(), "a reader changes nothing");
        assert_eq!(store.list_all("").await.unwrap().len(), 1);
        FileStore::open_write("file:///journal", root.path()).await.unwrap();
        assert!(!left.exists());
    }
}
