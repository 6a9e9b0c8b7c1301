//! A state digest kept in groups of keys, so that two states that differ are told apart without holding either.

use crate::digest::{ItemHash, StateDigest};

/// Groups that keys fall into, by their hash.
const GROUPS: usize = 1 << 16;

/// A state's digest and those of its groups: 2.5 MiB, whatever the state's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupedDigest {
    total: StateDigest,
    groups: Vec<StateDigest>,
}

impl Default for GroupedDigest {
    fn default() -> Self {
        Self { total: StateDigest::default(), groups: vec![StateDigest::default(); GROUPS] }
    }
}

impl GroupedDigest {
    /// Adds an item. `key` is its key's bytes, numbers plain.
    pub fn add(&mut self, key: &[u8], hash: ItemHash) {
        self.total.add(hash);
        if let Some(group) = self.groups.get_mut(usize::from(ItemHash::group(key))) {
            group.add(hash);
        }
    }

    /// Adds all items of another state.
    pub fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        for (group, other) in self.groups.iter_mut().zip(&other.groups) {
            group.merge(other);
        }
    }

    /// The digest of all items.
    #[must_use]
    pub fn total(&self) -> StateDigest {
        self.total
    }

    /// For each group whether it differs from that of another state.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<bool> {
        self.groups.iter().zip(&other.groups).map(|(one, other)| one != other).collect()
    }
}
