//! The table `changes`: a row a change, of every table of the session.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use journal::listing::TimelineObjects;
use journal::model::TableName;

use super::error::carried;
use super::fields::Fields;
use super::pushdown::Asked;
use super::scan::{JournalExec, Part, Reading, Work};
use crate::audit::key_schema_of;
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
impl TableProvider for ChangesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.fields.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| supported(filter, &self.fields)).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let asked = Asked::of(filters, &self.fields);
        let parts = if asked.is_possible() { self.parts(&asked).await.map_err(carried)? } else { Vec::new() };
        let fields = self.fields.project(projection)?;
        Ok(Arc::new(JournalExec::new("changes", self.reading.clone(), asked, fields, parts, limit)))
    }
}

/// Whether the journal answers a filter itself.
pub(super) fn supported(filter: &Expr, fields: &Fields) -> TableProviderFilterPushDown {
    if Asked::answers(filter, fields) {
        TableProviderFilterPushDown::Exact
    } else {
        TableProviderFilterPushDown::Unsupported
    }
}

impl ChangesTable {
    async fn parts(&self, asked: &Asked) -> journal::error::Result<Vec<Part>> {
        let wanted = asked.tables();
        if let Some(unknown) = wanted
            .as_ref()
            .and_then(|wanted| wanted.iter().find(|name| !self.tables.iter().any(|table| table.as_str() == **name)))
        {
            let known: Vec<&str> = self.tables.iter().map(TableName::as_str).collect();
            self.reading
                .log
                .note(format!("there is no table {unknown:?} in the journal; it has: {}", known.join(", ")));
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
        let inputs = objects
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
        Ok(Some(Part {
            timeline: objects.timeline.clone(),
            ranges: asked.ranges(&schema),
            schema,
            work: Work::Changes(inputs),
            segments: u64::try_from(objects.segments.len()).unwrap_or(u64::MAX),
            segment_bytes: objects.segments.iter().map(|segment| segment.size).sum(),
        }))
    }

    /// Says when the time that is asked for lies outside what the journal covers.
    fn say_outside(&self, table: &TableName, timelines: &[CoveredTimeline], asked: &Asked) {
        let Some((since, until)) = asked.seconds() else { return };
        let intervals: Vec<_> = timelines
            .iter()
            .flat_map(|timeline| &timeline.intervals)
            .filter_map(|interval| Some((interval.from?, interval.through?)))
            .collect();
        if !intervals.iter().any(|(from, through)| *from <= until && *through >= since) {
            let covered: Vec<String> = intervals.iter().map(|(from, through)| format!("{from} to {through}")).collect();
            let covered = if covered.is_empty() { "no time yet".to_owned() } else { covered.join(", ") };
            self.reading.log.note(format!(
                "the time asked for ({since} to {until}) is outside what the journal covers of table {table}: {covered}"
            ));
        }
    }
}
