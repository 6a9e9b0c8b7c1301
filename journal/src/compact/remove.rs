//! Deletes what compaction has replaced, when the grace time is over.

use std::collections::HashMap;

use tracing::{info, warn};

use super::{CompactOptions, CompactReport};
use crate::error::Result;
use crate::layout;
use crate::listing::TimelineObjects;
use crate::model::Second;
use crate::store::WriteStore;

/// Deletes the inputs of compactions whose outputs are all there and whose grace time is over, then their documents.
pub(super) async fn remove(
    store: &dyn WriteStore,
    objects: &TimelineObjects,
    now: Second,
    options: &CompactOptions,
) -> Result<CompactReport> {
    let mut report = CompactReport::default();
    let folder = layout::segments_folder(&objects.timeline);
    let listed: HashMap<&str, u64> = objects
        .segments
        .iter()
        .filter_map(|segment| Some((segment.key.strip_prefix(&folder)?, segment.size)))
        .collect();
    // All are judged by the one listing before anything is deleted.
    let ripe = objects.compactions.iter().filter(|compaction| {
        let whole = objects.holds_outputs(compaction);
        if !whole {
            warn!(document = compaction.key, "an output of this compaction is not there: its inputs stay");
        }
        let over = compaction.modified.saturating_add(options.grace.as_secs()) <= now.get();
        if whole && !over {
            report.waiting += u64::try_from(
                compaction.document.inputs.iter().filter(|name| listed.contains_key(name.as_str())).count(),
            )
            .unwrap_or(0);
        }
        whole && over
    });
    let mut ripe: Vec<_> = ripe.collect();
    // Lower levels first: were the outputs of one deleted before its inputs, and then everything stopped, nothing would say
    // any more that the inputs are held by what was made of the outputs.
    ripe.sort_by_key(|compaction| compaction.document.outputs.first());
    for compaction in ripe {
        for name in &compaction.document.inputs {
            let Some(size) = listed.get(name.as_str()) else { continue };
            report.deleted += 1;
            report.bytes_deleted += size;
            if !options.dry_run {
                store.delete(&format!("{folder}{name}")).await?;
                report.deletes += 1;
            }
        }
        if !options.dry_run {
            store.delete(&compaction.key).await?;
            report.deletes += 1;
        }
        info!(document = compaction.key, "what was compacted is deleted");
    }
    // How far compactions had come that are done, or that nobody has gone on with.
    for (key, modified) in &objects.progress {
        if !options.dry_run && modified.saturating_add(options.grace.as_secs()) <= now.get() {
            store.delete(key).await?;
            report.deletes += 1;
        }
    }
    Ok(report)
}
