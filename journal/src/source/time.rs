//! The time of a stream record, in the spellings that have been seen.
//!
//! What enters is a JSON number or text; what leaves is a second or none. Source: `ApproximateCreationDateTime`, Amazon
//! DynamoDB Streams API reference: seconds since 1970. Milliseconds and ISO text come from other programs.

use std::fmt;

use serde::Deserialize as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::attribute::cut;
use super::record::RecordError;
use crate::model::Second;

/// A time as it was spelled: a number, or text.
#[derive(Debug)]
pub(super) enum Time {
    Number(f64),
    Text(String),
}

impl Time {
    /// The second; none for 0, which is how programs write a time that they were not given.
    pub(super) fn second(self) -> Result<Option<Second>, RecordError> {
        let (number, text) = match self {
            Self::Number(number) => (Some(number), None),
            Self::Text(text) => (text.parse::<f64>().ok(), Some(text)),
        };
        let spelled = || text.clone().unwrap_or_else(|| number.unwrap_or_default().to_string());
        let found = || RecordError::Time { found: cut(&spelled()).to_owned() };
        let second = if let Some(number) = number {
            Second::from_epoch(number).map_err(|_| found())?
        } else {
            let time: jiff::Timestamp = spelled().parse().map_err(|_| found())?;
            let floor = time.as_millisecond().div_euclid(1000);
            Second::new(u64::try_from(floor).map_err(|_| found())?).map_err(|_| found())?
        };
        Ok((second != Second::MIN).then_some(second))
    }
}

/// Reads a time that may be null.
pub(super) struct OptionalTime;

impl<'de> DeserializeSeed<'de> for OptionalTime {
    type Value = Option<Time>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OptionalTime {
    type Value = Option<Time>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time as a number of seconds or as text")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Time::Number(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(u32::try_from(number).map_or_else(|_| Time::Text(number.to_string()), |n| Time::Number(f64::from(n)))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Time::Text(number.to_string())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Time::Text(text.to_owned())))
    }

    // How serde_json hands over a number whose text it keeps.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let number = serde_json::Number::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Some(Time::Text(number.to_string())))
    }
}
