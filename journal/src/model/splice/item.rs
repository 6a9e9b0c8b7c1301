//! An item's attributes one after the other, those of its key among them, for whoever wants values and not one text.

use std::borrow::Cow;

use super::image::{Along, Broken, ImageWalk};
use super::names::{Name, Names};
use super::text::{self, Text};
use super::{Spelling, SpliceError, Spliced};
use crate::model::KeyAttributes;
use crate::model::key::{KeyPart, KeyParts};

/// An attribute where it is found.
pub(super) enum Member<'m, 'a> {
    /// The attribute of the key with this number.
    Key(usize, &'m KeyPart<'a>),
    /// One of the image, and its name where that is kept; its value has not been read yet.
    Image(Text<'a>, Option<&'m mut Name>),
}

/// Gives an item's attributes to `visit`, names in the order of their bytes, which reads the value of each of the image. What is told of
/// the item then is told of its image alone, but whether all numbers are plain.
///
/// # Errors
/// When the bytes are not a key of these attributes, or not exactly one canonical image; and those of `visit`.
#[inline]
pub(super) fn members<'a, E: From<SpliceError>>(
    keys: &KeyAttributes,
    (key, image): (&'a [u8], &'a [u8]),
    (spelling, names): (Spelling, &mut Names),
    mut visit: impl FnMut(Member<'_, 'a>, &mut ImageWalk<'a>) -> Result<(), E>,
) -> Result<Spliced, E> {
    let broken = |broken: Broken| SpliceError::Image(broken.of_image());
    let parts = KeyParts::of(key, keys).map_err(SpliceError::Key)?;
    let mut own = keys.as_slice().iter().zip(parts.iter()).enumerate().peekable();
    let mut walk = ImageWalk::new(image, spelling).map_err(SpliceError::Image)?;
    walk.seen.plain_numbers = parts.iter().all(KeyPart::is_plain);
    let mut along = Along::default();
    for _ in 0..walk.length().map_err(broken)? {
        let bytes = walk.seen.bytes;
        let (name, place) = walk.name(names, &mut along).map_err(broken)?;
        let name_bytes = walk.seen.bytes - bytes;
        let mut shadowed = None;
        while let Some((at, (attribute, part))) =
            own.next_if(|(_, (attribute, _))| attribute.name.as_bytes() <= name.as_bytes())
        {
            if attribute.name.as_bytes() == name.as_bytes() {
                shadowed = Some((at, part));
            } else {
                visit(Member::Key(at, part), &mut walk)?;
            }
        }
        match shadowed {
            None => visit(Member::Image(name, place.and_then(|place| names.get(place))), &mut walk)?,
            // The key's own value stands for an attribute of its name: attributes of the key before it have been visited, and count.
            Some((at, part)) => {
                let counted = walk.seen.bytes - name_bytes;
                walk.value(1, &mut Names::none(), &mut Vec::new()).map_err(broken)?;
                walk.seen.bytes = counted;
                visit(Member::Key(at, part), &mut walk)?;
            }
        }
    }
    walk.end().map_err(broken)?;
    for (at, (_, part)) in own {
        visit(Member::Key(at, part), &mut walk)?;
    }
    Ok(walk.seen)
}

/// Gives the attributes of the item of this encoded key and canonical image to `visit`, names in the order of their bytes. The bytes are
/// checked as decoding checks them, what `visit` leaves unread too. Gives whether every number has its plain form: then hashes of the
/// bytes are those of the values.
///
/// # Errors
/// When the bytes are not a key of these attributes, or not exactly one canonical image; and those of `visit`.
pub fn walk_item<E: From<SpliceError>>(
    keys: &KeyAttributes,
    key: &[u8],
    image: &[u8],
    mut visit: impl FnMut(&str, &mut WalkedValue<'_, '_>) -> Result<(), E>,
) -> Result<bool, E> {
    let broken = |broken: Broken| SpliceError::Image(broken.of_image());
    let mut unread = Vec::new();
    let seen = members(keys, (key, image), (Spelling::Plain, &mut Names::none()), |member, walk| match member {
        Member::Key(at, part) => {
            let name = keys.as_slice().get(at).map_or("", |attribute| attribute.name.as_str());
            visit(name, &mut WalkedValue::of_key(part))
        }
        Member::Image(name, _) => {
            let name = std::str::from_utf8(name.as_bytes()).unwrap_or_default();
            let mut value = walk.walked().map_err(broken)?;
            visit(name, &mut value)?;
            Ok(value.finish(&mut unread)?)
        }
    })?;
    Ok(seen.plain_numbers)
}

