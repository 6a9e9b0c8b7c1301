//! Parquet: a column for each attribute, in row groups of bounded size, compressed with zstd.
//!
//! What enters are rows of typed columns; what leaves is a Parquet file that says of itself what it holds. Its columns
//! are spelled out in SEMANTICS.md, "Export formats".

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder as _, BinaryBuilder, BooleanBuilder, Decimal128Builder, Int64Builder, StringBuilder,
};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use journal::error::Result;
use journal::model::Attributes;
use journal::source::attribute::parse_item;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::columned::{RowSink, See, TypedSink};
use super::destination::{OutputError, PartialFile};
use super::typed::{Cell, ColumnKind, EXACT, Layout, Rows};
use super::{About, Visited};
use crate::state::EncodedItem;

/// The metadata of a column that names its attribute.
pub(super) const ATTRIBUTE: &str = "dynamodb.attribute";
/// The metadata of a column that names its attribute's type.
pub(super) const TYPE: &str = "dynamodb.type";
/// Rows that are put into columns together.
const BATCH_ROWS: usize = 2_048;
/// Bytes of values after which a batch ends earlier.
const BATCH_BYTES: usize = 8 << 20;
/// Rows and bytes of a row group, which is held in memory until it is written.
const GROUP_ROWS: usize = 1 << 17;
const GROUP_BYTES: usize = 32 << 20;

/// Writes batches of rows as one Parquet file.
pub struct ParquetWriter(ArrowWriter<File>);

impl std::fmt::Debug for ParquetWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetWriter").finish_non_exhaustive()
    }
}

impl ParquetWriter {
    /// Into this file, with columns of this schema.
    ///
    /// # Errors
    /// When Parquet has no such columns.
    pub fn new(file: File, schema: SchemaRef) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        Ok(Self(ArrowWriter::try_new(file, schema, Some(properties))?))
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When they have other columns, or the file cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.0.write(batch)?;
        if self.0.in_progress_size() >= GROUP_BYTES { self.0.flush() } else { Ok(()) }
    }

    /// Writes what the file says of itself, by name and value, and its end.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self, said: impl IntoIterator<Item = (String, String)>) -> Result<(), ParquetError> {
        for (name, value) in said {
            self.0.append_key_value_metadata(KeyValue::new(name, value));
        }
        self.0.close().map(drop)
    }
}

/// A Parquet file that is being written.
pub(super) struct ParquetSink {
    file: PartialFile,
    writer: ParquetWriter,
    table: Rows,
    schema: SchemaRef,
    /// Of each column, and of what the columns cannot say.
    builders: Vec<Builder>,
    rows: usize,
    bytes: usize,
}

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Decimal(Decimal128Builder),
    Binary(BinaryBuilder),
    Boolean(BooleanBuilder),
}

fn data_type(kind: ColumnKind) -> DataType {
    match kind {
        ColumnKind::Integer => DataType::Int64,
        ColumnKind::Decimal(scale) => DataType::Decimal128(38, scale.cast_signed()),
        ColumnKind::Binary => DataType::Binary,
        ColumnKind::Boolean => DataType::Boolean,
        _ => DataType::Utf8,
    }
}

fn schema(layout: &Layout) -> SchemaRef {
    let fields = layout.columns().iter().map(|column| {
        let metadata = [(ATTRIBUTE, column.attribute.as_str()), (TYPE, column.kind.name())];
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Field::new(&column.name, data_type(column.kind), true).with_metadata(metadata)
    });
    let fields = fields.chain(std::iter::once(Field::new(EXACT, DataType::Utf8, true)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn builder(kind: ColumnKind) -> Builder {
    match kind {
        ColumnKind::Integer => Builder::Integer(Int64Builder::new()),
        ColumnKind::Decimal(_) => Builder::Decimal(Decimal128Builder::new().with_data_type(data_type(kind))),
        ColumnKind::Binary => Builder::Binary(BinaryBuilder::new()),
        ColumnKind::Boolean => Builder::Boolean(BooleanBuilder::new()),
        _ => Builder::Text(StringBuilder::new()),
    }
}

impl Builder {
    /// Adds a cell; gives its bytes, about.
    fn add(&mut self, cell: &Cell<'_>) -> usize {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => {
                builder.append_value(text);
                text.len()
            }
            (Self::Integer(builder), Cell::Integer(number)) => {
                builder.append_value(*number);
                8
            }
            (Self::Decimal(builder), Cell::Decimal(units)) => {
                builder.append_value(*units);
                16
            }
            (Self::Binary(builder), Cell::Binary(bytes)) => {
                builder.append_value(bytes);
                bytes.len()
            }
            (Self::Boolean(builder), Cell::Boolean(value)) => {
                builder.append_value(*value);
                1
            }
            (builder, _) => {
                builder.add_none();
                0
            }
        }
    }

    fn add_none(&mut self) {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Integer(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
        }
    }

    /// How many cells were added since they were last taken.
    fn rows(&self) -> usize {
        match self {
            Self::Text(builder) => builder.len(),
            Self::Integer(builder) => builder.len(),
            Self::Decimal(builder) => builder.len(),
            Self::Binary(builder) => builder.len(),
            Self::Boolean(builder) => builder.len(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
        }
    }
}

fn to_io(error: ParquetError) -> std::io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => *io,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    }
}

