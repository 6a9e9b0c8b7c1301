//! Which keys a store takes.
//!
//! Checked before any I/O, so that no key can leave a journal's folder and every store refuses the same keys.

use super::StoreError;

/// The folder in which the folder store gathers what is not yet an object. No key may begin with it; `~` followed by
/// anything but two hex digits is in no name that `layout` makes.
pub const TEMPORARY_FOLDER: &str = "~tmp";

/// The longest key, in bytes: that of S3.
pub(super) const KEY_BYTES_MAX: usize = 1024;

/// Checks the key of an object.
pub(super) fn check(key: &str) -> Result<(), StoreError> {
    let refuse = |reason| Err(StoreError::Key { key: key.to_owned(), reason });
    if key.is_empty() {
        return refuse("it is empty");
    }
    if key.len() > KEY_BYTES_MAX {
        return refuse("it is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return refuse("it has control characters");
    }
    for (index, part) in key.split('/').enumerate() {
        match part {
            "" => return refuse("it has an empty part"),
            "." | ".." => return refuse("a part of it is . or .."),
            TEMPORARY_FOLDER if index == 0 => return refuse("it lies in the folder of temporary files"),
            _ => {}
        }
    }
    Ok(())
}

/// Checks the prefix of a listing: empty, or the beginning of a usable key. Gives the folders that it names in full.
pub(super) fn check_prefix(prefix: &str) -> Result<&str, StoreError> {
    match prefix.rfind('/') {
        None => Ok(""),
        Some(slash) => {
            let (folder, _) = prefix.split_at(slash);
            check(folder)?;
            Ok(folder)
        }
    }
}

/// Checks a folder: empty, or parts that end in `/`.
pub(super) fn check_folder(folder: &str) -> Result<(), StoreError> {
    match folder.strip_suffix('/') {
        Some(parts) => check(parts),
        None if folder.is_empty() => Ok(()),
        None => Err(StoreError::Key { key: folder.to_owned(), reason: "a folder ends in /" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_journal_or_hide_in_it() {
        for good in ["a", "a/b", "t/2020-03-29T00:00:00.000/segments/0/x.seg", "~quarantine/x", "a/~tmp", "..."] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "a".repeat(1025);
        for bad in ["", "/", "/a", "a/", "a//b", ".", "a/..", "../a", "a/./b", "a\0b", "~tmp/x", "~tmp", &long] {
            assert!(matches!(check(bad), Err(StoreError::Key { .. })), "{bad}");
        }
    }

    #[test]
    fn a_prefix_may_stop_inside_a_part_but_not_climb() {
        assert_eq!(check_prefix("").unwrap(), "");
        assert_eq!(check_prefix("a/b").unwrap(), "a");
        assert_eq!(check_prefix("a/b/").unwrap(), "a/b");
        for bad in ["/", "../", "a/../b", "~tmp/"] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
        assert!(check_folder("a/").is_ok() && check_folder("").is_ok());
        assert!(check_folder("a").is_err() && check_folder("/").is_err());
    }
}
