//! The table `changes`: a row a change, of every table of the session.

use async_trait::async_trait;
use journal::listing::{TimelineObjects, nearest};
use journal::model::TableName;

use super::fields::Fields;
use super::provider::{Source, middle};
use super::pushdown::Asked;
use super::scan::{Part, Reading, Work};
use crate::audit::{key_schema_of, outside};
use crate::coverage::CoveredTimeline;
use crate::merge::{RunInput, RunKind};
use crate::plan::covered;

/// `changes`.
#[derive(Debug)]
pub(super) struct ChangesTable {
    pub(super) reading: Reading,
    pub(super) tables: Vec<TableName>,
    pub(super) fields: Fields,
}

#[async_trait]
impl Source for ChangesTable {
    const NAME: &'static str = "changes";

    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn reading(&self) -> &Reading {
        &self.reading
    }

    async fn parts(&self, asked: &Asked) -> journal::error::Result<Vec<Part>> {
        let wanted = asked.tables();
        if let Some(unknown) = wanted
            .as_ref()
            .and_then(|wanted| wanted.iter().find(|name| !self.tables.iter().any(|table| table.as_str() == **name)))
        {
            let known: Vec<&str> = self.tables.iter().map(TableName::as_str).collect();
            let near = nearest(unknown, &known).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            self.reading.log.note(format!(
                "there is no table {unknown:?} among those asked for, which are {}{near}",
                known.join(", ")
            ));
        }
        let mut parts = Vec::new();
        for table in &self.tables {
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(table.as_str())) {
                continue;
            }
            let timelines = covered(&*self.reading.store, table).await?;
            self.say_outside(table, &timelines, asked);
            for CoveredTimeline { objects, .. } in &timelines {
                if asked.accepts_timeline(objects.timeline.label.as_str()) {
                    parts.extend(self.part(objects, asked).await?);
                }
            }
        }
        Ok(parts)
    }
}

impl ChangesTable {
    async fn part(&self, objects: &TimelineObjects, asked: &Asked) -> journal::error::Result<Option<Part>> {
        let schema = match key_schema_of(&*self.reading.store, objects, Some(&self.reading.log.unreadable)).await? {
            Some(schema) if asked.accepts_schema(&schema) => schema,
            _ => return Ok(None),
        };
        let superseded = objects.superseded();
        let may_have = |seconds: Option<_>| match asked.seconds() {
            // Records without a second are not at any time.
            Some((since, until)) => seconds.is_some_and(|(first, last)| first <= until && last >= since),
            None => true,
        };
        let inputs: Vec<RunInput> = objects
            .segments
            .iter()
            .filter(|segment| !superseded.contains(&segment.key) && may_have(segment.name.seconds))
            .map(|segment| RunInput {
                key: segment.key.clone(),
                size: segment.size,
                kind: RunKind::Segment,
                from: None,
                until: None,
            })
            .collect();
        let ranges = asked.ranges(&schema);
        Ok(Some(Part {
            timeline: objects.timeline.clone(),
            middle: middle(&*self.reading.store, &inputs, &ranges).await?,
            ranges,
            schema,
            work: Work::Changes(inputs),
            segments: u64::try_from(objects.segments.len()).unwrap_or(u64::MAX),
            segment_bytes: objects.segments.iter().map(|segment| segment.size).sum(),
        }))
    }

    /// Says when the time that is asked for lies outside what the journal covers.
    fn say_outside(&self, table: &TableName, timelines: &[CoveredTimeline], asked: &Asked) {
        if let Some(outside) = asked.seconds().and_then(|asked| outside(table, timelines, asked)) {
            self.reading.log.note(outside);
        }
    }
}
