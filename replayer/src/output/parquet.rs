//! Parquet: a column for each attribute, in row groups of bounded size, compressed with zstd.
//!
//! What enters are rows of typed columns; what leaves is a Parquet file that says of itself what it holds. Its columns
//! are spelled out in SEMANTICS.md, "Export formats".

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryBuilder, BooleanBuilder, Decimal128Builder, Int64Builder, RecordBatch,
    StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use journal::error::Result;
use journal::model::Attributes;
use journal::source::attribute::{ItemJson, parse_item};

use super::destination::{Destination, OutputError, PartialFile};
use super::typed::{Cell, ColumnKind, EXACT, Layout};
use super::{About, Visited};

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

/// A Parquet file that is being written.
pub(super) struct ParquetSink {
    file: PartialFile,
    writer: ArrowWriter<File>,
    layout: Layout,
    schema: SchemaRef,
    builders: Vec<Builder>,
    exact: StringBuilder,
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
            (builder, _) => builder.add_none(),
        }
    }

    fn add_none(&mut self) -> usize {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Integer(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
        }
        0
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
    pub(super) fn begin(destination: Destination, layout: Layout) -> Result<Self, OutputError> {
        let file = destination.plain_file("Parquet")?;
        let schema = schema(&layout);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let opened =
            std::fs::OpenOptions::new().write(true).open(file.temporary()).map_err(|error| file.failed(error))?;
        let writer = ArrowWriter::try_new(opened, Arc::clone(&schema), Some(properties));
        let writer = writer.map_err(|error| file.failed(to_io(error)))?;
        let builders = layout.columns().iter().map(|column| builder(column.kind)).collect();
        Ok(Self { file, writer, layout, schema, builders, exact: StringBuilder::new(), rows: 0, bytes: 0 })
    }

    pub(super) fn item(&mut self, item: &Attributes) -> Result<(), OutputError> {
        let row = self.layout.row(item);
        for (builder, cell) in self.builders.iter_mut().zip(&row.cells) {
            self.bytes += builder.add(cell);
        }
        match &row.exact {
            None => self.exact.append_null(),
            Some(exact) => {
                let text = serde_json::to_string(&ItemJson(exact)).map_err(|error| self.file.failed(error.into()))?;
                self.bytes += text.len();
                self.exact.append_value(text);
            }
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        if self.rows == 0 {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let mut arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        arrays.push(Arc::new(self.exact.finish()));
        let arrow = |error: ArrowError| std::io::Error::other(error);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        let batch = batch.map_err(|error| self.file.failed(arrow(error)))?;
        self.writer.write(&batch).map_err(|error| self.file.failed(to_io(error)))?;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(|error| self.file.failed(to_io(error)))?;
        }
        Ok(())
    }

    /// Writes what the file says of itself, and makes it whole; gives its bytes.
    pub(super) fn finish(mut self, about: &About, visited: &Visited) -> Result<u64, OutputError> {
        self.flush()?;
        let Self { file, mut writer, layout, .. } = self;
        let columns: Vec<serde_json::Value> = layout
            .columns()
            .iter()
            .map(|column| serde_json::json!({"attribute": column.attribute, "column": column.name, "type": column.kind.name()}))
            .collect();
        let columns = serde_json::Value::Array(columns).to_string();
        writer.append_key_value_metadata(KeyValue::new("journal.columns".to_owned(), columns));
        for (name, value) in about.said(visited) {
            writer.append_key_value_metadata(KeyValue::new(format!("journal.{name}"), value));
        }
        writer.close().map_err(|error| file.failed(to_io(error)))?;
        file.finish()
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
