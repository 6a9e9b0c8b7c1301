//! Which of some names somebody may have meant.

/// Longest name that is compared, in characters: DynamoDB's table names have 255.
const CHARACTERS_MAX: usize = 255;

/// The known name that is nearest to `name`, when a third of its characters at most are other ones. Names that are written the same but for
/// their capitals are nearest of all.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = |text: &str| -> Vec<char> { text.to_lowercase().chars().take(CHARACTERS_MAX).collect() };
    let wanted = lower(name);
    let near = known.iter().map(|known| (edits(&wanted, &lower(known)), *known)).min_by_key(|(edits, _)| *edits)?;
    (near.0 <= (wanted.len() / 3).max(1)).then_some(near.1)
}

/// How many characters must be put in, taken out or replaced to make one of the other.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (number, from) in a.iter().enumerate() {
        let mut diagonal = number;
        let mut left = number + 1;
        for (place, to) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *place;
            left = replaced.min(left + 1).min(*place + 1);
            *place = left;
        }
        if let Some(first) = row.first_mut() {
            *first = number + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found_and_no_other() {
        let known = ["notes-table-dev", "notes-table-prod", "users"];
        for (typed, meant) in [
            ("notes-table-de", Some("notes-table-dev")),
            ("Notes-Table-Dev", Some("notes-table-dev")),
            ("note-table-prd", Some("notes-table-prod")),
            ("user", Some("users")),
            ("orders", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), meant, "{typed}");
        }
        assert_eq!(nearest("x", &[]), None);
        let edits = |a: &str, b: &str| super::edits(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!((edits("kitten", "sitting"), edits("", "abc"), edits("abc", "")), (3, 3, 3));
    }
}
