//! Reads cuts from a user's text: RFC 3339, epoch numbers, phrases.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};
use journal::error::{Classify, Kind};
use journal::model::{Second, SequenceNumber};
use thiserror::Error;

use super::{Cut, CutRequest, Position};

/// Longest text that is looked at.
const TEXT_BYTES_MAX: usize = 128;

/// Why a text is not a cut.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CutError {
    /// None of the flags, or more than one.
    #[error("a cut is given by exactly one of --at, --before, --at-sequence and --before-sequence, found {found}")]
    Count {
        /// How many were given.
        found: usize,
    },
    /// Not a time in any accepted form.
    #[error("cannot read {text:?} as a time")]
    Syntax {
        /// The text, cut to 128 characters.
        text: String,
    },
    /// A date or time that may mean different moments.
    #[error("time {text:?} has no zone")]
    NoZone {
        /// The text.
        text: String,
        /// The same time in UTC.
        utc: String,
        /// The same time in the zone of this machine.
        local: String,
    },
    /// A span that does not say in which direction.
    #[error("{text:?} is a length of time, not a moment")]
    NoDirection {
        /// The text.
        text: String,
    },
    /// After the present.
    #[error("time {second} is in the future, it is now {now}")]
    Future {
        /// The second asked for.
        second: Second,
        /// The present.
        now: Second,
    },
    /// Before 1970 or after 9999.
    #[error("time {text:?} is outside the years 1970 to 9999")]
    Range {
        /// The text.
        text: String,
    },
    /// Not a sequence number.
    #[error("cannot read {text:?} as a sequence number: it is not a string of 1 to 40 digits")]
    Sequence {
        /// The text.
        text: String,
    },
}

impl Classify for CutError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { .. } => Some(
                "write it as 2020-03-29T10:00:00Z, as seconds or milliseconds since 1970, or as \"now\", \"latest\", \
                 \"10 minutes ago\", \"2h ago\", \"yesterday\", \"yesterday 14:00\""
                    .to_owned(),
            ),
            Self::NoZone { utc, local, .. } => {
                Some(format!("write {utc} for UTC, or {local} for the zone of this machine"))
            }
            Self::NoDirection { text } => Some(format!("write \"{text} ago\"")),
            Self::Count { .. } | Self::Future { .. } => {
                Some("for the newest state that the journal has, give --at latest".to_owned())
            }
            Self::Range { .. } => None,
            Self::Sequence { .. } => {
                Some("copy the SequenceNumber of a stream record; for a time, use --at".to_owned())
            }
        }
    }
}

/// The four flags as given.
#[derive(Debug, Clone, Copy, Default)]
pub struct CutText<'a> {
    /// `--at`.
    pub at: Option<&'a str>,
    /// `--before`.
    pub before: Option<&'a str>,
    /// `--at-sequence`.
    pub at_sequence: Option<&'a str>,
    /// `--before-sequence`.
    pub before_sequence: Option<&'a str>,
}

