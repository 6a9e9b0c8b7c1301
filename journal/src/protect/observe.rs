//! One look at a table and what feeds the journal from it.

use crate::control::{ControlPlane, Mapping};
use crate::error::Result;
use crate::model::{StreamArn, TableName};
use crate::source::stream::{StreamService, TableSight};

/// A table and the mappings of the journal's function that have to do with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// Its name.
    pub table: TableName,
    /// The table; none when there is none of this name.
    pub state: Option<TableSight>,
    /// Mappings from any of its streams to the journal's function, dead streams included.
    pub mappings: Vec<Mapping>,
}

impl Sight {
    /// The table's latest stream, where it is switched on.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamArn> {
        let stream = self.state.as_ref()?.stream.as_ref()?;
        stream.enabled.then_some(&stream.arn)
    }

    /// The mapping from the latest stream.
    #[must_use]
    pub fn mapping(&self) -> Option<&Mapping> {
        let stream = self.stream()?;
        self.mappings.iter().find(|mapping| mapping.source == stream.as_str())
    }

    /// Mappings from streams that are not the table's any more.
    pub fn dead_mappings(&self) -> impl Iterator<Item = &Mapping> {
        let stream = self.stream().map(StreamArn::as_str);
        self.mappings.iter().filter(move |mapping| Some(mapping.source.as_str()) != stream)
    }
}

/// Looks at a table.
///
/// # Errors
/// When a service does not answer or refuses, or there is no such function.
pub async fn observe(
    service: &dyn StreamService,
    control: &dyn ControlPlane,
    function: &str,
    table: &TableName,
) -> Result<Sight> {
    let mappings = control.mappings_of_function(function).await?;
    observe_with(service, &mappings, table).await
}

/// Looks at a table, the function's mappings being known.
///
/// # Errors
/// When the service does not answer or refuses.
pub async fn observe_with(service: &dyn StreamService, mappings: &[Mapping], table: &TableName) -> Result<Sight> {
    let state = service.find_table(table).await?;
    let of_table =
        |mapping: &&Mapping| StreamArn::parse(&mapping.source).is_ok_and(|stream| stream.timeline().table == *table);
    let mappings = mappings.iter().filter(of_table).cloned().collect();
    Ok(Sight { table: table.clone(), state, mappings })
}
