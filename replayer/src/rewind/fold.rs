//! The history of one item, change by change: what it is now, and what it is wanted to be.
//!
//! What enters are the item's changes in the order of their sequence numbers, each with its part in the rewind; what leaves
//! is the item at the head of history and the item with the undone changes taken away. Changes that are kept are carried over
//! as [`super::rebase`] says. Pure; images stay bytes until a kept change must be carried over, so memory is that of two
//! images.

use std::collections::BTreeSet;

use journal::model::{Attributes, Image, ImageError};

use super::rebase::{OnClash, rebase};

/// What a change is to a rewind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// At or before the cut.
    Before,
    /// To be undone.
    Undo,
    /// After the cut, and kept.
    Keep,
}

/// What came of one item's history.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Folded {
    /// The item at the head of history.
    pub(super) now: Option<Vec<u8>>,
    /// The item without the undone changes.
    pub(super) wanted: Option<Vec<u8>>,
    /// Changes that are undone.
    pub(super) undoes: u64,
    /// Later changes that are kept.
    pub(super) keeps: u64,
    /// Attributes that both an undone and a kept change changed.
    pub(super) clashes: BTreeSet<String>,
    /// Whether they clash over the item as a whole.
    pub(super) item_clash: bool,
    /// Whether a change is missing between two of them.
    pub(super) broken: bool,
    begun: bool,
}

impl Folded {
    /// Adds the next change.
    pub(super) fn add(
        &mut self,
        part: Part,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
        on_clash: OnClash,
    ) -> Result<(), ImageError> {
        if part == Part::Before {
            // Sequence order decides within a key: what came before this one has happened, whatever its second.
            *self = Self::default();
            return Ok(());
        }
        if !self.begun {
            self.begun = true;
            self.wanted = old.map(<[u8]>::to_vec);
        } else if self.now.as_deref() != old {
            self.broken = true;
            if part == Part::Keep {
                let between = self.now.take();
                self.keep(between.as_deref(), old, on_clash)?;
            }
        }
        if part == Part::Undo {
            self.undoes += 1;
        } else {
            self.keeps += 1;
            self.keep(old, new, on_clash)?;
        }
        self.now = new.map(<[u8]>::to_vec);
        Ok(())
    }