/// A value of an item that is walked.
#[derive(Debug)]
pub enum WalkedValue<'w, 'a> {
    /// A string.
    S(&'w str),
    /// A number.
    N(WalkedNumber<'w>),
    /// Bytes.
    B(&'w [u8]),
    /// A boolean.
    Bool(bool),
    /// NULL.
    Null,
    /// A set, a map or a list.
    Nested(Nested<'w, 'a>),
}

/// A number as it is written.
#[derive(Debug)]
pub struct WalkedNumber<'w> {
    pub(super) written: &'w str,
    pub(super) plain: Option<Cow<'w, str>>,
}

impl WalkedNumber<'_> {
    /// Its text as the stream gave it.
    #[must_use]
    pub fn as_written(&self) -> &str {
        self.written
    }

    /// Its plain form.
    #[must_use]
    pub fn to_plain(&self) -> &str {
        self.plain.as_deref().unwrap_or(self.written)
    }
}

/// What a nested value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NestedType {
    /// A set of strings.
    Ss,
    /// A set of numbers.
    Ns,
    /// A set of byte strings.
    Bs,
    /// A map.
    M,
    /// A list.
    L,
}

/// A set, a map or a list of an item that is walked.
#[derive(Debug)]
pub struct Nested<'w, 'a> {
    pub(super) kind: NestedType,
    pub(super) walk: &'w mut ImageWalk<'a>,
    /// Where it begins, once it has been read to its end.
    pub(super) read: Option<ImageWalk<'a>>,
}

impl Nested<'_, '_> {
    /// What it is.
    #[must_use]
    pub fn nested_type(&self) -> NestedType {
        self.kind
    }

    /// Appends it to `out` as JSON in this spelling. Gives whether there is neither a set nor a binary value in it.
    ///
    /// # Errors
    /// When its bytes are not canonical.
    pub fn json(&mut self, spelling: Spelling, out: &mut Vec<u8>) -> Result<bool, SpliceError> {
        let write = |walk: &mut ImageWalk<'_>, out: &mut Vec<u8>| {
            let before = std::mem::replace(&mut walk.spelling, spelling);
            walk.has_sets_or_bytes = false;
            let written =
                walk.value(1, &mut Names::none(), out).map_err(|broken| SpliceError::Image(broken.of_image()));
            walk.spelling = before;
            written.map(|()| !walk.has_sets_or_bytes)
        };
        if let Some(begin) = &self.read {
            return write(&mut begin.clone(), out);
        }
        self.read = Some(self.walk.clone());
        write(self.walk, out)
    }
}

impl<'w> WalkedValue<'w, '_> {
    fn of_key(part: &'w KeyPart<'_>) -> Self {
        match part {
            KeyPart::S(text) => Self::S(text),
            KeyPart::B(bytes) => Self::B(bytes),
            KeyPart::N { written, plain } => {
                Self::N(WalkedNumber { written, plain: plain.as_deref().map(Cow::Borrowed) })
            }
        }
    }

    /// Appends it to `out` as JSON in this spelling.
    ///
    /// # Errors
    /// When its bytes are not canonical.
    pub fn json(&mut self, spelling: Spelling, out: &mut Vec<u8>) -> Result<(), SpliceError> {
        match self {
            Self::S(value) => text::string(spelling, Text::of(value), out),
            Self::N(number) => text::number(spelling, number.written, number.plain.as_deref(), out),
            Self::B(value) => text::bytes(spelling, value, out),
            Self::Bool(value) => text::truth(spelling, *value, out),
            Self::Null => text::null(spelling, out),
            Self::Nested(nested) => {
                nested.json(spelling, out)?;
            }
        }
        Ok(())
    }

    /// Reads what was left unread.
    fn finish(&mut self, unread: &mut Vec<u8>) -> Result<(), SpliceError> {
        match self {
            Self::Nested(nested) if nested.read.is_none() => {
                unread.clear();
                nested.json(Spelling::Plain, unread).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Appends `"name":` to `out`.
pub fn name_json(name: &str, out: &mut Vec<u8>) {
    text::name(Text::of(name), out);
}
