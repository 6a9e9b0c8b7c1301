//! Puts a file into its place whole and durable, or not at all.
//!
//! The steps of a create-only put, each of which may be the last before a crash:
//! 1. a temporary file under [`TEMPORARY_FOLDER`], locked by its writer: not an object;
//! 2. its bytes, and a flush: not an object;
//! 3. the folders of the target, each flushed into the one above: empty folders, which no listing shows;
//! 4. a hard link of the target's name to the file, which fails when the name is taken, between processes too: the object
//!    is visible, and whole;
//! 5. a flush of the target's folder: the object is durable, and only now is it acknowledged;
//! 6. the temporary name goes. After a crash before this, the next writer that opens the journal removes it: the lock of
//!    a writer that lives is held, that of one that died is free.
//!
//! Knows no keys and no store errors.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::store::key::TEMPORARY_FOLDER;

/// Folders known to be durable; forgotten together when there are more.
const KNOWN_FOLDERS_MAX: usize = 4096;

/// How often a temporary file is made anew when another process takes it for abandoned.
const CREATE_ATTEMPTS_MAX: u32 = 16;

/// Whether a create-only put made the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It did.
    Created,
    /// The name was taken.
    WasThere,
}

/// Puts files below one root.
#[derive(Debug)]
pub(super) struct Placer {
    root: PathBuf,
    known: Mutex<HashSet<PathBuf>>,
}

impl Placer {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), known: Mutex::default() }
    }

    /// Makes `target` with `body`, unless it is there.
    pub(super) fn place_new(&self, target: &Path, body: &[u8]) -> io::Result<Placed> {
        self.place_new_by(target, body, |from, to| fs::hard_link(from, to))
    }

    /// As [`Placer::place_new`], with the call that gives the file its name.
    fn place_new_by(
        &self,
        target: &Path,
        body: &[u8],
        link: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<Placed> {
        let temporary = Temporary::write(&self.root.join(TEMPORARY_FOLDER), body)?;
        let named = self.in_its_folder(target, || match link(&temporary.path, target) {
            // File systems without hard links say one of these.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                self.rename_unless_there(&temporary.path, target)
            }
            result => result,
        });
        match named {
            Ok(()) => {
                sync_folder_of(target)?;
                Ok(Placed::Created)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Placed::WasThere),
            Err(error) => Err(error),
        }
    }

    /// Makes or replaces `target` with `body`.
    pub(super) fn place_over(&self, target: &Path, body: &[u8]) -> io::Result<()> {
        let temporary = Temporary::write(&self.root.join(TEMPORARY_FOLDER), body)?;
        self.in_its_folder(target, || fs::rename(&temporary.path, target))?;
        sync_folder_of(target)
    }

    /// Makes durable the name of a file that is there already.
    pub(super) fn make_durable(&self, target: &Path) -> io::Result<()> {
        self.ensure_folder_of(target)?;
        sync_folder_of(target)
    }

    /// Removes the temporary files of writers that are gone. What cannot be removed stays: it is in nobody's way.
    pub(super) fn clear_abandoned(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(TEMPORARY_FOLDER)) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| *path != self.lock_path()) {
            let abandoned =
                File::open(&path).is_ok_and(|file| file.try_lock().is_ok() && fs::remove_file(&path).is_ok());
            tracing::debug!(path = %path.display(), abandoned, "temporary file");
        }
    }

    /// Runs `name`, which gives `target` its name, in its folder; once more when somebody removed the folder.
    fn in_its_folder(&self, target: &Path, name: impl Fn() -> io::Result<()>) -> io::Result<()> {
        self.ensure_folder_of(target)?;
        match name() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.known().clear();
                self.ensure_folder_of(target)?;
                name()
            }
            result => result,
        }
    }

    /// Makes the folders between the root and `target`. A folder that is there may not be durable yet, for its maker may
    /// have crashed: each is flushed once in the life of a placer.
    fn ensure_folder_of(&self, target: &Path) -> io::Result<()> {
        let Some(folder) = target.parent() else { return Ok(()) };
        if folder == self.root || self.known().contains(folder) {
            return Ok(());
        }
        let below = folder.strip_prefix(&self.root).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let mut path = self.root.clone();
        for part in below.components() {
            path.push(part);
            make_folder(&path)?;
            sync_folder_of(&path)?;
        }
        let mut known = self.known();
        if known.len() >= KNOWN_FOLDERS_MAX {
            known.clear();
        }
        known.insert(folder.to_owned());
        Ok(())
    }

    /// Create-only where there are no hard links: one writer at a time looks and renames. A crash frees the lock.
    fn rename_unless_there(&self, from: &Path, target: &Path) -> io::Result<()> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(self.lock_path())?;
        lock.lock()?;
        if fs::exists(target)? {
            return Err(ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, target)
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join(TEMPORARY_FOLDER).join("lock")
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is not an object yet. Its name goes when this is dropped.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    /// Holds the lock that tells others that the writer lives.
    file: File,
}

impl Temporary {
    fn write(folder: &Path, body: &[u8]) -> io::Result<Self> {
        let mut temporary = Self::create(folder)?;
        temporary.file.write_all(body)?;
        temporary.file.sync_all()?;
        Ok(temporary)
    }

    fn create(folder: &Path) -> io::Result<Self> {
        for _ in 0..CREATE_ATTEMPTS_MAX {
            let path = folder.join(format!("{:016x}", rand::random::<u64>()));
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    make_folder(folder)?;
                    OpenOptions::new().write(true).create_new(true).open(&path)?
                }
                result => result?,
            };
            let temporary = Self { path, file };
            // Between the creation and the lock another process may have taken the file for abandoned.
            match temporary.file.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                // Where files cannot be locked, nobody takes any for abandoned.
                Err(TryLockError::Error(_)) => return Ok(temporary),
                Ok(()) if fs::exists(&temporary.path)? => return Ok(temporary),
                Ok(()) => {}
            }
        }
        Err(io::Error::other("temporary files are removed as fast as they are made"))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a folder and all above it, each durable.
pub(super) fn make_folders(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folders(above)?;
    }
    make_folder(path)?;
    sync_folder_of(path)
}

/// Makes one folder, unless it is there.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && fs::metadata(path)?.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(ErrorKind::NotADirectory.into()),
        result => result,
    }
}

/// Makes durable what was last done to a name: a flush of the folder that holds it.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        // Folders cannot be opened elsewhere.
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
