//! Timelines: one stream of one table, named by the stream's label.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::TableName;

/// Why a text is not the ARN of a table's stream.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum StreamArnError {
    /// Not of the form `arn:…:table/NAME/stream/LABEL`.
    #[error("{text:?} is not the ARN of a table's stream (arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL)")]
    Syntax {
        /// The text, cut to 128 characters.
        text: String,
    },
    /// The label is empty, too long, or has characters that no stream label has.
    #[error("stream label {text:?} is not 1 to 64 characters of a-z, A-Z, 0-9, '_', '-', '.' and ':'")]
    Label {
        /// The text, cut to 64 characters.
        text: String,
    },
}

/// A stream's label: the last part of its ARN. On AWS it is the time of the stream's birth; emulators also use numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct TimelineLabel(String);

impl TimelineLabel {
    /// Checks `text`: 1 to 64 characters of `a-zA-Z0-9_.:-`, not dots alone, so it is safe as one part of an object key.
    ///
    /// # Errors
    /// When the length or a character is not allowed.
    pub fn parse(text: &str) -> Result<Self, StreamArnError> {
        let sound = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
            && text.bytes().any(|b| b != b'.');
        if !sound {
            return Err(StreamArnError::Label { text: text.chars().take(64).collect() });
        }
        Ok(Self(text.to_owned()))
    }

    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The time of the stream's birth in milliseconds since 1970, where the label tells it: AWS's
    /// `2020-03-29T10:00:00.123`, or a number of seconds or milliseconds.
    #[must_use]
    pub fn birth_milliseconds(&self) -> Option<u64> {
        if let Ok(number) = self.0.parse::<u64>() {
            return Some(if number >= 100_000_000_000 { number } else { number.saturating_mul(1000) });
        }
        let text = self.0.strip_suffix('Z').unwrap_or(&self.0);
        let time: jiff::civil::DateTime = text.parse().ok()?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        u64::try_from(time.timestamp().as_millisecond()).ok()
    }
}

impl fmt::Display for TimelineLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for TimelineLabel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The ARN of a table's stream: `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL`. A clone shares it: every record
/// carries one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamArn(Arc<Named>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Named {
    text: String,
    timeline: Timeline,
}

impl StreamArn {
    /// Checks `text` and takes table and label from it.
    ///
    /// # Errors
    /// When it does not have the form above, is longer than 1024 bytes, or table name or label are not sound.
    pub fn parse(text: &str) -> Result<Self, StreamArnError> {
        let syntax = || StreamArnError::Syntax { text: text.chars().take(128).collect() };
        if text.len() > 1024 || !text.starts_with("arn:") || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(syntax());
        }
        let (_, resource) = text.split_once(":table/").ok_or_else(syntax)?;
        let (table, label) = resource.split_once("/stream/").ok_or_else(syntax)?;
        let table = TableName::parse(table).map_err(|_| syntax())?;
        let label = TimelineLabel::parse(label)?;
        Ok(Self(Arc::new(Named { text: text.to_owned(), timeline: Timeline { table, label } })))
    }

    /// The whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Table and label.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.0.timeline
    }
}

impl fmt::Display for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for StreamArn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for StreamArn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// One stream of one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline {
    /// The table.
    pub table: TableName,
    /// The stream's label.
    pub label: TimelineLabel,
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_table_and_label() {
        let arn =
            StreamArn::parse("arn:aws:dynamodb:eu-west-1:000000000000:table/notes/stream/2020-03-29T00:00:00.000")
                .unwrap();
        assert_eq!(arn.timeline().to_string(), "notes/2020-03-29T00:00:00.000");
        assert_eq!(arn.timeline().label.birth_milliseconds(), Some(1_585_440_000_000));
        for bad in [
            "",
            "arn:aws:s3:::x",
            "arn:x:table/notes",
            "arn:x:table/notes/stream/",
            "arn:x:table/notes/stream/../..",
            "arn:x:table/notes/stream/..",
        ] {
            assert!(StreamArn::parse(bad).is_err(), "{bad}");
        }
    }
}
