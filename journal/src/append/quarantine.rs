//! Keeps records that cannot be understood: raw bytes with the reason, under a name made of the bytes.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::QuarantinedRecord;
use crate::documents;
use crate::error::Result;
use crate::layout;
use crate::model::{ChangeRecord, Timeline};
use crate::store::{StoreError, WriteStore};

/// A quarantined record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct QuarantineDocument {
    pub(crate) reason: String,
    /// The record's bytes in base64.
    pub(crate) raw: String,
}

pub(super) async fn put(store: &dyn WriteStore, record: &QuarantinedRecord) -> Result<()> {
    let folder =
        record.timeline.as_ref().map_or_else(|| layout::UNKNOWN_QUARANTINE.to_owned(), layout::quarantine_folder);
    let mut name = String::with_capacity(64);
    for byte in Sha256::digest(&record.raw) {
        let _ = write!(name, "{byte:02x}");
    }
    let document = QuarantineDocument { reason: record.reason.clone(), raw: STANDARD.encode(&record.raw) };
    tracing::warn!(reason = record.reason, name, "a record could not be understood and is kept in quarantine");
    match store.put_new(&format!("{folder}{name}.json"), documents::to_bytes(&document)?).await {
        // The same bytes are there with a reason in other words: the record itself is kept.
        Ok(_) | Err(StoreError::Differs { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A record that says something else than another with its key and sequence number. Its raw bytes are gone by then, so
/// it is written out.
pub(super) fn contradiction(record: &ChangeRecord, timeline: &Timeline) -> QuarantinedRecord {
    let image = |image: &Option<crate::model::Image>| image.as_ref().map(|image| STANDARD.encode(image.as_bytes()));
    let raw = serde_json::json!({
        "key": STANDARD.encode(record.key.as_bytes()),
        "sequence": record.sequence.to_string(),
        "second": record.second,
        "kind": record.kind.as_str(),
        "old": image(&record.old),
        "new": image(&record.new),
        "user": record.user.as_ref().map(|user| [&user.identity_type, &user.principal_id]),
    });
    QuarantinedRecord {
        timeline: Some(timeline.clone()),
        raw: Bytes::from(raw.to_string()),
        reason: "another record with the same key and sequence number says something else; images are in the journal's own encoding".to_owned(),
    }
}
