//! DynamoDB numbers: checked decimal text, kept exactly as the service gave it.
//!
//! Source: "Supported data types and naming rules" in the Amazon DynamoDB Developer Guide: up to 38 significant
//! digits, magnitudes from 1E-130 to 9.9999999999999999999999999999999999999E+125.

use std::fmt;

use thiserror::Error;

const DIGITS_MAX: usize = 38;
const TEXT_BYTES_MAX: usize = 300;
/// Bounds of the exponent `e` in `0.d₁d₂… × 10^e`.
const EXPONENT_MIN: i32 = -129;
const EXPONENT_MAX: i32 = 126;

/// Why a text is not a DynamoDB number.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NumberError {
    /// Not decimal text.
    #[error("number {text:?} is not decimal text")]
    Syntax {
        /// The text, cut to 64 characters.
        text: String,
    },
    /// More than 38 significant digits.
    #[error("number has {found} significant digits, at most 38 are allowed")]
    Precision {
        /// Significant digits found.
        found: usize,
    },
    /// Outside the magnitudes that DynamoDB stores.
    #[error("number {text:?} is outside the magnitudes from 1E-130 to 9.99E+125")]
    Magnitude {
        /// The text, cut to 64 characters.
        text: String,
    },
}

/// A DynamoDB number. The text is kept exactly; equality and order are those of the text, not of the value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(String);

/// The value of a number as sign, digits without zeros at either end, and exponent: `±0.digits × 10^exponent`.
pub(super) struct Decimal {
    pub(super) negative: bool,
    /// ASCII digits; empty for zero.
    pub(super) digits: Vec<u8>,
    pub(super) exponent: i32,
}

impl Number {
    /// Checks `text` and keeps it as it is.
    ///
    /// # Errors
    /// When the text is not a decimal number, has more than 38 significant digits, or a magnitude that DynamoDB
    /// does not store.
    pub fn parse(text: impl Into<String>) -> Result<Self, NumberError> {
        let text = text.into();
        Decimal::parse(&text)?;
        Ok(Self(text))
    }

    /// The text as the service gave it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number written plainly: no exponent, no plus sign, no zeros that change nothing. This is how DynamoDB
    /// itself returns numbers, so equal values have equal plain text.
    #[must_use]
    pub fn to_plain(&self) -> Self {
        Decimal::parse(&self.0).map_or_else(|_| self.clone(), |decimal| Self(decimal.to_plain()))
    }

    /// Compares by value, as DynamoDB's comparison operators do.
    #[must_use]
    pub fn cmp_value(&self, other: &Self) -> std::cmp::Ordering {
        match (Decimal::parse(&self.0), Decimal::parse(&other.0)) {
            (Ok(a), Ok(b)) => a.ordered().cmp(&b.ordered()),
            _ => self.0.cmp(&other.0),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The plain form of a number's text where it is another text; none says that the text is plain.
///
/// # Errors
/// As [`Number::parse`].
pub(super) fn other_plain_form(text: &str) -> Result<Option<String>, NumberError> {
    if is_plain_at_a_glance(text.as_bytes()) {
        return Ok(None);
    }
    let plain = Decimal::parse(text)?.to_plain();
    Ok((plain != text).then_some(plain))
}

/// Whether a text is a number in its plain form, by its look alone; not every plain form is seen.
fn is_plain_at_a_glance(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let integer = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match (integer, digits.first()) {
        (1, Some(b'0')) if digits.len() == 1 => return digits.len() == text.len(),
        (0, _) | (2.., Some(b'0')) => return false,
        _ => {}
    }
    let Some((point, fraction)) = digits.get(integer..).and_then(<[u8]>::split_first) else {
        return integer <= DIGITS_MAX;
    };
    *point == b'.'
        && integer + fraction.len() <= DIGITS_MAX
        && fraction.iter().all(u8::is_ascii_digit)
        && fraction.last().is_some_and(|last| *last != b'0')
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

impl Decimal {
    pub(super) fn parse(text: &str) -> Result<Self, NumberError> {
        let syntax = || NumberError::Syntax { text: cut(text) };
        if text.len() > TEXT_BYTES_MAX {
            return Err(syntax());
        }
        let (negative, rest) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] | rest => (false, rest),
        };
        let (mantissa, exponent) = match rest.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => {
                let (mantissa, tail) = rest.split_at(at);
                let exponent = tail.get(1..).and_then(|t| std::str::from_utf8(t).ok()).ok_or_else(syntax)?;
                if exponent.len() > 6 {
                    return Err(syntax());
                }
                (mantissa, exponent.parse::<i32>().map_err(|_| syntax())?)
            }
            None => (rest, 0),
        };
        let mut digits = Vec::with_capacity(mantissa.len());
        let mut point: Option<usize> = None;
        for &byte in mantissa {
            match byte {
                b'0'..=b'9' => digits.push(byte),
                b'.' if point.is_none() => point = Some(digits.len()),
                _ => return Err(syntax()),
            }
        }
        if digits.is_empty() {
            return Err(syntax());
        }
        let integer_digits = i32::try_from(point.unwrap_or(digits.len())).map_err(|_| syntax())?;
        let leading = digits.iter().take_while(|d| **d == b'0').count();
        digits.drain(..leading);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Ok(Self { negative: false, digits, exponent: 0 });
        }
        if digits.len() > DIGITS_MAX {
            return Err(NumberError::Precision { found: digits.len() });
        }
        let exponent = exponent + integer_digits - i32::try_from(leading).map_err(|_| syntax())?;
        if !(EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent) {
            return Err(NumberError::Magnitude { text: cut(text) });
        }
        Ok(Self { negative, digits, exponent })
    }

