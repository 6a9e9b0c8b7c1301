//! Items as JSON, or attribute by attribute, straight from their bytes: no tree is built.
//!
//! What enters are an item's encoded key and its canonical image; what leaves is one JSON object, byte for byte what decoding both and
//! writing the attributes gives, or each attribute's value in turn. The bytes are checked as decoding checks them (FORMAT.md, "Images" and "Keys"). Knows nothing of
//! files and formats around the object.

mod image;
mod item;
mod text;

use thiserror::Error;

use self::image::Broken;
use self::item::Member;
use self::text::Text;
use super::key::KeyPart;
use super::{ImageError, KeyAttributes, KeyError};

pub use item::{Nested, NestedType, WalkedNumber, WalkedValue, name_json, walk_item};

/// How values are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// DynamoDB JSON: each value with its type, `{"S":"text"}`, numbers as they are.
    DynamoDb,
    /// Plain JSON: types left out, numbers in their plain form, binary values as base64 text.
    Plain,
}

/// Why bytes are no item.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SpliceError {
    /// The key's bytes.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The image's bytes.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What was seen on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Spliced {
    /// Whether every number of the key and the image has its plain form: then hashes of the bytes are those of the values.
    pub plain_numbers: bool,
    /// Whether the object is known to be printable ASCII: then a terminal that shows it obeys nothing in it.
    pub printable: bool,
    /// About how many bytes DynamoDB counts for the item: as [`super::item_bytes`].
    pub bytes: usize,
}

/// Writes items of one table.
#[derive(Debug, Clone)]
pub struct Splicer {
    spelling: Spelling,
    keys: KeyAttributes,
    /// `"name":` of each attribute of the key.
    heads: Vec<Vec<u8>>,
}

impl Splicer {
    /// For a table with these key attributes.
    #[must_use]
    pub fn new(keys: &KeyAttributes, spelling: Spelling) -> Self {
        let head = |name: &str| {
            let mut head = Vec::new();
            text::name(Text::of(name), &mut head);
            head
        };
        let heads = keys.as_slice().iter().map(|attribute| head(&attribute.name)).collect();
        Self { spelling, keys: keys.clone(), heads }
    }

    /// Appends the item of this encoded key and canonical image to `out` as one object, names in the order of their bytes.
    ///
    /// # Errors
    /// When the bytes are not a key of these attributes, or not exactly one canonical image; `out` is then as it was.
    pub fn splice(&self, key: &[u8], image: &[u8], out: &mut Vec<u8>) -> Result<Spliced, SpliceError> {
        let start = out.len();
        let spliced = self.members(key, image, out);
        if spliced.is_err() {
            out.truncate(start);
        }
        spliced
    }

    fn members(&self, key: &[u8], image: &[u8], out: &mut Vec<u8>) -> Result<Spliced, SpliceError> {
        out.push(b'{');
        let seen = item::members(&self.keys, (key, image), self.spelling, |member, walk| {
            match member {
                Member::Key(at, part) => {
                    self.key_part(self.heads.get(at).map_or(&[], Vec::as_slice), part, out);
                }
                Member::Image(name) => {
                    text::name(name, out);
                    walk.value(1, out).map_err(Broken::of_image)?;
                    out.push(b',');
                }
            }
            Ok::<_, SpliceError>(())
        })?;
        close(out, b'}');
        Ok(seen)
    }

    fn key_part(&self, head: &[u8], part: &KeyPart<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(head);
        match part {
            KeyPart::S(value) => text::string(self.spelling, Text::of(value), out),
            KeyPart::B(bytes) => text::bytes(self.spelling, bytes, out),
            KeyPart::N { written, plain } => text::number(self.spelling, written, plain.as_deref(), out),
        }
        out.push(b',');
    }
}

/// Ends a list of members, each of which has a comma behind it.
fn close(out: &mut Vec<u8>, bracket: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => out.push(bracket),
    }
}

#[cfg(test)]
mod tests;
