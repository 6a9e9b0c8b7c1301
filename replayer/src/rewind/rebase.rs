//! Later edits carried over to an item from which earlier ones were taken away: three ways, attribute by attribute.
//!
//! What enters are an item as it is wanted, and a change that is kept, with the item before and after it; what leaves is the
//! item as it is wanted after that change, and where the two clash. Pure. Values inside an attribute are not merged.

use journal::model::Attributes;
use serde::{Deserialize, Serialize};

/// What happens where a later edit, which is kept, changed what is undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnClash {
    /// The item is left as it is.
    #[default]
    Leave,
    /// The later edit stays.
    Later,
    /// The value from before both comes back.
    Earlier,
}

/// Where a kept change and an undone one clash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clashes {
    /// Attributes that both changed.
    pub(super) attributes: Vec<String>,
    /// One of them made or removed the item.
    pub(super) item: bool,
}

/// Carries the change from `old` to `new` over to `wanted`.
pub(super) fn rebase(
    wanted: Option<&Attributes>,
    old: Option<&Attributes>,
    new: Option<&Attributes>,
    on_clash: OnClash,
) -> (Option<Attributes>, Clashes) {
    if wanted == old {
        return (new.cloned(), Clashes::default());
    }
    // Somebody has put right by hand what is undone here.
    if wanted == new {
        return (new.cloned(), Clashes::default());
    }
    let (Some(wanted), Some(old), Some(new)) = (wanted, old, new) else {
        let kept = if on_clash == OnClash::Later { new } else { wanted };
        return (kept.cloned(), Clashes { item: true, ..Clashes::default() });
    };
    let mut result = wanted.clone();
    let mut clashes = Clashes::default();
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (before, after, have) = (old.get(name), new.get(name), wanted.get(name));
        if before == after || have == after {
            continue;
        }
        if have != before {
            clashes.attributes.push(name.clone());
            if on_clash != OnClash::Later {
                continue;
            }
        }
        match after {
            Some(value) => result.insert(name.clone(), value.clone()),
            None => result.remove(name),
        };
    }
    (Some(result), clashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::model::AttributeValue;
    use proptest::prelude::*;

    fn item(values: &[(&str, &str)]) -> Attributes {
        values.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned()))).collect()
    }

    #[test]
    fn edits_of_other_attributes_are_kept() {
        let wanted = item(&[("content", "good"), ("author", "ada")]);
        let old = item(&[("content", "bad"), ("author", "ada"), ("flag", "x")]);
        let new = item(&[("content", "bad"), ("author", "grace"), ("likes", "1")]);
        let (result, clashes) = rebase(Some(&wanted), Some(&old), Some(&new), OnClash::Leave);
        assert_eq!(result, Some(item(&[("content", "good"), ("author", "grace"), ("likes", "1")])));
        assert_eq!(clashes, Clashes::default());
    }

    #[test]
    fn an_edit_of_the_same_attribute_clashes_and_the_choice_decides() {
        let (wanted, old, new) = (item(&[("c", "good")]), item(&[("c", "bad")]), item(&[("c", "edited")]));
        for (choice, value) in [(OnClash::Leave, "good"), (OnClash::Earlier, "good"), (OnClash::Later, "edited")] {
            let (result, clashes) = rebase(Some(&wanted), Some(&old), Some(&new), choice);
            assert_eq!((result, clashes.attributes.as_slice()), (Some(item(&[("c", value)])), &["c".to_owned()][..]));
        }
    }

    #[test]
    fn a_mend_by_hand_does_not_clash() {
        let (wanted, bad) = (item(&[("c", "good"), ("d", "1")]), item(&[("c", "bad"), ("d", "bad")]));
        let mended = item(&[("c", "good"), ("d", "bad")]);
        let (result, clashes) = rebase(Some(&wanted), Some(&bad), Some(&mended), OnClash::Leave);
        assert_eq!((result, clashes), (Some(wanted), Clashes::default()));
    }

    #[test]
    fn an_item_removed_or_made_anew_later_clashes_as_a_whole() {
        let (wanted, bad, new) = (item(&[("c", "good")]), item(&[("c", "bad")]), item(&[("c", "new")]));
        let cases =
            [(Some(&wanted), Some(&bad), None), (Some(&wanted), None, Some(&new)), (None, Some(&bad), Some(&new))];
        for (wanted, old, new) in cases {
            let (result, clashes) = rebase(wanted, old, new, OnClash::Leave);
            assert!(clashes.item);
            assert_eq!(result.as_ref(), wanted);
            assert_eq!(rebase(wanted, old, new, OnClash::Later).0.as_ref(), new);
        }
        assert_eq!(rebase(None, Some(&bad), None, OnClash::Leave), (None, Clashes::default()));
    }

    fn any_item() -> impl Strategy<Value = Attributes> {
        proptest::collection::btree_map("[a-d]", "[0-2]".prop_map(AttributeValue::S), 0..4)
    }

    proptest! {
        /// Each attribute of the result is judged alone.
        #[test]
        fn every_attribute_is_carried_over_by_itself(wanted in any_item(), old in any_item(), new in any_item()) {
            let (result, clashes) = rebase(Some(&wanted), Some(&old), Some(&new), OnClash::Leave);
            let result = result.unwrap();
            for name in ["a", "b", "c", "d"] {
                let (w, o, n, r) = (wanted.get(name), old.get(name), new.get(name), result.get(name));
                if o == n {
                    prop_assert_eq!(r, w);
                } else if w == o {
                    prop_assert_eq!(r, n);
                } else {
                    prop_assert_eq!(r, w);
                    prop_assert_eq!(clashes.attributes.iter().any(|clash| clash == name), w != n);
                }
            }
        }

        #[test]
        fn nothing_to_undo_gives_the_later_item(old in any_item(), new in any_item()) {
            prop_assert_eq!(rebase(Some(&old), Some(&old), Some(&new), OnClash::Leave), (Some(new), Clashes::default()));
        }
    }
}
