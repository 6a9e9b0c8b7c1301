//! Walks a canonical image value by value and writes each as JSON. FORMAT.md, "Images".

use std::borrow::Cow;

use super::super::number::other_plain_form;
use super::super::{IMAGE_BYTES_MAX, ImageError, NESTING_MAX, size};
use super::item::{Nested, NestedType, WalkedNumber, WalkedValue};
use super::names::{Name, Names};
use super::text::Text;
use super::{Spelling, Spliced, close, text};

/// What is wrong with an image's bytes.
pub(super) struct Broken(&'static str);

impl Broken {
    pub(super) fn of_image(self) -> ImageError {
        ImageError::Malformed { reason: self.0.to_owned() }
    }
}

/// The type of a string.
const STRING: u8 = 0;

/// How far the names of a map are read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Along<'a> {
    /// The name before.
    before: Option<&'a [u8]>,
    /// How many of the names that are kept come before the next.
    kept: usize,
}

/// An image and how far it is read.
#[derive(Debug, Clone)]
pub(super) struct ImageWalk<'a> {
    rest: &'a [u8],
    pub(super) spelling: Spelling,
    /// What was seen so far.
    pub(super) seen: Spliced,
    /// Whether plain JSON has left out the type of a value that [`ImageWalk::value`] has written.
    pub(super) has_sets_or_bytes: bool,
}

impl<'a> ImageWalk<'a> {
    pub(super) fn new(image: &'a [u8], spelling: Spelling) -> Result<Self, ImageError> {
        if image.len() > IMAGE_BYTES_MAX {
            return Err(ImageError::Size { found: image.len() });
        }
        let seen = Spliced { plain_numbers: true, printable: true, bytes: 0 };
        Ok(Self { rest: image, spelling, seen, has_sets_or_bytes: false })
    }

