//! The gap between two streams of one table: it was switched off and on again.
//!
//! What happened to the table in between is in no stream. The journal knows both timelines; this states what lies between
//! them, in the younger one, once the older has been read to its end. A table that was deleted and made again has no such
//! gap: the new one starts empty.

use tracing::debug;

use super::backoff::Halt;
use super::context::Line;
use super::end::{DISABLED_GAP, STREAM_DISABLED};
use super::gap;
use super::known::{self, KnownTimeline};
use super::stop::Stop;
use crate::documents::{self, EndDocument, GapDocument, TableDocument};
use crate::layout;
use crate::model::Second;

/// States the gap between the timeline of `line`, whose table looks like `document`, and the last one of the same table
/// before it. Does nothing while that one has not ended; it is called again then.
pub(super) async fn state_gap(line: &Line, stop: &Stop, document: &TableDocument) -> Result<(), Halt> {
    let context = &line.context;
    let store = context.store.as_ref();
    let Some(born) = line.timeline().label.birth_milliseconds() else { return Ok(()) };
    let what = format!("looking for earlier streams of table {}", line.timeline().table);
    let timelines = known::timelines(context, stop, &line.timeline().table).await?;
    let earlier = timelines
        .into_iter()
        .filter(|known| known.timeline != *line.timeline())
        .filter(|known| is_of_same_table(known, document))
        .filter_map(|known| Some((known.timeline.label.birth_milliseconds().filter(|birth| *birth < born)?, known)))
        .max_by_key(|(birth, _)| *birth);
    let Some((_, earlier)) = earlier else { return Ok(()) };
    let name = format!("since-{}", layout::safe_part(earlier.timeline.label.as_str()));
    let own = format!("{}{name}.json", layout::gaps_folder(line.timeline()));
    let end = layout::end_document(&earlier.timeline);
    let off = format!("{}{DISABLED_GAP}.json", layout::gaps_folder(&earlier.timeline));
    let (stated, end, off): (Option<GapDocument>, Option<EndDocument>, Option<GapDocument>) = context
        .retry(stop, &what, || async {
            Ok::<_, documents::DocumentError>((
                documents::read(store, &own).await?,
                documents::read(store, &end).await?,
                documents::read(store, &off).await?,
            ))
        })
        .await?;
    let Some(end) = end.filter(|end| stated.is_none() && end.reason == STREAM_DISABLED) else {
        debug!(timeline = %line.timeline(), earlier = %earlier.timeline, "no gap is to be stated (yet) between the streams");
        return Ok(());
    };
    let to = Second::new(born.div_ceil(1000)).unwrap_or(Second::MAX);
    let from = off.map_or(end.at, |gap| gap.from).min(to.before());
    let gap = GapDocument {
        shard: None,
        after_sequence: end.last_sequence,
        before_sequence: None,
        from,
        to,
        reason: format!(
            "the stream was switched off and on: changes between streams {} and {} are in neither",
            earlier.timeline.label,
            line.timeline().label
        ),
    };
    gap::state_as(line, stop, &name, &gap).await
}

fn is_of_same_table(earlier: &KnownTimeline, document: &TableDocument) -> bool {
    let created = document.created_milliseconds;
    let Some(described) = &earlier.document else {
        // A stream that was never described is of this table if it is not older than it.
        let birth = earlier.timeline.label.birth_milliseconds();
        return birth.zip(created).is_some_and(|(birth, created)| created <= birth);
    };
    match (&described.table_id, &document.table_id) {
        (Some(earlier), Some(later)) => earlier == later,
        _ => described.created_milliseconds.is_some() && described.created_milliseconds == created,
    }
}
