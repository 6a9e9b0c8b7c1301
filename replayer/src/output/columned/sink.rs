//! Where rows are written.

use journal::error::Result;
use journal::model::WalkedValue;

use super::super::csv::{CsvLook, CsvSink};
use super::super::destination::{Destination, OutputError};
use super::super::{About, Format, Visited};
#[cfg(any(feature = "parquet", feature = "sqlite"))]
use super::super::{destination::PartialFile, typed::Layout};
use crate::state::{EncodedItem, ReadError};

/// Hears of an item's attributes on the way, if somebody wants to.
pub(in super::super) type See<'s> = Option<&'s mut dyn FnMut(&str, &WalkedValue<'_, '_>) -> Result<(), ReadError>>;

/// A file of rows that is being written.
pub(in super::super) trait RowSink: Send {
    /// Writes an item. Gives whether every number has its plain form.
    fn item(&mut self, item: &EncodedItem<'_>, see: See<'_>) -> Result<bool>;

    /// Makes the file whole; gives its bytes.
    fn finish(self: Box<Self>, about: &About, visited: &Visited) -> Result<u64, OutputError>;
}

/// One whose columns have types.
#[cfg(any(feature = "parquet", feature = "sqlite"))]
pub(in super::super) trait TypedSink: RowSink {
    /// Its columns.
    fn layout(&self) -> &Layout;

    /// Gives the file back, empty.
    fn give_up(self: Box<Self>) -> Result<PartialFile, OutputError>;
}

/// Begins such a file.
#[cfg(any(feature = "parquet", feature = "sqlite"))]
pub(super) type BeginTyped = fn(PartialFile, Layout, &About) -> Result<Box<dyn TypedSink>, OutputError>;

/// What rows will be written to.
pub(super) enum Target {
    Csv(Box<Destination>),
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    Typed(PartialFile, BeginTyped),
}

impl Target {
    pub(super) fn new(format: Format, destination: Destination) -> Result<Self, OutputError> {
        Ok(match format {
            #[cfg(feature = "parquet")]
            Format::Parquet => Self::Typed(destination.plain_file("Parquet")?, |file, layout, _| {
                Ok(Box::new(super::super::parquet::ParquetSink::begin(file, layout)?))
            }),
            #[cfg(feature = "sqlite")]
            Format::Sqlite => Self::Typed(destination.plain_file("SQLite")?, |file, layout, about| {
                Ok(Box::new(super::super::sqlite::SqliteSink::begin(file, layout, about)?))
            }),
            _ => Self::Csv(Box::new(destination)),
        })
    }
}

/// Begins a CSV.
pub(super) fn csv(look: CsvLook, destination: Box<Destination>) -> Result<Box<dyn RowSink>, OutputError> {
    Ok(Box::new(CsvSink::begin(&look.into_columns(), destination)?))
}
