//! Progress on standard error: a bar on a terminal, otherwise a plain line every few seconds.
//!
//! What enters are counts; what leaves is text for people. Logs and notes are printed above the bar. Other binaries use
//! it too.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

/// How often a plain line comes.
const LINE_EVERY: Duration = Duration::from_secs(5);

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Records, items, anything countable, by its plural.
    Count(&'static str),
    /// Bytes.
    Bytes,
}

impl Unit {
    fn show(self, number: u64) -> String {
        match self {
            Self::Count(plural) => format!("{} {plural}", HumanCount(number)),
            Self::Bytes => HumanBytes(number).to_string(),
        }
    }
}

/// The progress of one step. Dropping it takes the bar away.
#[derive(Debug)]
pub struct Progress {
    what: String,
    unit: Unit,
    /// 0 when it is not known.
    total: AtomicU64,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

#[derive(Debug)]
struct Lines {
    position: u64,
    message: String,
    last: Instant,
    started: Instant,
    /// How far it was at the first sign of life: a step that goes on where another stopped is not that fast.
    first: Option<u64>,
}

impl Progress {
    /// Begins to show `what`, as in `scanning notes`. `total`, where it is known, makes a bar; nothing is shown when
    /// `quiet`.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: Unit, total: Option<u64>, quiet: bool) -> Self {
        let what = what.into();
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let bar = BARS.add(bar);
            bar.set_style(style(unit, total.is_some()));
            bar.set_prefix(what.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            Shown::Bar(bar)
        } else {
            let now = Instant::now();
            Shown::Lines(Mutex::new(Lines {
                position: 0,
                message: String::new(),
                last: now,
                started: now,
                first: None,
            }))
        };
        Self { what, unit, total: AtomicU64::new(total.unwrap_or(0)), shown }
    }

    /// Sets how far the step is.
    pub fn set(&self, position: u64) {
        self.update(|lines| lines.position = position, |bar| bar.set_position(position));
    }

    /// Sets how far the step is, and how far it will go where that has become known.
    pub fn set_of(&self, position: u64, total: Option<u64>) {
        if let Some(total) = total.filter(|total| *total > 0)
            && self.total.swap(total, Ordering::Relaxed) != total
            && let Shown::Bar(bar) = &self.shown
        {
            bar.set_style(style(self.unit, true));
            bar.set_length(total);
        }
        self.set(position);
    }

    /// Adds to how far the step is.
    pub fn add(&self, more: u64) {
        self.update(|lines| lines.position = lines.position.saturating_add(more), |bar| bar.inc(more));
    }

    /// Sets what is said beside the count, as in `3 throttled`.
    pub fn message(&self, message: impl Into<String>) {
        let message = message.into();
        self.update(|lines| lines.message.clone_from(&message), |bar| bar.set_message(message.clone()));
    }

    fn update(&self, lines: impl FnOnce(&mut Lines), bar: impl FnOnce(&ProgressBar)) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(shown) => bar(shown),
            Shown::Lines(shown) => {
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                lines(&mut shown);
                let position = shown.position;
                let first = *shown.first.get_or_insert(position);
                if shown.last.elapsed() >= LINE_EVERY {
                    shown.last = Instant::now();
                    let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
                    let pace = Pace { done: shown.position.saturating_sub(first), elapsed: shown.started.elapsed() };
                    let text = plain(&self.what, self.unit, total, shown.position, pace, &shown.message);
                    super::output::note(&text);
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

/// How much was done in what time.
#[derive(Debug, Clone, Copy)]
struct Pace {
    done: u64,
    elapsed: Duration,
}

impl Pace {
    /// The rate, and the time left where the total is known; empty before there is one.
    fn show(self, unit: Unit, left: Option<u64>) -> String {
        let milliseconds = self.elapsed.as_millis();
        let per_second = u128::from(self.done).saturating_mul(1000).checked_div(milliseconds).unwrap_or(0);
        let Ok(per_second) = u64::try_from(per_second) else { return String::new() };
        if per_second == 0 {
            return String::new();
        }
        let time =
            left.map(|left| format!(", about {} left", HumanDuration(Duration::from_secs(left.div_ceil(per_second)))));
        format!(", {}/s{}", unit.show(per_second), time.unwrap_or_default())
    }
}

fn plain(what: &str, unit: Unit, total: Option<u64>, position: u64, pace: Pace, message: &str) -> String {
    let of = total.map(|total| format!(" of {}", unit.show(total))).unwrap_or_default();
    let comma = if message.is_empty() { "" } else { ", " };
    let pace = pace.show(unit, total.map(|total| total.saturating_sub(position)));
    format!("{what}: {}{of}{pace}{comma}{message}", unit.show(position))
}

fn style(unit: Unit, total: bool) -> ProgressStyle {
    let template = match (unit, total) {
        (Unit::Count(_), true) => "{prefix} [{wide_bar}] {human_pos}/{human_len} {per_sec} {eta} {msg}",
        (Unit::Count(_), false) => "{spinner} {prefix} {human_pos} {per_sec} {elapsed} {msg}",
        (Unit::Bytes, true) => "{prefix} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
        (Unit::Bytes, false) => "{spinner} {prefix} {bytes} {bytes_per_sec} {elapsed} {msg}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// Runs `print` while no bar is on the screen.
pub fn suspended<R>(print: impl FnOnce() -> R) -> R {
    BARS.suspend(print)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_what_how_far_how_fast_and_how_long_yet() {
        let none = Pace { done: 0, elapsed: Duration::ZERO };
        let items = Unit::Count("items");
        assert_eq!(plain("scanning notes", items, None, 12_345, none, ""), "scanning notes: 12,345 items");
        assert_eq!(
            plain("reading x", Unit::Bytes, Some(2048), 1024, none, "3 quarantined"),
            "reading x: 1.00 KiB of 2.00 KiB, 3 quarantined"
        );
        let pace = Pace { done: 500, elapsed: Duration::from_secs(5) };
        assert_eq!(
            plain("writing", items, Some(13_000), 1_000, pace, ""),
            "writing: 1,000 items of 13,000 items, 100 items/s, about 2 minutes left"
        );
    }

    #[test]
    fn every_template_is_sound() {
        for unit in [Unit::Bytes, Unit::Count("items")] {
            for total in [true, false] {
                let _ = style(unit, total);
            }
        }
    }
}
