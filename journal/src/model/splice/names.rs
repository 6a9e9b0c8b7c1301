//! Names of attributes as they stand in JSON, kept from item to item: items of a table share most of theirs.
//!
//! What enters are names as an image has them; what leaves is what stands before a value in JSON, ready to be copied. An image has its names in
//! the order of their bytes, and they are kept in it, so that one goes along the other: a name is found by one comparison, which also
//! tells that it is a text and comes after the name before it. How many are kept is bounded, whatever items bring. Knows nothing of values.

use super::Spelling;
use super::text::{self, Look, Text};

/// How many names of an item are kept. Of a map in it, a part as small as [`INSIDE`] says: names of one that is used as a dictionary
/// are without end.
pub(super) const ROOM: usize = 64;
pub(super) const INSIDE: usize = 4;
/// Bytes of a name that is kept, at most: an image has its length in one byte.
const NAME_BYTES_MAX: usize = 128;
/// How many names are compared, before the next of an image is looked at by itself.
const AHEAD: usize = 3;

/// Names of an item, or of the maps that stand at one place in items.
#[derive(Debug, Clone)]
pub(super) struct Names {
    sorted: Vec<Name>,
    room: usize,
}

/// A name that is kept.
#[derive(Debug, Clone)]
pub(super) struct Name {
    /// As an image has it: its length and its bytes.
    stored: Vec<u8>,
    look: Look,
    /// `"name":` and what a string begins with.
    before_string: Vec<u8>,
    /// How much of it is `"name":`.
    before_value: usize,
    /// Names of the maps in its value.
    pub(super) inside: Names,
}

impl Names {
    /// Of items.
    pub(super) fn of_items() -> Self {
        Self { sorted: Vec::new(), room: ROOM }
    }

    /// How many there are, and how many there may be.
    #[cfg(test)]
    pub(super) fn rooms(&self) -> (usize, usize) {
        (self.sorted.len(), self.room)
    }

    /// Keeps none.
    pub(super) fn none() -> Self {
        Self { sorted: Vec::new(), room: 0 }
    }

    /// The name that `image` goes on with, if it is one of the next behind the first `at`, and its place.
    #[inline]
    pub(super) fn find(&self, at: usize, image: &[u8]) -> Option<(usize, &Name)> {
        let ahead = self.sorted.get(at..).unwrap_or_default().iter().take(AHEAD);
        (at..).zip(ahead).find(|(_, name)| image.starts_with(&name.stored))
    }

    /// The place of a name, or of the first after it.
    pub(super) fn search(&self, name: Text<'_>) -> Result<usize, usize> {
        self.sorted.binary_search_by(|kept| kept.as_bytes().cmp(name.as_bytes()))
    }

    /// Keeps a name at this place, if there is room for it; whether there is.
    pub(super) fn keep(&mut self, at: usize, name: Text<'_>, spelling: Spelling) -> bool {
        let bytes = name.as_bytes();
        let length = u8::try_from(bytes.len()).ok().filter(|_| bytes.len() <= NAME_BYTES_MAX);
        let Some(length) = length.filter(|_| self.sorted.len() < self.room) else { return false };
        let mut before_string = Vec::new();
        text::name(name, &mut before_string);
        let before_value = before_string.len();
        text::begin_string(spelling, &mut before_string);
        let name = Name {
            stored: [&[length], bytes].concat(),
            look: name.look(),
            before_string,
            before_value,
            inside: Self { sorted: Vec::new(), room: self.room / INSIDE },
        };
        self.sorted.insert(at, name);
        true
    }

    /// The name at a place.
    #[inline]
    pub(super) fn get(&mut self, at: usize) -> Option<&mut Name> {
        self.sorted.get_mut(at)
    }
}

impl Name {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.stored.get(1..).unwrap_or_default()
    }

    /// How many bytes of an image it takes.
    #[inline]
    pub(super) fn stored_bytes(&self) -> usize {
        self.stored.len()
    }

    #[inline]
    pub(super) fn look(&self) -> Look {
        self.look
    }

    /// `"name":`.
    #[inline]
    pub(super) fn before_value(&self) -> &[u8] {
        self.before_string.get(..self.before_value).unwrap_or_default()
    }

    /// What stands before the text of a string.
    #[inline]
    pub(super) fn before_string(&self) -> &[u8] {
        &self.before_string
    }
}
