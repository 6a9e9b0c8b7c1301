//! Whole seconds since 1970, the resolution of stream time.

use std::fmt;

use thiserror::Error;

/// Why a number or text is not a second.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SecondError {
    /// Outside the years 1970 to 9999.
    #[error("time {found} is outside the years 1970 to 9999")]
    Range {
        /// What was found, in seconds or as text.
        found: String,
    },
}

/// A second since 1970-01-01T00:00:00Z, at most 9999-12-31T23:59:59Z. DynamoDB rounds stream times down to it
/// (`ApproximateCreationDateTime`, Amazon DynamoDB Streams API reference).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Second(u64);

impl Second {
    /// The first second.
    pub const MIN: Self = Self(0);
    /// The last second of the year 9999.
    pub const MAX: Self = Self(253_402_300_799);

    /// A second from its number.
    ///
    /// # Errors
    /// When it lies after the year 9999.
    #[inline]
    pub fn new(seconds: u64) -> Result<Self, SecondError> {
        if seconds > Self::MAX.0 {
            return Err(SecondError::Range { found: seconds.to_string() });
        }
        Ok(Self(seconds))
    }

    /// A second from an epoch number that may be in seconds or, as has been seen, in milliseconds: numbers of 10^11
    /// and above (the year 5138 in seconds, 1973 in milliseconds) are taken as milliseconds.
    ///
    /// # Errors
    /// When the number is negative, not finite, or after the year 9999.
    pub fn from_epoch(number: f64) -> Result<Self, SecondError> {
        let range = || SecondError::Range { found: number.to_string() };
        if !number.is_finite() || number < 0.0 {
            return Err(range());
        }
        let seconds = if number >= 1e11 { number / 1000.0 } else { number }.floor();
        // The text of a floored float is a plain integer; no `as` cast that could saturate unseen.
        let seconds: u64 = format!("{seconds:.0}").parse().map_err(|_| range())?;
        Self::new(seconds).map_err(|_| range())
    }

    /// The number of seconds since 1970.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The second before, or the first one.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// RFC 3339 text in UTC, as in `2020-03-29T10:00:00Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        i64::try_from(self.0)
            .ok()
            .and_then(|s| jiff::Timestamp::from_second(s).ok())
            .map_or_else(|| self.0.to_string(), |t| t.to_string())
    }

    /// The date in UTC, as in `2020-03-29`.
    #[must_use]
    pub fn to_date(self) -> String {
        self.to_rfc3339().chars().take(10).collect()
    }
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl<'de> serde::Deserialize<'de> for Second {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = u64::deserialize(deserializer)?;
        Self::new(seconds).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_told_by_their_magnitude() {
        assert_eq!(Second::from_epoch(1_585_000_000.9).unwrap().get(), 1_585_000_000);
        assert_eq!(Second::from_epoch(1_585_000_000_999.0).unwrap().get(), 1_585_000_000);
        for bad in [f64::NAN, -1.0, f64::INFINITY, 1e300] {
            assert!(Second::from_epoch(bad).is_err());
        }
    }

    #[test]
    fn text_is_rfc_3339() {
        let second = Second::new(1_585_476_000).unwrap();
        assert_eq!(second.to_string(), "2020-03-29T10:00:00Z");
        assert_eq!(second.to_date(), "2020-03-29");
    }
}
