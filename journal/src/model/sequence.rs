//! Sequence numbers: decimal strings of up to 40 digits, more than 128 bits hold.
//!
//! Source: `SequenceNumber` in the Amazon DynamoDB Streams API reference: a string of 21 to 40 digits. Emulators give
//! shorter ones and pad with zeros; the width is kept, because the service wants its own text back.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// Bytes of the binary form, big-endian: 10^40 needs 133 bits.
const VALUE_BYTES: usize = 17;
const DIGITS_MAX: usize = 40;
/// 10^40, the lowest value of more than 40 digits.
const VALUE_END: [u8; VALUE_BYTES] =
    [0x1D, 0x63, 0x29, 0xF1, 0xC3, 0x5C, 0xA4, 0xBF, 0xAB, 0xB9, 0xF5, 0x61, 0x00, 0x00, 0x00, 0x00, 0x00];

/// Why a text is not a sequence number.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SequenceError {
    /// Empty, longer than 40 characters, or not only digits.
    #[error("sequence number {text:?} is not a string of 1 to 40 digits")]
    Syntax {
        /// The text, cut to 64 characters.
        text: String,
    },
}

/// The position of a change in its stream. Ordered by value; the same value with fewer padding zeros comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber {
    value: [u8; VALUE_BYTES],
    width: u8,
}

impl SequenceNumber {
    /// The lowest sequence number.
    pub const MIN: Self = Self { value: [0; VALUE_BYTES], width: 0 };
    /// Above every sequence number that a service gives.
    pub const MAX: Self = Self { value: [u8::MAX; VALUE_BYTES], width: u8::MAX };

    /// Reads a decimal string of 1 to 40 digits; zeros in front are remembered.
    ///
    /// # Errors
    /// When the text is empty, longer than 40 characters or has anything but ASCII digits.
    pub fn parse(text: &str) -> Result<Self, SequenceError> {
        let syntax = || SequenceError::Syntax { text: text.chars().take(64).collect() };
        if text.is_empty() || text.len() > DIGITS_MAX || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(syntax());
        }
        // 19 digits fit 64 bits, so no step needs a check; the sum is put together bytewise.
        let digits = |text: &[u8]| text.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let (high_text, low_text) = text.as_bytes().split_at(text.len().saturating_sub(19));
        let (top_text, high_text) = high_text.split_at(high_text.len().saturating_sub(19));
        let low = u128::from(digits(low_text));
        let high = u128::from(digits(top_text)) * 10_000_000_000_000_000_000 + u128::from(digits(high_text));
        // high < 10^21 < 2^70 and 10^19 < 2^64, so the product has at most 134 bits: split it once more.
        let scale: u128 = 10_000_000_000_000_000_000;
        let mask = u128::from(u64::MAX);
        let low_part = (high & mask) * scale + low;
        let high_part = (high >> 64) * scale + (low_part >> 64);
        let mut value = [0u8; VALUE_BYTES];
        let (front, back) = value.split_at_mut(9);
        let high_bytes = high_part.to_be_bytes();
        for (to, from) in front.iter_mut().zip(high_bytes.iter().skip(7)) {
            *to = *from;
        }
        for (to, from) in back.iter_mut().zip((low_part & mask).to_be_bytes().iter().skip(8)) {
            *to = *from;
        }
        let width =
            if text.len() > 1 && text.starts_with('0') { u8::try_from(text.len()).map_err(|_| syntax())? } else { 0 };
        Ok(Self { value, width })
    }

    /// The highest sequence number of the same value: what "up to and including" compares with.
    #[must_use]
    pub fn through(self) -> Self {
        Self { value: self.value, width: u8::MAX }
    }

    /// Compares the values alone.
    #[must_use]
    pub fn cmp_value(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }

    /// The value in 17 big-endian bytes, and the width it is padded to with zeros (0: not padded).
    #[must_use]
    pub fn to_parts(self) -> ([u8; 17], u8) {
        (self.value, self.width)
    }

    /// Puts together what `to_parts` gave. `None` when it is no sequence number of at most 40 digits.
    #[must_use]
    pub fn from_parts(value: [u8; 17], width: u8) -> Option<Self> {
        let sequence = Self { value, width };
        // The service's own have no padding: no need to spell each of a run's.
        if width == 0 {
            return (value < VALUE_END).then_some(sequence);
        }
        let digits = sequence.digits();
        let significant = digits.trim_start_matches('0').len();
        let sound = significant <= DIGITS_MAX
            && usize::from(width) <= DIGITS_MAX
            && (width == 0 || usize::from(width) > significant || significant == 0);
        sound.then_some(sequence)
    }

    /// Puts together parts whose bytes a checksum vouches for; a value that no service gives stays what it is.
    #[must_use]
    #[inline]
    pub(crate) fn from_stored_parts(value: [u8; VALUE_BYTES], width: u8) -> Self {
        Self { value, width }
    }

    /// Digits without padding; "0" for zero.
    fn digits(&self) -> String {
        // Long division of the 136-bit value by 10^19, 32 bits at a time, three times at most.
        let mut value = self.value;
        let mut groups = Vec::with_capacity(3);
        while value.iter().any(|b| *b != 0) {
            let mut remainder: u128 = 0;
            for byte in &mut value {
                let current = (remainder << 8) | u128::from(*byte);
                *byte = u8::try_from(current / 10_000_000_000_000_000_000).unwrap_or(u8::MAX);
                remainder = current % 10_000_000_000_000_000_000;
            }
            groups.push(remainder);
        }
        let mut text = String::with_capacity(DIGITS_MAX);
        for (at, group) in groups.iter().rev().enumerate() {
            use fmt::Write as _;
            let _ = if at == 0 { write!(text, "{group}") } else { write!(text, "{group:019}") };
        }
        if text.is_empty() {
            text.push('0');
        }
        text
    }

    /// The digits padded to 40, as they stand in object keys: text order is then number order.
    #[must_use]
    pub fn to_padded(self) -> String {
        format!("{:0>40}", self.digits())
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.width == u8::MAX { 0 } else { usize::from(self.width) };
        write!(f, "{:0>width$}", self.digits())
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceNumber({self})")
    }
}