impl ParquetSink {
    pub(super) fn begin(file: PartialFile, layout: Layout) -> Result<Self, OutputError> {
        let schema = schema(&layout);
        let opened =
            std::fs::OpenOptions::new().write(true).open(file.temporary()).map_err(|error| file.failed(error))?;
        let writer = ParquetWriter::new(opened, Arc::clone(&schema)).map_err(|error| file.failed(to_io(error)))?;
        let kinds = layout.columns().iter().map(|column| column.kind).chain([ColumnKind::Text]);
        let builders = kinds.map(builder).collect();
        Ok(Self { file, writer, table: Rows::new(layout), schema, builders, rows: 0, bytes: 0 })
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        if self.rows == 0 {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let arrow = |error: ArrowError| std::io::Error::other(error);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        let batch = batch.map_err(|error| self.file.failed(arrow(error)))?;
        self.writer.write(&batch).map_err(|error| self.file.failed(to_io(error)))
    }
}

impl RowSink for ParquetSink {
    fn item(&mut self, item: &EncodedItem<'_>, see: See<'_>) -> Result<bool> {
        let Self { table, builders, bytes, .. } = self;
        let put = |column: usize, cell: Cell<'_>| {
            *bytes += builders.get_mut(column).map_or(0, |builder| builder.add(&cell));
            Ok(())
        };
        let plain_numbers = table.item(item, see, put)?;
        for builder in builders.iter_mut().filter(|builder| builder.rows() == self.rows) {
            builder.add_none();
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(plain_numbers)
    }

    /// Writes what the file says of itself, and makes it whole; gives its bytes.
    fn finish(mut self: Box<Self>, about: &About, visited: &Visited) -> Result<u64, OutputError> {
        self.flush()?;
        let Self { file, writer, table, .. } = *self;
        let columns: Vec<serde_json::Value> = table
            .layout()
            .columns()
            .iter()
            .map(|column| serde_json::json!({"attribute": column.attribute, "column": column.name, "type": column.kind.name()}))
            .collect();
        let columns = serde_json::Value::Array(columns).to_string();
        let said = about.said(visited).into_iter().map(|(name, value)| (format!("journal.{name}"), value));
        let said = std::iter::once(("journal.columns".to_owned(), columns)).chain(said);
        writer.finish(said).map_err(|error| file.failed(to_io(error)))?;
        file.finish()
    }
}

impl TypedSink for ParquetSink {
    fn layout(&self) -> &Layout {
        self.table.layout()
    }

    fn give_up(self: Box<Self>) -> Result<PartialFile, OutputError> {
        let Self { file, writer, .. } = *self;
        drop(writer);
        file.emptied()
    }
}

/// Reads all items of a file of this module.
pub(super) fn read(path: &Path, mut visit: impl FnMut(Attributes) -> Result<()>) -> Result<()> {
    let unreadable = |reason: String| OutputError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build);
    for batch in reader.map_err(|error| unreadable(error.to_string()))? {
        let batch = batch.map_err(|error| unreadable(error.to_string()))?;
        let schema = batch.schema();
        let mut items = vec![Attributes::new(); batch.num_rows()];
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let told = (field.metadata().get(ATTRIBUTE), field.metadata().get(TYPE));
            for (at, item) in items.iter_mut().enumerate().filter(|(at, _)| !array.is_null(*at)) {
                let found = cell(array, at).ok_or_else(|| unreadable(format!("column {:?}", field.name())))?;
                match (told, found) {
                    ((Some(attribute), Some(kind)), found) => {
                        let kind = kind_of(kind, array.data_type());
                        let kind = kind.ok_or_else(|| unreadable(format!("column {:?}", field.name())))?;
                        if let Some(value) = found.value(kind)? {
                            item.insert(attribute.clone(), value);
                        }
                    }
                    (_, Cell::Text(text)) => item.extend(parse_item(text.as_bytes())?),
                    _ => return Err(unreadable(format!("column {:?}", field.name())).into()),
                }
            }
        }
        items.into_iter().try_for_each(&mut visit)?;
    }
    Ok(())
}

fn kind_of(name: &str, data_type: &DataType) -> Option<ColumnKind> {
    match data_type {
        DataType::Decimal128(_, scale) => u8::try_from(*scale).ok().map(ColumnKind::Decimal),
        _ => ColumnKind::from_name(name),
    }
}

fn cell(array: &ArrayRef, at: usize) -> Option<Cell<'_>> {
    Some(match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(at).into()),
        DataType::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(at)),
        DataType::Decimal128(..) => Cell::Decimal(array.as_primitive::<Decimal128Type>().value(at)),
        DataType::Binary => Cell::Binary(array.as_binary::<i32>().value(at).into()),
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(at)),
        _ => return None,
    })
}