    fn keep(&mut self, old: Option<&[u8]>, new: Option<&[u8]>, on_clash: OnClash) -> Result<(), ImageError> {
        if self.wanted.as_deref() == old {
            self.wanted = new.map(<[u8]>::to_vec);
            return Ok(());
        }
        let decode = |image: Option<&[u8]>| image.map(Image::decode_slice).transpose();
        let (wanted, old, new) = (decode(self.wanted.as_deref())?, decode(old)?, decode(new)?);
        let (result, clashes) = rebase(wanted.as_ref(), old.as_ref(), new.as_ref(), on_clash);
        let encoded = result.as_ref().map(|item: &Attributes| Image::encode(item)).transpose()?;
        self.wanted = encoded.map(|image| image.as_bytes().to_vec());
        self.clashes.extend(clashes.attributes);
        self.item_clash |= clashes.item;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::model::AttributeValue;
    use proptest::prelude::*;

    type Plain = Option<Attributes>;

    fn bytes(item: &Plain) -> Option<Vec<u8>> {
        item.as_ref().map(|item| Image::encode(item).unwrap().as_bytes().to_vec())
    }

    fn fold(start: &Plain, changes: &[(Part, Plain)], on_clash: OnClash) -> Folded {
        let mut folded = Folded::default();
        let mut old = bytes(start);
        for (part, new) in changes {
            let new = bytes(new);
            folded.add(*part, old.as_deref(), new.as_deref(), on_clash).unwrap();
            old = new;
        }
        folded
    }

    #[expect(clippy::unnecessary_wraps, reason = "an item that may not be there, as all items of these tests")]
    fn note(content: &str, likes: &str) -> Plain {
        let value = |text: &str| AttributeValue::S(text.to_owned());
        Some(Attributes::from([("content".to_owned(), value(content)), ("likes".to_owned(), value(likes))]))
    }

    #[test]
    fn a_window_is_undone_and_later_good_edits_stay() {
        let changes =
            [(Part::Undo, note("bad", "1")), (Part::Undo, note("worse", "1")), (Part::Keep, note("worse", "2"))];
        let folded = fold(&note("good", "1"), &changes, OnClash::Leave);
        assert_eq!(folded.wanted, bytes(&note("good", "2")));
        assert_eq!((folded.undoes, folded.keeps, folded.item_clash, folded.clashes.len()), (2, 1, false, 0));
        let clash =
            fold(&note("good", "1"), &[(Part::Undo, note("bad", "1")), (Part::Keep, note("new", "1"))], OnClash::Leave);
        assert_eq!(clash.clashes, BTreeSet::from(["content".to_owned()]));
    }

    #[test]
    fn a_record_at_the_cut_forgets_what_came_before_it_in_sequence_order() {
        let changes = [(Part::Undo, note("a", "1")), (Part::Before, note("b", "1")), (Part::Undo, note("c", "1"))];
        let folded = fold(&None, &changes, OnClash::Leave);
        assert_eq!((folded.wanted, folded.undoes), (bytes(&note("b", "1")), 1));
    }

    #[test]
    fn a_missing_change_is_noticed() {
        let mut folded = Folded::default();
        folded.add(Part::Undo, None, Some(b"a"), OnClash::Leave).unwrap();
        assert!(!folded.broken);
        folded.add(Part::Undo, Some(b"b"), Some(b"c"), OnClash::Leave).unwrap();
        assert!(folded.broken);
        assert_eq!(folded.wanted, None);
    }

    #[test]
    fn a_change_that_is_missing_before_a_kept_one_is_kept_with_it() {
        let mut folded = Folded::default();
        let states = [note("good", "1"), note("bad", "1"), note("bad", "5"), note("bad", "6")].map(|item| bytes(&item));
        let [good, bad, seen_later, last] = states.each_ref().map(Option::as_deref);
        folded.add(Part::Undo, good, bad, OnClash::Leave).unwrap();
        folded.add(Part::Keep, seen_later, last, OnClash::Leave).unwrap();
        assert!(folded.broken && folded.clashes.is_empty() && !folded.item_clash, "{folded:?}");
        assert_eq!((folded.wanted, folded.keeps), (bytes(&note("good", "6")), 1));
    }

    fn any_item() -> impl Strategy<Value = Plain> {
        let attributes = proptest::collection::btree_map("[a-c]", "[0-2]".prop_map(AttributeValue::S), 0..4);
        proptest::option::weighted(0.8, attributes)
    }

    proptest! {
        #[test]
        fn undoing_everything_gives_the_item_at_the_cut(start in any_item(), changes in proptest::collection::vec(any_item(), 1..8)) {
            let changes: Vec<_> = changes.into_iter().map(|item| (Part::Undo, item)).collect();
            let folded = fold(&start, &changes, OnClash::Leave);
            prop_assert_eq!(&folded.wanted, &bytes(&start));
            prop_assert_eq!(folded.now, bytes(&changes.last().unwrap().1));
            prop_assert!(folded.clashes.is_empty() && !folded.item_clash);
        }

        #[test]
        fn keeping_everything_changes_nothing(start in any_item(), changes in proptest::collection::vec(any_item(), 1..8)) {
            let changes: Vec<_> = changes.into_iter().map(|item| (Part::Keep, item)).collect();
            let folded = fold(&start, &changes, OnClash::Leave);
            prop_assert_eq!(&folded.wanted, &folded.now);
            prop_assert!(folded.clashes.is_empty() && !folded.item_clash);
        }

        /// Writers of attributes of their own never clash: what is left are the kept writers' last values.
        #[test]
        fn changes_of_other_attributes_never_clash(changes in proptest::collection::vec((any::<bool>(), 0u8..3, 0u32..9), 1..12)) {
            let mut item = Attributes::new();
            let (mut kept, mut list) = (Attributes::new(), Vec::new());
            for (undo, name, value) in changes {
                let name = format!("{}{name}", if undo { "bad" } else { "good" });
                let value = AttributeValue::S(value.to_string());
                if !undo {
                    kept.insert(name.clone(), value.clone());
                }
                item.insert(name, value);
                list.push((if undo { Part::Undo } else { Part::Keep }, Some(item.clone())));
            }
            let folded = fold(&Some(Attributes::new()), &list, OnClash::Leave);
            prop_assert_eq!(folded.wanted, bytes(&Some(kept)));
            prop_assert!(folded.clashes.is_empty() && !folded.item_clash);
        }
    }
}
