//! The words of the journal as types: items, keys, sequence numbers, change records, timelines.
//!
//! Owns the meaning and the bounds of each word. What enters is text and bytes from services and users, checked
//! once by a `parse` or `new`; what leaves is a value that need not be checked again. Knows nothing of segments,
//! stores, clients or clocks.

mod image;
mod key;
mod number;
mod record;
mod second;
mod sequence;
mod size;
mod splice;
mod table;
mod timeline;
mod value;

pub use image::{IMAGE_BYTES_MAX, Image, ImageError, NESTING_MAX};
pub use key::{ItemKey, KeyAttribute, KeyAttributes, KeyError, KeyType};
pub use number::{Number, NumberError};
pub use record::{ChangeKind, ChangeRecord, StreamRecord, UserIdentity};
pub use second::{Second, SecondError};
pub use sequence::{SequenceError, SequenceNumber};
pub use size::item_bytes;
pub use splice::{
    Nested, NestedType, Spelling, SpliceError, Spliced, Splicer, WalkedNumber, WalkedValue, name_json, walk_item,
};
pub use table::{TableName, TableNameError};
pub use timeline::{StreamArn, StreamArnError, Timeline, TimelineLabel};
pub use value::{AttributeValue, Attributes};

#[cfg(test)]
pub(crate) use image::tests as test_strategies;
