//! The primitive encodings: varints, byte strings, sequence numbers. FORMAT.md, "Primitive encodings".

use super::error::Problem;
use crate::model::SequenceNumber;

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7F).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a length as a varint.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, u64::try_from(length).unwrap_or(u64::MAX));
}

/// Appends a length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// How many bytes two slices share at their beginning. Images share hundreds, so they are compared 16 at a time.
pub(crate) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    let wide = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0).take_while(|(x, y)| x == y).count() * 16;
    let (a, b) = (a.get(wide..).unwrap_or_default(), b.get(wide..).unwrap_or_default());
    wide + a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// How many bytes two slices share at their end.
pub(super) fn shared_suffix(a: &[u8], b: &[u8]) -> usize {
    let wide = a.as_rchunks::<16>().1.iter().rev().zip(b.as_rchunks::<16>().1.iter().rev());
    let wide = wide.take_while(|(x, y)| x == y).count() * 16;
    wide + a.iter().rev().skip(wide).zip(b.iter().rev().skip(wide)).take_while(|(x, y)| x == y).count()
}

/// Appends a sequence number relative to the run's first.
pub(super) fn put_sequence(out: &mut Vec<u8>, sequence: SequenceNumber, base: SequenceNumber) {
    let (value, width) = sequence.to_parts();
    let (base_value, base_width) = base.to_parts();
    let shared = shared_prefix(&value, &base_value);
    let flag = if width == base_width { 0 } else { 0x20 };
    out.push(u8::try_from(shared).unwrap_or(0) | flag);
    if flag != 0 {
        out.push(width);
    }
    out.extend_from_slice(value.get(shared..).unwrap_or_default());
}

/// Reads primitives from a slice; every read is bound-checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a> {
    bytes: &'a [u8],
    at: usize,
    part: &'static str,
}

impl<'a> Wire<'a> {
    pub(super) fn new(bytes: &'a [u8], part: &'static str) -> Self {
        Self { bytes, at: 0, part }
    }

    /// Goes on at a position that an earlier `position` gave.
    pub(super) fn at(bytes: &'a [u8], at: usize, part: &'static str) -> Self {
        Self { bytes, at, part }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    #[cold]
    pub(super) fn malformed(&self, reason: &str) -> Problem {
        Problem::Malformed {
            part: self.part,
            reason: format!("{reason} (at byte {} of {})", self.at, self.bytes.len()),
        }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Problem> {
        match self.bytes.get(self.at) {
            Some(byte) => {
                self.at += 1;
                Ok(*byte)
            }
            None => Err(self.malformed("it ends too early")),
        }
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let end = self.at.checked_add(length).ok_or_else(|| self.malformed("a length is too large"))?;
        match self.bytes.get(self.at..end) {
            Some(slice) => {
                self.at = end;
                Ok(slice)
            }
            None => Err(self.malformed("it ends too early")),
        }
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Problem> {
        // One or two bytes are nearly all of them; what they cost is a part of every record's cost.
        match self.bytes.get(self.at..) {
            Some([first, ..]) if *first < 0x80 => {
                self.at += 1;
                Ok(u64::from(*first))
            }
            Some([first, second @ 1..0x80, ..]) => {
                self.at += 2;
                Ok(u64::from(*first & 0x7F) | (u64::from(*second) << 7))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Problem> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7F);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7F);
            if shift == 63 && byte > 1 {
                return Err(self.malformed("a varint is above 64 bits"));
            }
            value |= low << shift;
            if byte < 0x80 {
                if byte == 0 {
                    return Err(self.malformed("a varint is not in its shortest form"));
                }
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(self.malformed("a varint is above 64 bits"));
            }
        }
    }

    #[inline]
    pub(super) fn length(&mut self) -> Result<usize, Problem> {
        let value = self.varint()?;
        usize::try_from(value).map_err(|_| self.malformed("a length is too large"))
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Problem> {
        let length = self.length()?;
        self.take(length)
    }

    /// Bytes that share their beginning with others: how many, then the rest.
    pub(super) fn shared_bytes(&mut self, before: &[u8]) -> Result<Vec<u8>, Problem> {
        let shared = self.length()?;
        let rest = self.bytes()?;
        let kept = before.get(..shared).ok_or_else(|| self.malformed("a key shares more than there is"))?;
        Ok([kept, rest].concat())
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Problem> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed("a text is not UTF-8"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| self.malformed("it ends too early"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| self.malformed("it ends too early"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A sequence number written whole: 17 bytes and the width.
    pub(super) fn whole_sequence(&mut self) -> Result<SequenceNumber, Problem> {
        let value: [u8; 17] = self.take(17)?.try_into().map_err(|_| self.malformed("it ends too early"))?;
        let width = self.byte()?;
        SequenceNumber::from_parts(value, width)
            .ok_or_else(|| self.malformed("a sequence number has more than 40 digits"))
    }

    /// A sequence number relative to the run's first.
    #[inline]
    pub(super) fn sequence(&mut self, base: &([u8; 17], u8)) -> Result<SequenceNumber, Problem> {
        let head = self.byte()?;
        let shared = usize::from(head & 0x1F);
        if head > 0x3F || shared > 17 {
            return Err(self.malformed("a sequence number's head has unknown bits"));
        }
        let width = if head & 0x20 == 0 { base.1 } else { self.byte()? };
        let mut value = base.0;
        let rest = self.take(17 - shared)?;
        // Three or four bytes: a call would cost more than they do.
        for (to, from) in value.iter_mut().skip(shared).zip(rest) {
            *to = *from;
        }
        Ok(SequenceNumber::from_stored_parts(value, width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<u64>(), small in 0u64..300) {
            for value in [value, small] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                let mut wire = Wire::new(&out, "test");
                prop_assert_eq!(wire.varint().unwrap(), value);
                prop_assert!(wire.is_empty());
            }
        }

        #[test]
        fn sequences_round_trip(a in "[0-9]{1,40}", b in "[0-9]{1,40}") {
            let (base, sequence) = (SequenceNumber::parse(&a).unwrap(), SequenceNumber::parse(&b).unwrap());
            let mut out = Vec::new();
            put_sequence(&mut out, sequence, base);
            prop_assert_eq!(Wire::new(&out, "test").sequence(&base.to_parts()).unwrap(), sequence);
        }

        #[test]
        fn what_two_slices_share_is_counted_from_both_ends(shared in "[ab]{0,70}", a in "[ab]{0,40}", b in "[ab]{0,40}") {
            let count = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
            let reversed = |text: &str| text.chars().rev().collect::<String>();
            let (one, two) = (format!("{shared}{a}"), format!("{shared}{b}"));
            prop_assert_eq!(shared_prefix(one.as_bytes(), two.as_bytes()), count(&one, &two));
            let (one, two) = (format!("{a}{shared}"), format!("{b}{shared}"));
            prop_assert_eq!(shared_suffix(one.as_bytes(), two.as_bytes()), count(&reversed(&one), &reversed(&two)));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let mut wire = Wire::new(&bytes, "test");
            let _ = (wire.varint(), wire.bytes(), wire.text(), wire.sequence(&([0; 17], 0)), wire.whole_sequence());
        }
    }

    #[test]
    fn long_and_padded_varints_are_refused() {
        for bytes in [vec![0x80, 0x00], vec![0xFF; 10], vec![0x80; 11]] {
            assert!(Wire::new(&bytes, "test").varint().is_err());
        }
    }
}
