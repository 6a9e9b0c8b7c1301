//! What a service answered to `BatchWriteItem`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use journal::source::attribute::parse_item;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::batch::PutBatch;
use super::super::service::{Said, ServiceError};

/// The answer when all was processed, as DynamoDB spells it.
const ALL: &[u8] = br#"{"UnprocessedItems":{}}"#;
/// Characters of an answer that an error shows.
const SHOWN_MAX: usize = 300;

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `x-amzn-errortype`.
    pub(super) error: Option<String>,
    /// `x-amz-crc32`.
    pub(super) crc: Option<String>,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct Processed<'a> {
    #[serde(borrow, rename = "UnprocessedItems")]
    left: BTreeMap<Cow<'a, str>, Vec<Write<'a>>>,
}

#[derive(Deserialize)]
struct Write<'a> {
    #[serde(borrow, rename = "PutRequest")]
    put: Put<'a>,
}

#[derive(Deserialize)]
struct Put<'a> {
    #[serde(borrow, rename = "Item")]
    item: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct Refusal {
    #[serde(default, rename = "__type")]
    kind: Option<String>,
    #[serde(default, alias = "Message")]
    message: Option<String>,
}

impl Answer {
    /// The positions of the puts that were not processed.
    ///
    /// # Errors
    /// When nothing was, or what was cannot be known: the answer is damaged, or names items that were not sent.
    pub(super) fn left(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        self.check()?;
        if !(200..300).contains(&self.status) {
            return Err(self.refusal());
        }
        if self.body == ALL {
            return Ok(Vec::new());
        }
        let answer = |reason: String| ServiceError::Answer {
            reason: format!("{reason}; BatchWriteItem answered {}", self.shown()),
        };
        let processed: Processed<'_> = serde_json::from_slice(&self.body)
            .map_err(|error| answer(format!("no list of unprocessed items ({error})")))?;
        let mut items = Vec::new();
        for (table, writes) in processed.left {
            if table != batch.table().as_str() {
                return Err(answer(format!("items of table {table} are given back")));
            }
            for write in writes {
                items.push(parse_item(write.put.item.get().as_bytes()).map_err(|error| answer(error.to_string()))?);
            }
        }
        batch.positions(items)
    }

    /// A wrong checksum is an accident on the way: nothing of the answer holds, and it can be asked again.
    fn check(&self) -> Result<(), ServiceError> {
        let Some(crc) = &self.crc else { return Ok(()) };
        let found = crc32fast::hash(&self.body);
        if crc.trim().parse() == Ok(found) {
            return Ok(());
        }
        let reason = format!("the answer has CRC-32 {found}, its header x-amz-crc32 says {crc}");
        Err(ServiceError::Unavailable { reason })
    }

    fn refusal(&self) -> ServiceError {
        let refusal: Refusal = serde_json::from_slice(&self.body).unwrap_or_default();
        // `com.amazonaws.dynamodb.v20120810#Code`, or `Code:http://…`.
        let kind = self.error.as_deref().or(refusal.kind.as_deref());
        let code = kind.map(|kind| kind.rsplit('#').next().unwrap_or(kind).split(':').next().unwrap_or(kind).trim());
        let text = match (code, &refusal.message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => format!("status {}, {}", self.status, self.shown()),
        };
        ServiceError::of(&Said { code, status: Some(self.status), text, by_service: true })
    }

    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let shown: String = text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("\"{shown}\"")
    }
}
