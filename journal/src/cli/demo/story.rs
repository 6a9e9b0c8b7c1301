//! How the demo speaks: headings, sentences, commands as a user would type them, notes. Colours and pauses on a terminal
//! only; elsewhere plain text at once.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::notes::Note;
use crate::cli::output::{self, OutputError};

/// Long enough to read a line, short enough for the whole story to stay under a minute.
const PAUSE: Duration = Duration::from_millis(900);
/// Replies that are shown of a note.
const REPLIES_SHOWN: usize = 2;

/// The teller.
#[derive(Debug)]
pub(super) struct Story {
    colours: bool,
    pauses: bool,
}

impl Story {
    /// Looks where standard output goes.
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: terminal && !no_colour, pauses: terminal }
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A chapter begins.
    pub(super) async fn chapter(&self, title: &str) -> Result<(), OutputError> {
        output::line(&format!("\n{}", self.styled("1", title)))?;
        self.pause().await;
        Ok(())
    }

    /// A sentence.
    pub(super) async fn say(&self, text: &str) -> Result<(), OutputError> {
        output::line(&format!("  {text}"))?;
        self.pause().await;
        Ok(())
    }

    /// A command, as a user would type it.
    pub(super) async fn command(&self, command: &str) -> Result<(), OutputError> {
        output::line(&format!("  {} {}", self.styled("2", "$"), self.styled("36", command)))?;
        self.pause().await;
        Ok(())
    }

    /// What a command printed.
    pub(super) fn printed(&self, text: &str) -> Result<(), OutputError> {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            output::line(&format!("    {}", self.styled("2", line)))?;
        }
        Ok(())
    }

    /// A note with some of its replies.
    pub(super) async fn note(&self, note: &Note) -> Result<(), OutputError> {
        output::line(&format!("    {} {}", self.styled("33", &by(note)), note.content))?;
        for reply in note.replies.iter().take(REPLIES_SHOWN) {
            output::line(&format!("      {} {}", self.styled("33", &by(reply)), reply.content))?;
        }
        match note.replies.len().saturating_sub(REPLIES_SHOWN) {
            0 => {}
            1 => output::line("      and one more reply")?,
            more => output::line(&format!("      and {more} more replies"))?,
        }
        self.pause().await;
        Ok(())
    }

    /// Something that was checked and holds.
    pub(super) async fn proven(&self, text: &str) -> Result<(), OutputError> {
        output::line(&format!("  {} {text}", self.styled("32", "ok")))?;
        self.pause().await;
        Ok(())
    }

    async fn pause(&self) {
        if self.pauses {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn by(note: &Note) -> String {
    format!("{}, {}:", note.author, note.country)
}
