//! Attributes' names as small numbers.
//!
//! Items of a table resemble each other: each name is first compared with the one that came after the same name before, so that most
//! need no search.

use std::collections::BTreeMap;

/// Names with their numbers, which count from zero in the order in which names were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    by_name: BTreeMap<String, usize>,
    by_number: Vec<String>,
    /// For each name, and for an item's beginning before all, what came after it last.
    after: Vec<usize>,
    /// Where in `after` the next name is expected.
    place: usize,
}

impl Names {
    /// Another item's names follow, in order.
    pub(super) fn begin(&mut self) {
        self.place = 0;
    }

    /// The number of an item's next name; none when it was not added.
    #[inline]
    pub(super) fn find(&mut self, name: &str) -> Option<usize> {
        let expected = self.after.get(self.place).copied();
        let number = match expected {
            Some(number) if self.by_number.get(number).is_some_and(|known| known == name) => number,
            _ => {
                let number = *self.by_name.get(name)?;
                if let Some(after) = self.after.get_mut(self.place) {
                    *after = number;
                }
                number
            }
        };
        self.place = number + 1;
        Some(number)
    }

    /// Adds a name that was not found; gives its number.
    pub(super) fn add(&mut self, name: &str) -> usize {
        let number = self.by_number.len();
        self.by_number.push(name.to_owned());
        self.by_name.insert(name.to_owned(), number);
        // What comes after the item's beginning and after each name is not known yet.
        self.after.resize(number + 2, usize::MAX);
        if let Some(after) = self.after.get_mut(self.place) {
            *after = number;
        }
        self.place = number + 1;
        number
    }

    /// The number of a name, wherever it comes.
    #[cfg(any(test, feature = "parquet", feature = "sqlite"))]
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// In the order of their bytes.
    #[cfg(any(test, feature = "parquet", feature = "sqlite"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, usize)> {
        self.by_name.iter().map(|(name, number)| (name, *number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_has_the_number_that_it_was_given_whatever_came_before_it(
            items in proptest::collection::vec(proptest::collection::btree_set("[a-f]", 0..5), 0..20), known in 0usize..6,
        ) {
            let mut names = Names::default();
            let mut added: Vec<String> = Vec::new();
            for item in &items {
                names.begin();
                for name in item {
                    let expected = added.iter().position(|known| known == name);
                    prop_assert_eq!(names.find(name), expected);
                    if expected.is_none() && added.len() < known {
                        prop_assert_eq!(names.add(name), added.len());
                        added.push(name.clone());
                    }
                }
            }
            prop_assert_eq!(names.len(), added.len());
            prop_assert!(names.iter().all(|(name, number)| added[number] == *name));
        }
    }
}