impl CutText<'_> {
    /// Reads the one flag that is given. Phrases are read in the zone of `now`; fractions of seconds are cut off, for
    /// stream time has none.
    ///
    /// # Errors
    /// When not exactly one is given, its text is not a cut, has no zone, or lies in the future of `now`.
    pub fn parse(&self, now: &Zoned) -> Result<CutRequest, CutError> {
        let given = [self.at, self.before, self.at_sequence, self.before_sequence];
        let found = given.iter().flatten().count();
        match (found, given) {
            (1, [Some(text), ..]) => {
                if text.trim().eq_ignore_ascii_case("latest") {
                    return Ok(CutRequest::Latest);
                }
                let second = parse_time(text, now)?;
                check_future(second, now)?;
                Ok(CutRequest::Cut(Cut::at(second)))
            }
            (1, [_, Some(text), ..]) => {
                let second = parse_time(text, now)?;
                check_future(second.before(), now)?;
                Ok(CutRequest::Cut(Cut { position: Position::Second(second), inclusive: false }))
            }
            (1, [_, _, Some(text), _]) => Ok(CutRequest::Cut(Cut::at_sequence(parse_sequence(text)?))),
            (1, [_, _, _, Some(text)]) => {
                Ok(CutRequest::Cut(Cut { position: Position::Sequence(parse_sequence(text)?), inclusive: false }))
            }
            _ => Err(CutError::Count { found }),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(TEXT_BYTES_MAX).collect()
}

fn parse_sequence(text: &str) -> Result<SequenceNumber, CutError> {
    SequenceNumber::parse(text.trim()).map_err(|_| CutError::Sequence { text: shorten(text) })
}

fn check_future(second: Second, now: &Zoned) -> Result<(), CutError> {
    let now = second_of(now.timestamp(), "now")?;
    if second > now { Err(CutError::Future { second, now }) } else { Ok(()) }
}

fn second_of(timestamp: Timestamp, text: &str) -> Result<Second, CutError> {
    let range = || CutError::Range { text: shorten(text) };
    // `as_second` rounds towards zero; before 1970 nothing is accepted, so that is down.
    if timestamp < Timestamp::UNIX_EPOCH {
        return Err(range());
    }
    let seconds = u64::try_from(timestamp.as_second()).map_err(|_| range())?;
    Second::new(seconds).map_err(|_| range())
}

/// A moment, rounded down to its second.
fn parse_time(text: &str, now: &Zoned) -> Result<Second, CutError> {
    let trimmed = text.trim();
    let syntax = || CutError::Syntax { text: shorten(text) };
    if trimmed.is_empty() || trimmed.len() > TEXT_BYTES_MAX || !trimmed.is_ascii() {
        return Err(syntax());
    }
    if let Some(epoch) = parse_epoch(trimmed) {
        return epoch;
    }
    let lower = trimmed.to_ascii_lowercase();
    if let Some(found) = parse_phrase(&lower, now) {
        return found.and_then(|timestamp| second_of(timestamp, text));
    }
    if let Ok(timestamp) = trimmed.parse::<Timestamp>() {
        return second_of(timestamp, text);
    }
    if let Ok(zoned) = trimmed.parse::<Zoned>() {
        return second_of(zoned.timestamp(), text);
    }
    let civil = trimmed
        .parse::<DateTime>()
        .ok()
        .or_else(|| trimmed.parse::<Date>().ok().map(|date| date.to_datetime(Time::midnight())));
    if let Some(civil) = civil {
        return Err(no_zone(trimmed, civil, now));
    }
    match trimmed.parse::<Span>() {
        Ok(span) if span.is_positive() => Err(CutError::NoDirection { text: shorten(text) }),
        _ => Err(syntax()),
    }
}

fn no_zone(text: &str, civil: DateTime, now: &Zoned) -> CutError {
    let local = civil.to_zoned(now.time_zone().clone()).map_or_else(
        |_| format!("{civil}+00:00"),
        |zoned| {
            let offset = zoned.offset().seconds();
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.unsigned_abs() / 60;
            format!("{civil}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        },
    );
    CutError::NoZone { text: shorten(text), utc: format!("{civil}Z"), local }
}

/// Digits, perhaps with a fraction: seconds since 1970, or milliseconds, told apart by their magnitude.
fn parse_epoch(text: &str) -> Option<Result<Second, CutError>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() < 5 {
        // "2020" is a year that somebody meant, not a second of 1970.
        return None;
    }
    let range = || CutError::Range { text: shorten(text) };
    Some(text.parse::<f64>().map_err(|_| range()).and_then(|number| Second::from_epoch(number).map_err(|_| range())))
}

/// Phrases, in lower case. None when it is not one.
fn parse_phrase(text: &str, now: &Zoned) -> Option<Result<Timestamp, CutError>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let syntax = || CutError::Syntax { text: shorten(text) };
    let day = |back: i64, time: Option<&str>| -> Result<Timestamp, CutError> {
        let day = now.checked_sub(Span::new().days(back)).map_err(|_| syntax())?;
        let Some(time) = time else { return Ok(day.timestamp()) };
        let time: Time = time.parse().map_err(|_| syntax())?;
        let zoned = day.date().to_datetime(time).to_zoned(now.time_zone().clone()).map_err(|_| syntax())?;
        Ok(zoned.timestamp())
    };
    match words.as_slice() {
        ["now"] => Some(Ok(now.timestamp())),
        ["yesterday"] => Some(day(1, None)),
        ["yesterday", time] | ["yesterday", "at", time] => Some(day(1, Some(time))),
        ["today", time] | ["today", "at", time] => Some(day(0, Some(time))),
        [.., "ago"] => {
            let text = match words.split_first() {
                Some((&("a" | "an"), rest)) => format!("1 {}", rest.join(" ")),
                _ => words.join(" "),
            };
            let span = text.parse::<Span>().map_err(|_| syntax());
            Some(span.and_then(|span| {
                now.checked_add(span)
                    .map(|zoned| zoned.timestamp())
                    .map_err(|_| CutError::Range { text: shorten(&text) })
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2020-03-29T10:00:30.9+02:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str) -> Result<u64, CutError> {
        let parsed = CutText { at: Some(text), ..CutText::default() }.parse(&now())?;
        match parsed {
            CutRequest::Cut(Cut { position: Position::Second(second), inclusive: true }) => Ok(second.get()),
            other => panic!("{other:?}"),
        }
    }

    const NOW: u64 = 1_585_468_830;

    #[test]
    fn times_phrases_and_epochs_are_read() {
        assert_eq!(at("2020-03-29T08:00:30Z"), Ok(NOW));
        assert_eq!(at("2020-03-29 08:00:30.999Z"), Ok(NOW));
        assert_eq!(at("2020-03-29T10:00:30+02:00"), Ok(NOW));
        assert_eq!(at("2020-03-29T10:00:30+02:00[Europe/Berlin]"), Ok(NOW));
        assert_eq!(at("1585468830"), Ok(NOW));
        assert_eq!(at("1585468830.75"), Ok(NOW));
        assert_eq!(at("1585468830999"), Ok(NOW));
        assert_eq!(at("now"), Ok(NOW));
        assert_eq!(at("10 minutes ago"), Ok(NOW - 600));
        assert_eq!(at("2h ago"), Ok(NOW - 7200));
        assert_eq!(at(" An hour ago "), Ok(NOW - 3600));
        assert_eq!(at("1h 30m ago"), Ok(NOW - 5400));
    }

    #[test]
    fn yesterday_is_a_day_of_the_local_zone_even_when_it_had_23_hours() {
        // Berlin went from +01:00 to +02:00 in the night before.
        assert_eq!(at("yesterday"), Ok(NOW - 23 * 3600));
        assert_eq!(at("yesterday 14:00"), at("2020-03-28T13:00:00Z"));
        assert_eq!(at("today 00:30"), at("2020-03-28T23:30:00Z"));
    }

    #[test]
    fn a_time_without_a_zone_is_refused_with_both_ways_out() {
        for text in ["2020-03-29T09:00:00", "2020-03-29 09:00"] {
            let error = at(text).unwrap_err();
            let hint = error.hint().unwrap();
            assert!(matches!(error, CutError::NoZone { .. }), "{text}");
            assert!(hint.contains("2020-03-29T09:00:00Z") && hint.contains("2020-03-29T09:00:00+02:00"), "{hint}");
        }
        assert!(matches!(at("2020-03-28"), Err(CutError::NoZone { .. })));
    }

    #[test]
    fn the_future_is_refused() {
        assert!(matches!(at("2020-03-29T08:00:31Z"), Err(CutError::Future { .. })));
        assert!(matches!(at("today 23:00"), Err(CutError::Future { .. })));
        let before = |text| CutText { before: Some(text), ..CutText::default() }.parse(&now());
        assert!(before("2020-03-29T08:00:31Z").is_ok());
        assert!(matches!(before("2020-03-29T08:00:32Z"), Err(CutError::Future { .. })));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "soon", "2020", "12", "10 minutes", "-5", "1969-12-31T23:59:59Z", "99999999999999999999", "ago"]
        {
            assert!(at(text).is_err(), "{text}");
        }
        assert!(matches!(at("10 minutes"), Err(CutError::NoDirection { .. })));
        assert!(at(&"1".repeat(5000)).is_err());
        assert!(at("١٢٣٤٥٦").is_err());
    }

    #[test]
    fn exactly_one_flag_is_needed() {
        assert_eq!(CutText::default().parse(&now()), Err(CutError::Count { found: 0 }));
        let two = CutText { at: Some("now"), at_sequence: Some("5"), ..CutText::default() };
        assert_eq!(two.parse(&now()), Err(CutError::Count { found: 2 }));
        let sequence = CutText { before_sequence: Some("007"), ..CutText::default() }.parse(&now()).unwrap();
        let CutRequest::Cut(cut) = sequence else { panic!("{sequence:?}") };
        assert_eq!(cut.to_string(), "before sequence number 007");
        assert!(CutText { at_sequence: Some("5x"), ..CutText::default() }.parse(&now()).is_err());
        assert_eq!(CutText { at: Some("Latest"), ..CutText::default() }.parse(&now()), Ok(CutRequest::Latest));
    }
}
