//! Lists a tree of files in the order of their keys' bytes.
//!
//! `a-b` < `a/b` < `a0`, so a folder stands among its neighbours as its name with `/` behind it. Folders that cannot hold
//! a wanted key are not opened, and one folder's names at a time are held in memory. What goes while it is listed is
//! passed over, as in any listing of things that change.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::modified;
use crate::store::{ObjectMeta, key};

/// Up to `limit` objects whose keys begin with `prefix` and come after `after`, in order.
pub(super) fn objects(root: &Path, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<ObjectMeta>> {
    let start = prefix.rfind('/').map_or("", |slash| prefix.split_at(slash + 1).0);
    let mut walk = Walk { root, prefix, after, limit, objects: Vec::new() };
    walk.folder(start)?;
    Ok(walk.objects)
}

/// The names of the folders directly below `folder` in which an object lies, however deep.
pub(super) fn folders(root: &Path, folder: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for name in entries(root, folder)? {
        if let Some(bare) = name.strip_suffix('/')
            && !objects(root, &format!("{folder}{name}"), None, 1)?.is_empty()
        {
            names.push(bare.to_owned());
        }
    }
    // Names in the order of their own bytes, which is not that of the keys below them.
    names.sort_unstable();
    Ok(names)
}

struct Walk<'a> {
    root: &'a Path,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    objects: Vec<ObjectMeta>,
}

impl Walk<'_> {
    /// Walks a folder: empty, or parts that end in `/`.
    fn folder(&mut self, folder: &str) -> io::Result<()> {
        for name in entries(self.root, folder)? {
            if self.objects.len() >= self.limit {
                break;
            }
            let key = format!("{folder}{name}");
            if key.ends_with('/') {
                if self.may_hold(&key) {
                    self.folder(&key)?;
                }
            } else if self.wants(&key) {
                match fs::metadata(path(self.root, &key)) {
                    Ok(metadata) => {
                        self.objects.push(ObjectMeta { size: metadata.len(), modified: modified(&metadata), key });
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn wants(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after)
    }

    /// Whether a wanted key can begin with `folder`.
    fn may_hold(&self, folder: &str) -> bool {
        (folder.starts_with(self.prefix) || self.prefix.starts_with(folder))
            && self.after.is_none_or(|after| folder > after || after.starts_with(folder))
    }
}

fn path(root: &Path, key: &str) -> PathBuf {
    if key.is_empty() { root.to_owned() } else { root.join(key) }
}

/// The names in a folder, `/` behind those of folders, in order. None when the folder is not there. Names that no key can
/// have are nobody's objects.
fn entries(root: &Path, folder: &str) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(path(root, folder)) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        result => result?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        // Also ends a circle of symbolic links.
        if key::check(&format!("{folder}{name}")).is_err() {
            continue;
        }
        let mut kind = entry.file_type()?;
        if kind.is_symlink() {
            // A link to what is not there, as after an unmount, is an error: it must not look like an empty folder.
            kind = fs::metadata(entry.path())?.file_type();
        }
        if kind.is_dir() {
            name.push('/');
        } else if !kind.is_file() {
            continue;
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}
