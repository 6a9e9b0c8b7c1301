//! Which records cannot belong to a timeline, because they are older than its stream.
//!
//! Some services show the records of a deleted table again in the stream of a table that was made under its name. A label
//! that is a number tells its stream's birth to the second, and record times there are true to the second. A label that
//! is a date comes from services of which one rounds record times down to the minute; so whole minutes are compared there.

use crate::model::{Second, TimelineLabel};

/// The earliest second that a record of the timeline can have. None when the label does not tell.
pub(super) fn earliest(label: &TimelineLabel) -> Option<Second> {
    let seconds = label.birth_milliseconds()? / 1000;
    let numeric = label.as_str().bytes().all(|b| b.is_ascii_digit());
    let seconds = if numeric { seconds } else { seconds - seconds % 60 };
    Second::new(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earliest_of(label: &str) -> Option<u64> {
        earliest(&TimelineLabel::parse(label).unwrap()).map(Second::get)
    }

    #[test]
    fn a_date_counts_from_its_minute_and_a_number_from_its_second() {
        assert_eq!(earliest_of("2020-03-29T00:01:59.999"), Some(1_585_440_060));
        assert_eq!(earliest_of("1585440119"), Some(1_585_440_119));
        assert_eq!(earliest_of("1585440119999"), Some(1_585_440_119));
        assert_eq!(earliest_of("some-label"), None);
    }
}