    /// Ends it.
    pub(super) fn end(&self) -> Result<(), Broken> {
        if self.rest.is_empty() { Ok(()) } else { Err(Broken("bytes follow its end")) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Broken("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A little-endian number of `N` bytes.
    fn wide<const N: usize>(&mut self) -> Result<u64, Broken> {
        let bytes = self.take(N)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Broken> {
        match self.rest.split_first() {
            Some((first @ 0..=250, rest)) => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            Some((first, rest)) => {
                self.rest = rest;
                match first {
                    251 => self.wide::<2>(),
                    252 => self.wide::<4>(),
                    253 => self.wide::<8>(),
                    _ => Err(Broken("a number of an unknown width")),
                }
            }
            None => Err(Broken("it ends too early")),
        }
    }

    /// A length or a count.
    #[inline]
    pub(super) fn length(&mut self) -> Result<usize, Broken> {
        usize::try_from(self.varint()?)
            .ok()
            .filter(|length| *length <= IMAGE_BYTES_MAX)
            .ok_or(Broken("a length is larger than any image"))
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let length = self.length()?;
        self.take(length)
    }

    #[inline]
    fn text(&mut self) -> Result<Text<'a>, Broken> {
        let bytes = self.bytes()?;
        self.text_of(bytes)
    }

    #[inline]
    fn text_of(&mut self, bytes: &'a [u8]) -> Result<Text<'a>, Broken> {
        Ok(self.see(Text::check(bytes).ok_or(Broken("a text is not UTF-8"))?))
    }

    #[inline]
    fn see(&mut self, text: Text<'a>) -> Text<'a> {
        self.seen.printable &= text.is_printable();
        self.seen.bytes += text.as_bytes().len();
        text
    }

    /// The next name of a map, which comes after the one before it; and its place among `names`, if it is kept there.
    #[inline]
    pub(super) fn name(
        &mut self,
        names: &mut Names,
        along: &mut Along<'a>,
    ) -> Result<(Text<'a>, Option<usize>), Broken> {
        let Some((place, kept)) = names.find(along.kept, self.rest) else { return self.other_name(names, along) };
        let bytes = self.take(kept.stored_bytes())?.get(1..).unwrap_or_default();
        let name = self.see(Text::again(bytes, kept.look()));
        *along = Along { before: Some(bytes), kept: place + 1 };
        Ok((name, Some(place)))
    }

    /// A name that is not among the next that are kept: it is looked at, and kept if there is room.
    fn other_name(&mut self, names: &mut Names, along: &mut Along<'a>) -> Result<(Text<'a>, Option<usize>), Broken> {
        let name = self.text()?;
        if along.before.is_some_and(|before| before >= name.as_bytes()) {
            return Err(Broken("attribute names are not in order"));
        }
        let (place, is_kept) = match names.search(name) {
            Ok(place) => (place, true),
            Err(place) => (place, names.keep(place, name, self.spelling)),
        };
        *along = Along { before: Some(name.as_bytes()), kept: place + usize::from(is_kept) };
        Ok((name, is_kept.then_some(place)))
    }

    fn tag(&mut self) -> Result<u64, Broken> {
        if self.rest.first() == Some(&253) {
            return Err(Broken("an attribute has an unknown type"));
        }
        self.varint()
    }

    /// `"name":`, the value that follows the name, at this level of nesting, and a comma.
    #[inline]
    pub(super) fn member(
        &mut self,
        level: usize,
        name: Text<'_>,
        kept: Option<&mut Name>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        match (kept, self.rest.split_first()) {
            (Some(kept), Some((&STRING, rest))) if level <= NESTING_MAX => {
                self.rest = rest;
                let text = self.text()?;
                out.extend_from_slice(kept.before_string());
                text.escaped(out);
                text::end_string_member(self.spelling, out);
                return Ok(());
            }
            (Some(kept), _) => {
                out.extend_from_slice(kept.before_value());
                self.value(level, &mut kept.inside, out)?;
            }
            (None, _) => {
                text::name(name, out);
                self.value(level, &mut Names::none(), out)?;
            }
        }
        out.push(b',');
        Ok(())
    }

    /// A value at this level of nesting; the first has the number 1. `names` are those of maps in it.
    pub(super) fn value(&mut self, level: usize, names: &mut Names, out: &mut Vec<u8>) -> Result<(), Broken> {
        if level > NESTING_MAX {
            return Err(Broken("nested deeper than 32 levels"));
        }
        let spelling = self.spelling;
        match self.tag()? {
            0 => text::string(spelling, self.text()?, out),
            1 => self.number(|written, plain| text::number(spelling, written, plain, out))?,
            2 => {
                let bytes = self.binary()?;
                text::bytes(spelling, bytes, out);
            }
            3 => self.set(b"{\"SS\":[", out, |walk, member, out| {
                walk.text_of(member)?.quoted(out);
                Ok(())
            })?,
            4 => self.set(b"{\"NS\":[", out, |walk, member, out| {
                walk.written(member, |written, plain| match spelling {
                    Spelling::DynamoDb => text::digits(written, out),
                    Spelling::Plain => out.extend_from_slice(plain.unwrap_or(written).as_bytes()),
                })
            })?,
            5 => self.set(b"{\"BS\":[", out, |walk, member, out| {
                walk.seen.bytes += member.len();
                text::base64(member, out);
                Ok(())
            })?,
            6 => self.map(level, names, out)?,
            7 => self.list(level, names, out)?,
            8 => {
                self.seen.bytes += size::FLAG;
                text::null(spelling, out);
            }
            9 => text::truth(spelling, self.truth()?, out),
            _ => return Err(Broken("an attribute has an unknown type")),
        }
        Ok(())
    }

    /// The value of an attribute of the item itself; one that is nested is left where it is.
    pub(super) fn walked(&mut self) -> Result<WalkedValue<'_, 'a>, Broken> {
        let begin = self.rest;
        let kind = match self.tag()? {
            0 => {
                let bytes = self.bytes()?;
                self.seen.bytes += bytes.len();
                return std::str::from_utf8(bytes).map(WalkedValue::S).map_err(|_| Broken("a text is not UTF-8"));
            }
            1 => {
                let bytes = self.bytes()?;
                let (written, plain) = self.number_of(bytes)?;
                return Ok(WalkedValue::N(WalkedNumber { written, plain: plain.map(Cow::Owned) }));
            }
            2 => return self.binary().map(WalkedValue::B),
            3 => NestedType::Ss,
            4 => NestedType::Ns,
            5 => NestedType::Bs,
            6 => NestedType::M,
            7 => NestedType::L,
            8 => {
                self.seen.bytes += size::FLAG;
                return Ok(WalkedValue::Null);
            }
            9 => return self.truth().map(WalkedValue::Bool),
            _ => return Err(Broken("an attribute has an unknown type")),
        };
        self.rest = begin;
        Ok(WalkedValue::Nested(Nested { kind, walk: self, read: None }))
    }

    fn binary(&mut self) -> Result<&'a [u8], Broken> {
        let bytes = self.bytes()?;
        self.seen.bytes += bytes.len();
        self.has_sets_or_bytes = true;
        Ok(bytes)
    }

    fn truth(&mut self) -> Result<bool, Broken> {
        self.seen.bytes += size::FLAG;
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Broken("a truth value is neither 0 nor 1")),
        }
    }

    fn number(&mut self, write: impl FnOnce(&str, Option<&str>)) -> Result<(), Broken> {
        let bytes = self.bytes()?;
        self.written(bytes, write)
    }

    /// A number's text, checked, with its plain form where that is another.
    #[inline]
    fn written(&mut self, bytes: &[u8], write: impl FnOnce(&str, Option<&str>)) -> Result<(), Broken> {
        let (written, plain) = self.number_of(bytes)?;
        write(written, plain.as_deref());
        Ok(())
    }

    #[inline]
    fn number_of<'n>(&mut self, bytes: &'n [u8]) -> Result<(&'n str, Option<String>), Broken> {
        let written = std::str::from_utf8(bytes).map_err(|_| Broken("a number is not decimal text"))?;
        let plain = other_plain_form(written).map_err(|_| Broken("a number is none that DynamoDB has"))?;
        self.seen.plain_numbers &= plain.is_none();
        self.seen.bytes += size::number(written);
        Ok((written, plain))
    }

    fn set(
        &mut self,
        head: &[u8],
        out: &mut Vec<u8>,
        mut member: impl FnMut(&mut Self, &'a [u8], &mut Vec<u8>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let count = self.length()?;
        if count == 0 {
            return Err(Broken("a set is empty"));
        }
        self.open(head, out);
        self.has_sets_or_bytes = true;
        let mut before: Option<&[u8]> = None;
        for _ in 0..count {
            let bytes = self.bytes()?;
            if before.is_some_and(|before| before >= bytes) {
                return Err(Broken("set members are not in order"));
            }
            before = Some(bytes);
            member(self, bytes, out)?;
            out.push(b',');
        }
        self.close(out, b']');
        Ok(())
    }

    fn map(&mut self, level: usize, names: &mut Names, out: &mut Vec<u8>) -> Result<(), Broken> {
        let count = self.length()?;
        self.open(b"{\"M\":{", out);
        self.seen.bytes += size::CONTAINER;
        let mut along = Along::default();
        for _ in 0..count {
            let (name, place) = self.name(names, &mut along)?;
            self.seen.bytes += size::MEMBER;
            self.member(level + 1, name, place.and_then(|place| names.get(place)), out)?;
        }
        self.close(out, b'}');
        Ok(())
    }

    fn list(&mut self, level: usize, names: &mut Names, out: &mut Vec<u8>) -> Result<(), Broken> {
        let count = self.length()?;
        self.open(b"{\"L\":[", out);
        self.seen.bytes += size::CONTAINER;
        for _ in 0..count {
            self.seen.bytes += size::MEMBER;
            self.value(level + 1, names, out)?;
            out.push(b',');
        }
        self.close(out, b']');
        Ok(())
    }

    /// Begins a container: its type and bracket, or the bracket alone.
    fn open(&self, head: &[u8], out: &mut Vec<u8>) {
        match (self.spelling, head) {
            (Spelling::Plain, [.., bracket]) => out.push(*bracket),
            _ => out.extend_from_slice(head),
        }
    }

    fn close(&self, out: &mut Vec<u8>, bracket: u8) {
        close(out, bracket);
        if self.spelling == Spelling::DynamoDb {
            out.push(b'}');
        }
    }
}
