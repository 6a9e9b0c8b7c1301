//! The table function `state_at(table, cut)`: a row an item that is live at the cut, as `replay export` has it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;
use jiff::Zoned;
use journal::model::{TableName, TimelineLabel};

use super::error::carried;
use super::fields::Fields;
use super::provider::{Provider, Source, middle};
use super::pushdown::Asked;
use super::scan::{Part, Reading, Work};
use crate::cut::CutRequest;
use crate::plan::{ReplayPlan, ReplayRequest, plan};

/// `state_at`.
#[derive(Debug)]
pub(super) struct StateAt {
    pub(super) reading: Reading,
    pub(super) allow_partial: bool,
}

impl TableFunctionImpl for StateAt {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let texts: Vec<Option<String>> = args.exprs().iter().map(text).collect();
        let (table, cut, label) = match texts.as_slice() {
            [Some(table), Some(cut)] => (table, cut, None),
            [Some(table), Some(cut), Some(label)] => (table, cut, Some(label)),
            _ => {
                return plan_err!(
                    "state_at wants a table's name and a cut, written in place: state_at('notes-table-dev', '2026-11-22T09:59:59Z'), \
                     or with 'latest', 'sequence:NUMBER', 'before:TIME', and as a third argument the stream's label"
                );
            }
        };
        let request = ReplayRequest {
            table: TableName::parse(table).map_err(carried)?,
            cut: CutRequest::parse(cut, &Zoned::now()).map_err(carried)?,
            timeline: label.map(|label| TimelineLabel::parse(label)).transpose().map_err(carried)?,
            allow_partial: self.allow_partial,
        };
        // The engine asks here without waiting, and what it asks is in the store.
        let planned = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(plan(&*self.reading.store, &request))
        });
        let plan = planned.map_err(carried)?;
        for note in &plan.notes {
            self.reading.log.note(note.clone());
        }
        let fields = Fields::of_state(plan.key.as_ref().map(crate::key_schema::KeySchema::attributes));
        Ok(Arc::new(Provider(StateTable { reading: self.reading.clone(), plan, fields })))
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(number.to_string()),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some(number.to_string()),
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

#[derive(Debug)]
struct StateTable {
    reading: Reading,
    plan: ReplayPlan,
    fields: Fields,
}

#[async_trait]
impl Source for StateTable {
    const NAME: &'static str = "state_at";

    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn reading(&self) -> &Reading {
        &self.reading
    }

    async fn parts(&self, asked: &Asked) -> journal::error::Result<Vec<Part>> {
        let timeline = &self.plan.timeline;
        let fits = asked.tables().is_none_or(|tables| tables.contains(timeline.table.as_str()))
            && asked.accepts_timeline(timeline.label.as_str());
        let part = self.plan.key.clone().filter(|_| fits).map(|schema| Part {
            timeline: timeline.clone(),
            ranges: asked.ranges(&schema),
            middle: None,
            schema,
            work: Work::State(Box::new(self.plan.clone())),
            segments: u64::try_from(self.plan.inputs.len() + self.plan.left_out).unwrap_or(u64::MAX),
            segment_bytes: self.plan.bytes(),
        });
        let mut parts: Vec<Part> = part.into_iter().collect();
        for part in &mut parts {
            part.middle = middle(&*self.reading.store, &self.plan.inputs, &part.ranges).await?;
        }
        Ok(parts)
    }
}
