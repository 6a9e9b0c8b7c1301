//! The objects of a destination, one after the other: read, appended, marked.

use bytes::Bytes;
use serde::Serialize;

use super::document::{self, Given};
use super::fetch::fetch;
use crate::append::{self, AppendReport};
use crate::documents;
use crate::error::{Error, Kind, Result};
use crate::interrupt::{Interrupt, InterruptedError};
use crate::source::event;
use crate::source::stream::StreamService;
use crate::store::{PutOutcome, StoreError, WriteStore};

/// Where the marks lie, below the place that is redriven.
const MARKS: &str = "redriven/";

/// One that could not be redriven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The object's key, or the message's place in what was given.
    pub name: String,
    /// Why.
    pub reason: String,
    /// What can be done.
    #[serde(skip)]
    pub kind: Kind,
}

/// What a redrive did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RedriveReport {
    /// Objects or messages looked at.
    pub batches: u64,
    /// Those that are durable now, for the first time.
    pub redriven: u64,
    /// Those that were marked before.
    pub done_before: u64,
    /// Those whose records were read again from their stream.
    pub fetched_again: u64,
    /// What the appends did.
    pub appended: AppendReport,
    /// Those that could not be redriven.
    pub left: Vec<Left>,
}

/// A mark: that an object is done, and with what. It says nothing of when, so the same object makes the same mark.
#[derive(Debug, Serialize)]
struct Mark<'a> {
    object: &'a str,
    records: u64,
    quarantined: u64,
}

/// Appends the batches of every object in `place`, and marks each that is durable.
///
/// # Errors
/// When `place` cannot be listed, the journal fails, or it was interrupted. What fails with a single object is in the
/// report.
pub async fn redrive_place(
    journal: &dyn WriteStore,
    place: &dyn WriteStore,
    service: &dyn StreamService,
    interrupt: &Interrupt,
    report: &mut RedriveReport,
) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        let page = place.list("", after.as_deref()).await?;
        for object in page.objects.iter().filter(|object| !is_mark(&object.key)) {
            if interrupt.requested() {
                return Err(interrupted(&object.key));
            }
            report.batches += 1;
            let mark = format!("{MARKS}{}.json", object.key);
            match is_marked(place, &mark).await {
                Ok(false) => {}
                Ok(true) => {
                    report.done_before += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let bytes = place.get(&object.key).await?;
            let Some(appended) = one(journal, service, &object.key, &bytes, report).await? else { continue };
            let says = Mark { object: &object.key, records: appended.records, quarantined: appended.quarantined };
            match place.put_new(&mark, documents::to_bytes(&says)?).await {
                Ok(PutOutcome::Created | PutOutcome::AlreadyThere) | Err(StoreError::Differs { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Whether a key is that of a mark, also one of a place below this one.
fn is_mark(key: &str) -> bool {
    key.starts_with(MARKS) || key.contains("/redriven/")
}

async fn is_marked(place: &dyn WriteStore, mark: &str) -> Result<bool, StoreError> {
    match place.get_tail(mark, 1).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn interrupted(at: &str) -> Error {
    let step = format!("redriving {at}");
    let resume = "what is done is in the journal and marked; run the same command again for the rest".to_owned();
    InterruptedError { step, resume }.into()
}

/// Appends the batches of messages that were taken out of a queue. They cannot be marked: who took them deletes them.
///
/// # Errors
/// When the journal fails, or it was interrupted.
pub async fn redrive_messages(
    journal: &dyn WriteStore,
    service: &dyn StreamService,
    messages: &[(String, Bytes)],
    interrupt: &Interrupt,
    report: &mut RedriveReport,
) -> Result<()> {
    for (name, bytes) in messages {
        if interrupt.requested() {
            return Err(interrupted(name));
        }
        report.batches += 1;
        one(journal, service, name, bytes, report).await?;
    }
    Ok(())
}

/// One object or message; none when it was left.
async fn one(
    journal: &dyn WriteStore,
    service: &dyn StreamService,
    name: &str,
    bytes: &[u8],
    report: &mut RedriveReport,
) -> Result<Option<AppendReport>> {
    match append_one(journal, service, bytes).await {
        Ok((appended, fetched)) => {
            report.redriven += 1;
            report.fetched_again += u64::from(fetched);
            report.appended += appended;
            Ok(Some(appended))
        }
        // A journal that fails fails for all that follow.
        Err(error) if error.downcast_ref::<StoreError>().is_some() => Err(error),
        Err(error) => {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            report.left.push(Left { name: name.to_owned(), reason: format!("{error}{hint}"), kind: error.kind() });
            Ok(None)
        }
    }
}

async fn append_one(
    journal: &dyn WriteStore,
    service: &dyn StreamService,
    bytes: &[u8],
) -> Result<(AppendReport, bool)> {
    let mut appended = AppendReport::default();
    let mut fetched = false;
    for given in document::read(bytes)? {
        let batch = match given {
            Given::Event(event) => event::decode_event(&event)?,
            Given::Range(range) => {
                fetched = true;
                fetch(service, &range).await?
            }
        };
        appended += append::append(journal, batch).await?;
    }
    Ok((appended, fetched))
}
