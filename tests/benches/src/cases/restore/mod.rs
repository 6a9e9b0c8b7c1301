//! Restore into a table: beside raw requests, beside rivals, and what the client itself costs.

mod ours;
mod peers;

use std::sync::Arc;

use journal::store::ReadStore;

use crate::bars::{Bar, Row};
use crate::history;
use crate::measure::{self, Spread};
use crate::null_server::NullServer;
use crate::number;
use crate::raw_requests::Prepared;
use crate::workload::Profile;

use super::Context;
use ours::{Ours, Source, State, Way};
use peers::{Peer, Rival};

/// Changes whose state is restored at most: the servers of this machine take some thousand items a second.
const CHANGES_MAX: u64 = 40_000;
/// Changes whose state is written to the null server.
const NULL_CHANGES_MAX: u64 = 200_000;
/// Rounds of whole restores, at most.
const ROUNDS_MAX: usize = 5;

const SHARE: &str = "restore into a table: share of R_restore, by the clock";
const BOTO3: &str = "restore: times faster than boto3's batch_writer";
const DYNAMODUMP: &str = "restore: times faster than dynamodump";
const CLIENT: &str = "restore: client processor time an item, null server";

/// Restores beside raw requests and beside rivals.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let mut rows = match beside(context) {
        Ok(rows) => rows,
        Err(why) => vec![
            Row::unmeasured("restore", SHARE, Bar::AtLeast(97.0), "%", why.clone()),
            Row::unmeasured("restore", BOTO3, Bar::AtLeast(3.0), "×", why.clone()),
            Row::unmeasured("restore", DYNAMODUMP, Bar::AtLeast(3.0), "×", why),
        ],
    };
    rows.extend(match client(context) {
        Ok(rows) => rows,
        Err(why) => vec![Row::unmeasured("restore", CLIENT, Bar::AtMost(2.5), "µs", why)],
    });
    rows
}

/// A restore to the null server, to be done as often as is wanted; gives the items written.
///
/// # Errors
/// When the server cannot be started.
pub fn to_null_server(context: &Context) -> Result<impl FnMut() -> u64, String> {
    let server = NullServer::start()?;
    let source = source(context, context.changes);
    Ok(move || {
        let client = peers::client_of(server.port());
        let restored = Ours::new(&client, "null").restore(&context.runtime, &source);
        restored.expect("a restore that writes").items
    })
}

fn source(context: &Context, changes: u64) -> Source {
    let history = context.compacted(Profile::w1(), changes);
    let store: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    Source::new(&context.runtime, store, history.seconds.1)
}

/// What a round took, by the clock.
#[derive(Default)]
struct Rounds {
    ours: Vec<f64>,
    proven: Vec<f64>,
    raw: Vec<f64>,
    rivals: [Vec<f64>; 2],
}

fn beside(context: &Context) -> Result<Vec<Row>, String> {
    let peer = Peer::start(context)?;
    let source = source(context, context.changes.min(CHANGES_MAX));
    let items = source.items(&context.runtime);
    let files = peers::Files::new(&items)?;
    let mut rounds = Rounds::default();
    let mut why = [None, None];
    for round in 0..=context.rounds.clamp(1, ROUNDS_MAX) {
        // The first round warms up.
        let counts = round > 0;
        let table = |who: &str| format!("{who}-{round}");
        let ours = || -> Result<State, String> {
            let mut ours = Ours::new(&peer.client(), &table("ours"));
            let state = ours.restore(&context.runtime, &source)?;
            state.proven.map(|_| state).ok_or_else(|| "the restored table is not proven".to_owned())
        };
        let raw = || -> Result<f64, String> {
            let table = table("raw");
            peer.make(&context.runtime, &table)?;
            let prepared = Prepared::new(peer.port(), &table, &items);
            let mut sent = Ok(());
            let cost = measure::time(&mut || sent = prepared.send(peer.port(), ours::CONNECTIONS));
            sent.map(|()| cost.clock)
        };
        let (state, limit) = if round % 2 == 0 {
            let state = ours()?;
            (state, raw()?)
        } else {
            let limit = raw()?;
            (ours()?, limit)
        };
        if counts {
            rounds.ours.push(state.writing.clock);
            rounds.proven.extend(state.proven);
            rounds.raw.push(limit);
        }
        for (at, rival) in [Rival::Boto3, Rival::Dynamodump].into_iter().enumerate() {
            // Slow, and not near the bar: three rounds tell.
            if why[at].is_some() || !counts || round > 3 {
                continue;
            }
            let table = table(rival.name());
            peer.make(&context.runtime, &table)?;
            match rival.restore(context, &peer, &table, &files) {
                Ok(seconds) => rounds.rivals[at].push(seconds),
                Err(reason) => why[at] = Some(reason),
            }
            peer.drop_after_count(&context.runtime, &table, items.len())?;
        }
        for who in ["ours", "raw"] {
            peer.drop_after_count(&context.runtime, &table(who), items.len())?;
        }
    }
    Ok(rows_beside(items.len(), &rounds, why))
}

