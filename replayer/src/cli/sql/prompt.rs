//! The prompt: lines with history, statements over several lines, answers one after the other.

use std::path::PathBuf;
use std::process::ExitCode;

use journal::cli::{output, report};
use journal::error::{Classify, Kind, Result};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use thiserror::Error;

use super::{Asking, Told};
use crate::sql::SqlSession;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 1000;
const HELP: &str =
    "Statements end with ; and may have several lines. Ctrl-C forgets what is typed, Ctrl-D or quit ends.
  SHOW TABLES;                                  what there is
  DESCRIBE changes;                             its columns
  SELECT * FROM changes LIMIT 5;
  SELECT item FROM state_at('TABLE', 'latest');
  EXPLAIN SELECT …;                             what would be read";

/// The terminal failed.
#[derive(Debug, Error)]
#[error("reading a line from the terminal")]
struct PromptError {
    source: ReadlineError,
}

impl Classify for PromptError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some("give the statement as an argument instead".to_owned())
    }
}

/// Says when a statement is whole.
struct Whole;

impl Helper for Whole {}
impl Highlighter for Whole {}

impl Completer for Whole {
    type Candidate = String;
}

impl Hinter for Whole {
    type Hint = String;
}

impl Validator for Whole {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        Ok(if is_command(text) || ends_statement(text) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

fn is_command(text: &str) -> bool {
    matches!(text.trim(), "" | "quit" | "exit" | "help" | "\\q" | "\\?" | "?")
}

/// Whether the text ends with a semicolon that is in no string, name or comment.
pub(super) fn ends_statement(text: &str) -> bool {
    let (mut quote, mut last, mut characters) = (None, ' ', text.chars().peekable());
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), character) if open == character => quote = None,
            (Some(_), _) => continue,
            (None, '\'' | '"') => quote = Some(character),
            (None, '-') if characters.peek() == Some(&'-') => {
                characters.by_ref().find(|character| *character == '\n');
                continue;
            }
            _ => {}
        }
        if !character.is_whitespace() {
            last = character;
        }
    }
    quote.is_none() && last == ';'
}

/// Where the history is kept: the user's state folder; nowhere when there is none.
fn history_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")))?;
    let folder = state.join("replay");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}

/// Asks until the user has enough. The exit code is that of a corrupt journal where one statement met a segment that could not be
/// read.
pub(super) async fn run(session: &SqlSession, asking: &Asking<'_>) -> Result<ExitCode> {
    let config = Config::builder()
        .auto_add_history(true)
        .max_history_size(HISTORY_MAX)
        .and_then(|config| config.history_ignore_dups(true).map(|config| config.history_ignore_space(true).build()));
    let failed = |source| PromptError { source };
    let mut editor: Editor<Whole, FileHistory> = Editor::with_config(config.map_err(failed)?).map_err(failed)?;
    editor.set_helper(Some(Whole));
    let history = history_file();
    if let Some(file) = &history {
        // There is none the first time.
        let _ = editor.load_history(file);
    }
    output::note(&format!("changes has the columns {}; help shows more", session.columns().join(", ")));
    let mut told = Told::default();
    loop {
        match tokio::task::block_in_place(|| editor.readline("sql> ")) {
            Ok(line) => match line.trim() {
                "" => {}
                "quit" | "exit" | "\\q" => break,
                "help" | "\\?" | "?" => output::note(HELP),
                sql => {
                    if let Err(error) = asking.answer(session, sql, &mut told).await {
                        if error.kind() == Kind::Interrupted {
                            return Err(error);
                        }
                        output::note(&report::text(&error));
                    }
                }
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error).into()),
        }
    }
    if let Some(file) = &history {
        // A history that cannot be kept is no reason to fail.
        let _ = editor.save_history(file);
    }
    Ok(told.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon_outside_of_quotes_and_comments() {
        for whole in ["SELECT 1;", "SELECT ';';", "SELECT 1; -- done", "SELECT\n1\n;\n", "SELECT 'it''s';"] {
            assert!(ends_statement(whole), "{whole}");
        }
        for open in ["SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT \"a;", ""] {
            assert!(!ends_statement(open), "{open}");
        }
    }
}