impl serde::Serialize for SequenceNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SequenceNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forty_nines_are_kept() {
        let text = "9".repeat(40);
        assert_eq!(SequenceNumber::parse(&text).unwrap().to_string(), text);
        assert!(SequenceNumber::parse(&"9".repeat(41)).is_err());
    }

    #[test]
    fn parts_of_more_than_forty_digits_are_refused() {
        assert_eq!(SequenceNumber::from_stored_parts(VALUE_END, 0).to_string(), format!("1{}", "0".repeat(40)));
        for width in [0, 40] {
            assert_eq!(SequenceNumber::from_parts(VALUE_END, width), None);
        }
        let (highest, width) = SequenceNumber::parse(&"9".repeat(40)).unwrap().to_parts();
        assert!(SequenceNumber::from_parts(highest, width).is_some());
    }

    #[test]
    fn padding_is_kept_and_compares_after_the_value() {
        let padded = SequenceNumber::parse("000000000000000000042").unwrap();
        assert_eq!(padded.to_string(), "000000000000000000042");
        let plain = SequenceNumber::parse("42").unwrap();
        assert!(plain < padded && padded < SequenceNumber::parse("43").unwrap());
        assert!(padded <= plain.through());
        assert_eq!(SequenceNumber::parse("0").unwrap().to_string(), "0");
        assert_eq!(SequenceNumber::parse("000").unwrap().to_string(), "000");
    }

    proptest! {
        #[test]
        fn text_and_parts_round_trip(text in "[0-9]{1,40}") {
            let sequence = SequenceNumber::parse(&text).unwrap();
            prop_assert_eq!(sequence.to_string(), text.as_str());
            let (value, width) = sequence.to_parts();
            prop_assert_eq!(SequenceNumber::from_parts(value, width), Some(sequence));
        }

        #[test]
        fn order_is_the_order_of_the_numbers(a in "[1-9][0-9]{0,39}", b in "[1-9][0-9]{0,39}") {
            let by_text = a.len().cmp(&b.len()).then_with(|| a.cmp(&b));
            prop_assert_eq!(SequenceNumber::parse(&a).unwrap().cmp(&SequenceNumber::parse(&b).unwrap()), by_text);
        }
    }
}
