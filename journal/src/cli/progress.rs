//! Progress on standard error: a bar on a terminal, otherwise a plain line every few seconds.
//!
//! What enters are counts; what leaves is text for people. Logs and notes are printed above the bar. Other binaries use
//! it too.

use std::io::IsTerminal as _;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};

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
    total: Option<u64>,
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
            Shown::Lines(Mutex::new(Lines { position: 0, message: String::new(), last: Instant::now() }))
        };
        Self { what, unit, total, shown }
    }

    /// Sets how far the step is.
    pub fn set(&self, position: u64) {
        self.update(|lines| lines.position = position, |bar| bar.set_position(position));
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
                if shown.last.elapsed() >= LINE_EVERY {
                    shown.last = Instant::now();
                    let text = plain(&self.what, self.unit, self.total, shown.position, &shown.message);
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

fn plain(what: &str, unit: Unit, total: Option<u64>, position: u64, message: &str) -> String {
    let of = total.map(|total| format!(" of {}", unit.show(total))).unwrap_or_default();
    let comma = if message.is_empty() { "" } else { ", " };
    format!("{what}: {}{of}{comma}{message}", unit.show(position))
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
    fn a_plain_line_says_what_how_far_and_of_how_much() {
        assert_eq!(plain("scanning notes", Unit::Count("items"), None, 12_345, ""), "scanning notes: 12,345 items");
        assert_eq!(
            plain("reading x", Unit::Bytes, Some(2048), 1024, "3 quarantined"),
            "reading x: 1.00 KiB of 2.00 KiB, 3 quarantined"
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
