//! What both tables are to the engine: columns, the conditions that the journal answers itself, and a scan of parts.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use journal::error::Kind;
use journal::store::ReadStore;

use super::error::carried;
use super::fields::Fields;
use super::pushdown::Asked;
use super::scan::{JournalExec, Part, Reading};
use crate::merge::{RunInput, tail_of};

/// A run of so many bytes is not fetched whole.
const LONG_BYTES: u64 = 1 << 20;
/// Bytes from which on two threads pay.
const ALL_BYTES_MIN: u64 = 16 << 20;

/// Where the rows of a table come from.
#[async_trait]
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// The table's name in plans and reports.
    const NAME: &'static str;

    /// Its columns.
    fn fields(&self) -> &Fields;

    /// How it is read.
    fn reading(&self) -> &Reading;

    /// What is read for these conditions, which can be met.
    async fn parts(&self, asked: &Asked) -> journal::error::Result<Vec<Part>>;
}

/// A source as a table of the engine.
#[derive(Debug)]
pub(super) struct Provider<S>(pub(super) S);

#[async_trait]
impl<S: Source> TableProvider for Provider<S> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.fields().schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let of = |filter: &&Expr| {
            if Asked::answers(filter, self.0.fields()) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(of).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let asked = Asked::of(filters, self.0.fields());
        let parts = if asked.is_possible() { self.0.parts(&asked).await.map_err(carried)? } else { Vec::new() };
        for part in &parts {
            for misfit in asked.misfits(&part.schema) {
                self.0
                    .reading()
                    .log
                    .note(format!("{misfit}; the key of table {} is {}", part.timeline.table, part.schema));
            }
        }
        let fields = self.0.fields().project(projection)?;
        Ok(Arc::new(JournalExec::new(S::NAME, self.0.reading().clone(), asked, fields, parts, limit)))
    }
}

/// The key in the middle of what is read, where two threads read it in less time than one: most of it lies in long runs, of which each
/// thread reads its blocks alone.
pub(super) async fn middle(
    store: &dyn ReadStore,
    inputs: &[RunInput],
    ranges: &[Option<Range<Bytes>>],
) -> journal::error::Result<Option<Bytes>> {
    let is_whole = matches!(ranges, [None]);
    let sum = |inputs: &mut dyn Iterator<Item = &RunInput>| inputs.map(|input| input.size).sum::<u64>();
    let all = sum(&mut inputs.iter());
    let long = sum(&mut inputs.iter().filter(|input| input.size >= LONG_BYTES));
    let Some(longest) = inputs.iter().max_by_key(|input| input.size).filter(|_| is_whole && long >= ALL_BYTES_MIN)
    else {
        return Ok(None);
    };
    // Short ones would be read twice.
    if long * 10 < all * 9 {
        return Ok(None);
    }
    match tail_of(store, &longest.key).await {
        Ok(tail) => {
            let middle = tail.blocks.get(tail.blocks.len() / 2).map(|block| Bytes::copy_from_slice(&block.first_key));
            Ok(middle.filter(|middle| !middle.is_empty()))
        }
        // Whoever reads it says so.
        Err(error) if error.kind() == Kind::Corrupt => Ok(None),
        Err(error) => Err(error),
    }
}
