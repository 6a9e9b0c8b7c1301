//! Unknown fields, skipped without trust in the parser's own bound on depth.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Levels that an unknown field may have. Known fields stay far below.
const LEVELS_MAX: usize = 100;

/// Skips a value of any shape, its depth bounded here where the parser enters it.
pub(super) struct Ignored {
    levels: usize,
}

impl Default for Ignored {
    fn default() -> Self {
        Self { levels: LEVELS_MAX }
    }
}

impl Ignored {
    fn below<E: de::Error>(&self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1);
        let levels = levels.ok_or_else(|| E::custom("an unknown field is nested too deep"))?;
        Ok(Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for Ignored {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Not `deserialize_ignored_any`: a parser may skip in its own way then, and go as deep as the bytes do.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ignored {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let below = self.below()?.levels;
        while sequence.next_element_seed(Ignored { levels: below })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.below()?.levels;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Ignored { levels: below })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parser without a limit: lists in lists, as deep as one cares to go.
    struct Nested(u32);

    impl<'de> Deserializer<'de> for Nested {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            visitor.visit_seq(de::value::SeqDeserializer::new((self.0 > 0).then(|| Nested(self.0 - 1)).into_iter()))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
        }
    }

    impl de::IntoDeserializer<'_, de::value::Error> for Nested {
        type Deserializer = Self;

        fn into_deserializer(self) -> Self {
            self
        }
    }

    #[test]
    fn an_unknown_field_cannot_exhaust_the_stack_of_a_parser_without_a_limit() {
        let skip = |levels| Ignored::default().deserialize(Nested(levels));
        assert!(skip(90).is_ok());
        assert!(skip(10_000_000).unwrap_err().to_string().contains("nested too deep"));
    }
}