fn rows_beside(items: usize, rounds: &Rounds, why: [Option<String>; 2]) -> Vec<Row> {
    let share = |ours: &[f64]| {
        Spread::of(ours.iter().zip(&rounds.raw).map(|(ours, limit)| 100.0 * limit / ours.max(1e-9)).collect())
    };
    let rate = |seconds: &[f64]| number(crate::count(items)) / Spread::of(seconds.to_vec()).median;
    let note = format!(
        "{items} items into {}: {:.0} items a second, R_restore {:.0}, {} connections each",
        peers::NAME,
        rate(&rounds.ours),
        rate(&rounds.raw),
        ours::CONNECTIONS
    );
    let mut rows = vec![
        Row::spread("restore", SHARE, Bar::AtLeast(97.0), "%", share(&rounds.ours)).note(note),
        Row::spread(
            "restore",
            "the same with the journal counted before, the table made, read back and compared",
            Bar::None,
            "%",
            share(&rounds.proven),
        ),
    ];
    let mut why = why.into_iter();
    for (what, seconds) in [BOTO3, DYNAMODUMP].into_iter().zip(&rounds.rivals) {
        let bar = Bar::AtLeast(3.0);
        if let Some(why) = why.next().flatten() {
            rows.push(Row::unmeasured("restore", what, bar, "×", why));
            continue;
        }
        let median = |seconds: &[f64]| Spread::of(seconds.to_vec()).median;
        let rival = median(seconds);
        let note =
            format!("{:.0} items a second; R_restore is {:.2} × as fast", rate(seconds), rival / median(&rounds.raw));
        rows.push(Row::new("restore", what, bar, "×", rival / median(&rounds.ours)).note(note));
    }
    rows
}

fn client(context: &Context) -> Result<Vec<Row>, String> {
    let server = NullServer::start()?;
    let source = source(context, context.changes.min(NULL_CHANGES_MAX));
    let restored = |way| {
        let client = peers::client_of(server.port());
        Ours::through(&client, "null", way).restore(&context.runtime, &source)
    };
    let prepared = Prepared::new(server.port(), "null", &source.items(&context.runtime));
    let (mut whole, mut alone, mut sdk, mut raw, mut read, mut seconds) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut items = 0;
    for round in 0..=context.rounds {
        let (ours, theirs) = (restored(Way::Straight)?, restored(Way::Client)?);
        items = ours.items;
        let each = |seconds: f64| 1e6 * seconds / number(items.max(1));
        let reading = measure::time(&mut || {
            let _ = source.count(&context.runtime);
        });
        let mut sent = Ok(());
        let limit = measure::time(&mut || sent = prepared.send(server.port(), ours::CONNECTIONS));
        sent?;
        if round > 0 {
            whole.push(each(ours.writing.processor));
            alone.push(each(ours.writing.processor - reading.processor));
            sdk.push(each(theirs.writing.processor - reading.processor));
            raw.push(each(limit.processor));
            read.push(each(reading.processor));
            seconds.push(ours.writing.clock);
        }
    }
    let each = |seconds: &[f64]| number(items) / Spread::of(seconds.to_vec()).median;
    let note = format!(
        "{items} items at {:.0} a second, all threads; what reading the same items takes is taken off",
        each(&seconds)
    );
    let row = |what: &str, values| Row::spread("restore", what, Bar::None, "µs", Spread::of(values));
    Ok(vec![
        Row::spread("restore", CLIENT, Bar::AtMost(2.5), "µs", Spread::of(alone)).note(note),
        row("the same, each request through all of the SDK's client", sdk),
        row("the same, R_restore: requests that are prepared and not signed", raw),
        row("restore, null server: reading, digest and writing together", whole),
        row("restore, null server: reading and digest alone", read),
    ])
}
