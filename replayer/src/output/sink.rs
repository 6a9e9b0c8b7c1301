//! What a format needs to know beforehand, and what it writes to.

use journal::error::Result;
use journal::model::Attributes;

use super::csv::CsvColumns;
use super::destination::{Destination, OutputError};
use super::spliced::SplicedSink;
#[cfg(feature = "sql")]
use super::typed::{Layout, Seen};
use super::{About, Format, Visited};
use crate::key_schema::KeySchema;

/// What is learnt from all items before the first is written.
pub(super) enum FirstLook {
    /// Nothing is needed.
    None,
    Csv(CsvColumns),
    #[cfg(feature = "sql")]
    Typed(Seen),
}

impl FirstLook {
    pub(super) fn new(format: Format, schema: Option<&KeySchema>) -> Self {
        match format {
            Format::DynamodbJson | Format::Json => Self::None,
            Format::Csv => Self::Csv(CsvColumns::of_key(schema)),
            #[cfg(feature = "sql")]
            Format::Parquet | Format::Sqlite => Self::Typed(Seen::default()),
        }
    }

    pub(super) fn is_needed(&self) -> bool {
        !matches!(self, Self::None)
    }

    pub(super) fn see(&mut self, item: &Attributes) -> Result<()> {
        match self {
            Self::None => {}
            Self::Csv(columns) => columns.see(item)?,
            #[cfg(feature = "sql")]
            Self::Typed(seen) => seen.see(item),
        }
        Ok(())
    }
}

/// A file that is being written, in one of the formats.
pub(super) enum Sink {
    Spliced(SplicedSink),
    Csv(CsvColumns, Box<Destination>),
    #[cfg(feature = "sql")]
    Parquet(Box<super::parquet::ParquetSink>),
    #[cfg(feature = "sql")]
    Sqlite(Box<super::sqlite::SqliteSink>),
}

impl Sink {
    #[cfg_attr(not(feature = "sql"), expect(unused_variables, reason = "typed formats alone need them"))]
    pub(super) fn begin(
        format: Format,
        look: FirstLook,
        mut destination: Destination,
        schema: Option<&KeySchema>,
        about: &About,
    ) -> Result<Self, OutputError> {
        Ok(match look {
            FirstLook::None => Self::Spliced(SplicedSink::new(format, destination)),
            FirstLook::Csv(columns) => {
                columns.write_header(&mut destination).map_err(|error| destination.failed(error))?;
                Self::Csv(columns, Box::new(destination))
            }
            #[cfg(feature = "sql")]
            FirstLook::Typed(seen) => {
                let layout = Layout::new(&seen, schema);
                if format == Format::Sqlite {
                    Self::Sqlite(Box::new(super::sqlite::SqliteSink::begin(destination, layout, about)?))
                } else {
                    Self::Parquet(Box::new(super::parquet::ParquetSink::begin(destination, layout)?))
                }
            }
        })
    }

    /// Writes an item; lines that are spliced are given to their own sink.
    pub(super) fn item(&mut self, item: &Attributes) -> Result<(), OutputError> {
        match self {
            Self::Spliced(_) => Ok(()),
            Self::Csv(columns, destination) => {
                columns.write_row(item, destination).map_err(|error| destination.failed(error))
            }
            #[cfg(feature = "sql")]
            Self::Parquet(sink) => sink.item(item),
            #[cfg(feature = "sql")]
            Self::Sqlite(sink) => sink.item(item),
        }
    }

    /// Makes the file whole; gives its bytes.
    #[cfg_attr(not(feature = "sql"), expect(unused_variables, reason = "typed formats alone say more of themselves"))]
    pub(super) fn finish(self, about: &About, visited: &Visited) -> Result<u64, OutputError> {
        match self {
            Self::Spliced(sink) => sink.finish(),
            Self::Csv(_, destination) => destination.finish(),
            #[cfg(feature = "sql")]
            Self::Parquet(sink) => sink.finish(about, visited),
            #[cfg(feature = "sql")]
            Self::Sqlite(sink) => sink.finish(about, visited),
        }
    }
}
