//! What can go wrong in a store, as a caller can act on it.
//!
//! One enum for all stores, so that the conformance suite can ask the same of each. Knows no store.

use thiserror::Error;

use crate::error::{Classify, Kind};

/// What can go wrong in a store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The location is not one this software can open.
    #[error("journal location {location:?} cannot be used: {reason}")]
    Location {
        /// As given.
        location: String,
        /// Why.
        reason: String,
    },
    /// The folder or bucket is not there.
    #[error("journal location {location} does not exist")]
    NoLocation {
        /// The folder or bucket.
        location: String,
    },
    /// The bucket does not keep versions, so a delete or an overwrite would be final.
    #[error("bucket {bucket} has no versioning: an overwritten or deleted object would be lost")]
    Unversioned {
        /// The bucket.
        bucket: String,
    },
    /// No such object.
    #[error("{location}: object {key} does not exist")]
    NotFound {
        /// The store.
        location: String,
        /// The object.
        key: String,
    },
    /// A create-only put met other bytes under its name.
    #[error("{location}: object {key} exists with other bytes (crc32 {found:08x}, expected {expected:08x})")]
    Differs {
        /// The store.
        location: String,
        /// The object.
        key: String,
        /// Checksum of what is stored.
        found: u32,
        /// Checksum of what was to be stored.
        expected: u32,
    },
    /// A range that the object does not have.
    #[error("{location}: object {key} has {size} bytes, range {start}..{end} was asked for")]
    Range {
        /// The store.
        location: String,
        /// The object.
        key: String,
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// The object's size.
        size: u64,
    },
    /// Permission denied.
    #[error("{action} {key} in {location}: permission denied: {reason}")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// The store.
        location: String,
        /// The object or prefix.
        key: String,
        /// What the store said.
        reason: String,
    },
    /// The disk or quota is full.
    #[error("{action} {key} in {location}: no space left")]
    Full {
        /// What was tried.
        action: &'static str,
        /// The store.
        location: String,
        /// The object.
        key: String,
    },
    /// Did not work after all retries.
    #[error("{action} {key} in {location} failed after {attempts} attempts: {reason}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The store.
        location: String,
        /// The object or prefix.
        key: String,
        /// How often it was tried.
        attempts: u32,
        /// What the store said last.
        reason: String,
    },
    /// The store says no for a reason that a retry does not mend.
    #[error("{action} {key} in {location} was refused: {reason}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The store.
        location: String,
        /// The object or prefix.
        key: String,
        /// What the store said.
        reason: String,
    },
    /// Something else lies where a journal was to be made.
    #[error("{location} is not empty and not a journal: it holds {found}")]
    NotEmpty {
        /// The folder, or bucket and prefix.
        location: String,
        /// One object that is there.
        found: String,
    },
    /// The settings by which AWS is reached are not complete.
    #[error("{location} cannot be reached: {reason}")]
    Settings {
        /// The store.
        location: String,
        /// What is missing.
        reason: String,
    },
    /// A key that no store takes: empty, absolute, or with empty, `.` or `..` parts.
    #[error("object key {key:?} is not usable: {reason}")]
    Key {
        /// The key.
        key: String,
        /// Why.
        reason: &'static str,
    },
}

impl Classify for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Location { .. }
            | Self::NoLocation { .. }
            | Self::Unversioned { .. }
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::NotEmpty { .. }
            | Self::Settings { .. } => Kind::Invalid,
            Self::Differs { .. } => Kind::Conflict,
            Self::Range { .. } => Kind::Corrupt,
            Self::Full { .. } | Self::Unavailable { .. } => Kind::Unavailable,
            Self::Key { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Location { .. } => {
                Some("give --journal or JOURNAL_URL as file:///path or s3://bucket/prefix".to_owned())
            }
            Self::NoLocation { location } if location.starts_with("s3://") => {
                Some("check the name and the region; make a bucket with versioning, then run `journal init`".to_owned())
            }
            Self::NoLocation { location } => {
                Some(format!("check the path, or make a journal there with `journal init --journal {location}`"))
            }
            Self::Unversioned { bucket } => Some(format!(
                "switch it on: aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled"
            )),
            Self::Denied { .. } => Some("check the permissions of the user or role that runs this command".to_owned()),
            Self::Full { .. } => {
                Some("free space, then run the same command again; nothing half-written counts".to_owned())
            }
            Self::Unavailable { .. } => Some("run the same command again; what is done is not done twice".to_owned()),
            Self::NotEmpty { .. } => Some("give an empty or new folder or prefix for the journal".to_owned()),
            Self::Settings { .. } => Some(
                "give AWS settings the standard way: AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and \
                 AWS_REGION; `aws sso login` when a login has run out"
                    .to_owned(),
            ),
            Self::Differs { .. } => Some(
                "nothing was overwritten; two journals may share this location, or the stored object is damaged: run \
                 `replay verify`"
                    .to_owned(),
            ),
            Self::NotFound { .. } | Self::Range { .. } | Self::Refused { .. } | Self::Key { .. } => None,
        }
    }
}