    pub(super) fn to_plain(&self) -> String {
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        let mut text = String::with_capacity(self.digits.len() + 8);
        if self.negative {
            text.push('-');
        }
        let digits = self.digits.iter().map(|d| char::from(*d));
        match usize::try_from(self.exponent) {
            Ok(integer) if integer > 0 => {
                for at in 0..integer.max(self.digits.len()) {
                    if at == integer {
                        text.push('.');
                    }
                    text.push(self.digits.get(at).map_or('0', |d| char::from(*d)));
                }
            }
            _ => {
                text.push_str("0.");
                text.extend(std::iter::repeat_n('0', usize::try_from(-self.exponent).unwrap_or(0)));
                text.extend(digits);
            }
        }
        text
    }

    /// Bytes that compare as the values do; see FORMAT.md, "Keys".
    pub(super) fn ordered(&self) -> Vec<u8> {
        if self.digits.is_empty() {
            return vec![0x80];
        }
        let mut bytes = Vec::with_capacity(self.digits.len() / 2 + 4);
        bytes.push(u8::try_from(self.exponent - EXPONENT_MIN).unwrap_or(u8::MAX));
        for pair in self.digits.chunks(2) {
            let high = pair.first().map_or(0, |d| d - b'0');
            let low = pair.get(1).map_or(0, |d| d - b'0');
            bytes.push(high * 10 + low + 1);
        }
        bytes.push(0);
        let sign = if self.negative {
            for byte in &mut bytes {
                *byte = 255 - *byte;
            }
            0x40
        } else {
            0xC0
        };
        bytes.insert(0, sign);
        bytes
    }

    /// Reads what `ordered` wrote and says how many bytes it took.
    pub(super) fn from_ordered(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&sign, rest) = bytes.split_first()?;
        let flip = match sign {
            0x80 => return Some((Self { negative: false, digits: Vec::new(), exponent: 0 }, 1)),
            0xC0 => 0u8,
            0x40 => 255u8,
            _ => return None,
        };
        let (&exponent, rest) = rest.split_first()?;
        let mut digits = Vec::new();
        for (taken, &byte) in (3usize..).zip(rest) {
            let byte = byte ^ flip;
            if byte == 0 {
                if digits.last() == Some(&b'0') {
                    digits.pop();
                }
                let sound = !digits.is_empty()
                    && digits.len() <= DIGITS_MAX
                    && digits.first() != Some(&b'0')
                    && digits.last() != Some(&b'0');
                return sound.then(|| {
                    let exponent = i32::from(exponent ^ flip) + EXPONENT_MIN;
                    (Self { negative: flip == 255, digits, exponent }, taken)
                });
            }
            if byte > 100 {
                return None;
            }
            digits.push(b'0' + (byte - 1) / 10);
            digits.push(b'0' + (byte - 1) % 10);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_glance_sees_what_parsing_finds(text in "[-+]?[01][0-9]{0,3}([.][0-9]{0,4})?([eE]-?[0-9]{1,3})?|[-0-9.]{0,45}") {
            let parsed = Number::parse(text.as_str()).map(|number| number.to_plain());
            let found = other_plain_form(&text);
            match parsed {
                Ok(plain) => prop_assert_eq!(found.unwrap().unwrap_or(text), plain.as_str()),
                Err(error) => prop_assert_eq!(found, Err(error)),
            }
        }
    }

    #[test]
    fn thirty_eight_digits_are_kept_and_thirty_nine_refused() {
        let text = "12345678901234567890123456789012345678";
        assert_eq!(Number::parse(text).unwrap().as_str(), text);
        assert_eq!(Number::parse(format!("{text}9")), Err(NumberError::Precision { found: 39 }));
        assert!(Number::parse(format!("{text}000")).is_ok());
    }

    #[test]
    fn magnitudes_are_those_of_dynamodb() {
        for good in
            ["1E-130", "9.9999999999999999999999999999999999999E+125", "-1e-130", "0", "-0", "0E999", "+5", ".5", "5."]
        {
            assert!(Number::parse(good).is_ok(), "{good}");
        }
        for bad in ["1E-131", "1E+126", "", "-", "1e", "1.2.3", "0x1", "NaN", "Infinity", " 1", "1 "] {
            assert!(Number::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ordered_bytes_sort_as_values_and_read_back() {
        let texts = [
            "-9E125", "-100", "-12.5", "-12", "-1.5", "-1", "-0.5", "-1E-130", "0", "1E-130", "0.001", "0.01", "0.1",
            "0.11", "1", "1.01", "1.1", "2", "9", "10", "11", "99", "100", "101", "1000", "9E125",
        ];
        let ordered: Vec<Vec<u8>> = texts.iter().map(|t| Decimal::parse(t).unwrap().ordered()).collect();
        for (pair, names) in ordered.windows(2).zip(texts.windows(2)) {
            assert!(pair[0] < pair[1], "{names:?}");
        }
        for (bytes, text) in ordered.iter().zip(texts) {
            let (back, taken) = Decimal::from_ordered(bytes).unwrap();
            assert_eq!(taken, bytes.len());
            assert_eq!(back.to_plain(), Decimal::parse(text).unwrap().to_plain());
        }
    }

    #[test]
    fn plain_text_has_no_exponent_and_no_idle_zeros() {
        for (text, plain) in
            [("1E2", "100"), ("0100.500", "100.5"), ("-1e-3", "-0.001"), ("-0.0", "0"), ("12.34E1", "123.4")]
        {
            assert_eq!(Number::parse(text).unwrap().to_plain().as_str(), plain);
        }
    }
}
