//! Items as JSON, or attribute by attribute, straight from their bytes: no tree is built.
//!
//! What enters are an item's encoded key and its canonical image; what leaves is one JSON object, byte for byte what decoding both and
//! writing the attributes gives, or each attribute's value in turn. The bytes are checked as decoding checks them (FORMAT.md, "Images" and "Keys"). Knows nothing of
//! files and formats around the object.

mod image;
mod item;
mod names;
mod text;

use thiserror::Error;

use self::image::Broken;
use self::item::Member;
use self::names::Names;
use self::text::Text;
use super::key::KeyPart;
use super::{ImageError, KeyAttributes, KeyError, size};

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
    /// Of each attribute of the key.
    heads: Vec<Head>,
    /// Of the items' other attributes.
    names: Names,
}

/// The name of an attribute of the key.
#[derive(Debug, Clone)]
struct Head {
    /// `"name":`.
    json: Vec<u8>,
    bytes: usize,
    printable: bool,
}

impl Head {
    fn new(name: &str) -> Self {
        let text = Text::of(name);
        let mut json = Vec::new();
        text::name(text, &mut json);
        Self { json, bytes: name.len(), printable: text.is_printable() }
    }
}

impl Splicer {
    /// For a table with these key attributes.
    #[must_use]
    pub fn new(keys: &KeyAttributes, spelling: Spelling) -> Self {
        let heads = keys.as_slice().iter().map(|attribute| Head::new(&attribute.name)).collect();
        Self { spelling, keys: keys.clone(), heads, names: Names::of_items() }
    }

    /// Appends the item of this encoded key and canonical image to `out` as one object, names in the order of their bytes.
    ///
    /// # Errors
    /// When the bytes are not a key of these attributes, or not exactly one canonical image; `out` is then as it was.
    pub fn splice(&mut self, key: &[u8], image: &[u8], out: &mut Vec<u8>) -> Result<Spliced, SpliceError> {
        let start = out.len();
        let spliced = self.members(key, image, out);
        if spliced.is_err() {
            out.truncate(start);
        }
        spliced
    }

    fn members(&mut self, key: &[u8], image: &[u8], out: &mut Vec<u8>) -> Result<Spliced, SpliceError> {
        out.push(b'{');
        let Self { spelling, keys, heads, names } = self;
        let spelling = *spelling;
        let seen = item::members(keys, (key, image), (spelling, names), |member, walk| {
            match member {
                Member::Key(at, part) => {
                    if let Some(head) = heads.get(at) {
                        key_part(spelling, head, part, &mut walk.seen, out);
                    }
                }
                Member::Image(name, kept) => walk.member(1, name, kept, out).map_err(Broken::of_image)?,
            }
            Ok::<_, SpliceError>(())
        })?;
        close(out, b'}');
        Ok(seen)
    }
}

fn key_part(spelling: Spelling, head: &Head, part: &KeyPart<'_>, seen: &mut Spliced, out: &mut Vec<u8>) {
    out.extend_from_slice(&head.json);
    let mut printable = head.printable;
    seen.bytes += head.bytes;
    match part {
        KeyPart::S(value) => {
            let value = Text::of(value);
            seen.bytes += value.as_bytes().len();
            printable &= value.is_printable();
            text::string(spelling, value, out);
        }
        KeyPart::B(bytes) => {
            seen.bytes += bytes.len();
            text::bytes(spelling, bytes, out);
        }
        KeyPart::N { written, plain } => {
            seen.bytes += size::number(written);
            text::number(spelling, written, plain.as_deref(), out);
        }
    }
    seen.printable &= printable;
    out.push(b',');
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
