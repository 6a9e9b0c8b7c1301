//! Stand-in until the table's own description is here.

use crate::documents::{self, DocumentError, StartDocument, TableDocument};
use crate::layout;
use crate::model::Second;
use crate::store::WriteStore;

/// Writes `table.json` of the description's timeline.
pub(super) async fn store(store: &dyn WriteStore, document: &TableDocument) -> Result<(), DocumentError> {
    let key = layout::table_document(document.stream_arn.timeline());
    store.replace(&key, documents::to_bytes(document)?).await.map_err(DocumentError::from)
}

/// From when on the timeline is covered.
pub(super) fn start_of(document: &TableDocument, first_seen: Second) -> StartDocument {
    let birth = document.stream_arn.timeline().label.birth_milliseconds();
    let whole = birth.zip(document.created_milliseconds).is_some_and(|(birth, made)| birth <= made + 1000);
    let covered_from = birth.and_then(|birth| Second::new(birth / 1000).ok()).unwrap_or(first_seen);
    StartDocument { covered_from, whole, reason: "stand-in".to_owned() }
}
