//! The event as the trigger takes it: decoded record by record while it is read, never copied as a whole.
//!
//! What enters is the payload; what leaves is a batch of change records in canonical form and, for what is not understood,
//! the record's own bytes with the reason. A payload that is JSON and no event is kept as such, so that the handler can say
//! so; only what is not JSON at all is refused by the runtime.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::TriggerError;
use crate::append::Batch;
use crate::source::event;

/// An event, or why the payload is none.
#[derive(Debug, Clone)]
pub struct StreamEvent(Result<Batch, String>);

impl StreamEvent {
    /// Its records.
    ///
    /// # Errors
    /// When the payload is not an event of a stream.
    pub fn into_batch(self) -> Result<Batch, TriggerError> {
        self.0.map_err(|reason| TriggerError::NotAnEvent { reason })
    }
}

impl<'de> Deserialize<'de> for StreamEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventVisitor)
    }
}

struct EventVisitor;

impl EventVisitor {
    fn none(found: &str) -> StreamEvent {
        StreamEvent(Err(format!("it is {found}, not an object with Records")))
    }
}

impl<'de> Visitor<'de> for EventVisitor {
    type Value = StreamEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StreamEvent, A::Error> {
        let mut found: Option<Result<Batch, String>> = None;
        let mut names = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            // How serde_json gives a number whose digits are kept.
            if name == "$serde_json::private::Number" {
                map.next_value::<String>()?;
                return Ok(Self::none("a number"));
            }
            if name != "Records" {
                map.next_value::<IgnoredAny>()?;
                if names.len() < 5 {
                    names.push(name.chars().take(40).collect::<String>());
                }
                continue;
            }
            if found.is_some() {
                return Err(A::Error::duplicate_field("Records"));
            }
            found = Some(map.next_value_seed(Records)?);
        }
        Ok(StreamEvent(found.unwrap_or_else(|| Err(format!("it has no Records, but {names:?}")))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StreamEvent, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::none("a list"))
    }

    fn visit_str<E>(self, _: &str) -> Result<StreamEvent, E> {
        Ok(Self::none("a text"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<StreamEvent, E> {
        Ok(Self::none("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<StreamEvent, E> {
        Ok(Self::none("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<StreamEvent, E> {
        Ok(Self::none("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<StreamEvent, E> {
        Ok(Self::none("a number"))
    }

    fn visit_unit<E>(self) -> Result<StreamEvent, E> {
        Ok(Self::none("null"))
    }
}

/// The value of `Records`.
struct Records;

impl<'de> DeserializeSeed<'de> for Records {
    type Value = Result<Batch, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Result<Batch, String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records as Records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut batch = Batch::default();
                while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                    event::push(&mut batch, raw.get().as_bytes(), None);
                }
                Ok(Ok(batch))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Err("its Records is null".to_owned()))
            }
        }

        deserializer.deserialize_any(ListVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::event::tests::insert;

    fn batch(payload: &str) -> Result<Batch, TriggerError> {
        serde_json::from_str::<StreamEvent>(payload).unwrap().into_batch()
    }

    #[test]
    fn an_event_is_decoded_as_the_files_of_the_same_records_are() {
        let payload = serde_json::json!({"Records": [insert(), {"eventName": "INSERT"}, insert(), 7]}).to_string();
        let found = batch(&payload).unwrap();
        let expected = event::decode_event(payload.as_bytes()).unwrap();
        assert_eq!(found.records, expected.records);
        assert_eq!(found.quarantined, expected.quarantined);
        assert_eq!((found.records.len(), found.quarantined.len()), (2, 2));
        assert_eq!(&found.quarantined[1].raw[..], b"7");
    }

    #[test]
    fn a_payload_that_is_no_event_says_what_it_is() {
        for (payload, expected) in [
            ("{}", "no Records"),
            ("{\"task\":\"guard\"}", "task"),
            ("[1]", "a list"),
            ("\"x\"", "a text"),
            ("null", "null"),
            ("1.5", "not an object"),
            ("{\"Records\":null}", "Records is null"),
        ] {
            let error = batch(payload).unwrap_err();
            assert!(error.to_string().contains(expected), "{payload}: {error}");
        }
        assert!(batch("{\"Records\":[]}").unwrap().records.is_empty());
        assert!(serde_json::from_str::<StreamEvent>("{\"Records\":[],\"Records\":[]}").is_err());
    }
}
