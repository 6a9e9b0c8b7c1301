//! Change records: what one stream record says.

use super::{Image, ItemKey, KeyAttributes, Second, SequenceNumber, StreamArn};

/// What a change did, as the stream names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A new item.
    Insert,
    /// An item that was there got other attributes.
    Modify,
    /// An item was deleted.
    Remove,
}

impl ChangeKind {
    /// The stream's word: `INSERT`, `MODIFY` or `REMOVE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Modify => "MODIFY",
            Self::Remove => "REMOVE",
        }
    }
}

/// Who made a change, where the stream says so. DynamoDB fills it for deletes by TTL only: type `Service`, principal
/// `dynamodb.amazonaws.com` (`Identity`, Amazon DynamoDB Streams API reference).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserIdentity {
    /// `type`.
    pub identity_type: String,
    /// `principalId`.
    pub principal_id: String,
}

impl UserIdentity {
    /// The identity of DynamoDB's own deletes by TTL.
    #[must_use]
    pub fn ttl() -> Self {
        Self { identity_type: "Service".to_owned(), principal_id: "dynamodb.amazonaws.com".to_owned() }
    }

    /// Whether this is DynamoDB's TTL.
    #[must_use]
    pub fn is_ttl(&self) -> bool {
        self.identity_type == "Service" && self.principal_id == "dynamodb.amazonaws.com"
    }
}

/// One change of one item. Two records of one timeline with the same key and sequence number are the same record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The item.
    pub key: ItemKey,
    /// Where in the stream.
    pub sequence: SequenceNumber,
    /// When, in whole seconds; absent where the stream left it out.
    pub second: Option<Second>,
    /// What the stream called it.
    pub kind: ChangeKind,
    /// The item before, without its key; none where there was no item.
    pub old: Option<Image>,
    /// The item after, without its key; none where there is no item any more.
    pub new: Option<Image>,
    /// Who, where the stream says so.
    pub user: Option<UserIdentity>,
}

/// A change record with the stream it came from and the names of its key's attributes: what a source hands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// The stream.
    pub stream: StreamArn,
    /// Names and types of the key's attributes.
    pub key_attributes: KeyAttributes,
    /// The change.
    pub record: ChangeRecord,
}
