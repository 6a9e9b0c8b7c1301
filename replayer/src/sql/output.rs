//! Answers as text and as Parquet.
//!
//! What enters are batches; what leaves are a table for people, CSV, one JSON object a line, or a Parquet file. In text nothing is
//! left that a terminal would obey.

use std::io::{self, Write};
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::errors::ParquetError;

use super::fields::JSON_MARK;
use crate::audit::inert;
use crate::output::Destination;

/// Rows that the widths of a table's columns are chosen by.
const LAYOUT_ROWS: usize = 512;
/// Bytes of Parquet that are gathered in memory before they are written.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlFormat {
    /// For people: columns side by side, long values cut with a note.
    Table,
    /// Comma-separated values, names first.
    Csv,
    /// One JSON object a line.
    Json,
    /// A Parquet file.
    Parquet,
}

/// Writes one answer.
pub struct SqlWriter {
    format: SqlFormat,
    /// Characters of a value at most; all when none.
    width: Option<usize>,
    schema: SchemaRef,
    to: Target,
    waiting: Vec<Vec<String>>,
    widths: Vec<usize>,
    rows: u64,
}

impl std::fmt::Debug for SqlWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlWriter").field("format", &self.format).field("rows", &self.rows).finish_non_exhaustive()
    }
}

enum Target {
    Text(Box<Destination>),
    Parquet(Box<ArrowWriter<Destination>>),
}

impl SqlWriter {
    /// Begins an answer with these columns. `width` is how many characters of a value are written; none for all.
    ///
    /// # Errors
    /// When the destination cannot be written, or a column has a type that Parquet does not know.
    pub fn begin(
        format: SqlFormat,
        width: Option<usize>,
        schema: SchemaRef,
        destination: Destination,
    ) -> io::Result<Self> {
        let to = match format {
            SqlFormat::Parquet => {
                let writer = ArrowWriter::try_new(destination, for_parquet(&schema), None).map_err(of_parquet)?;
                Target::Parquet(Box::new(writer))
            }
            _ => Target::Text(Box::new(destination)),
        };
        let mut writer = Self { format, width, schema, to, waiting: Vec::new(), widths: Vec::new(), rows: 0 };
        if format == SqlFormat::Csv {
            let names = writer.names();
            writer.csv(&names)?;
        }
        Ok(writer)
    }

    /// Names that no terminal obeys; each once, as JSON wants them.
    fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| inert(field.name())).collect()
    }

    /// Rows written so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// When the destination cannot be written.
    pub fn batch(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        if let Target::Parquet(writer) = &mut self.to {
            let schema = for_parquet(&self.schema);
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| cast(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>().map_err(of_arrow)?;
            let batch = RecordBatch::try_new(schema, columns).map_err(of_arrow)?;
            writer.write(&batch).map_err(of_parquet)?;
            if writer.in_progress_size() > ROW_GROUP_BYTES {
                writer.flush().map_err(of_parquet)?;
            }
            return Ok(());
        }
        let options = FormatOptions::default().with_display_error(true);
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let formatters = formatters.collect::<Result<Vec<_>, _>>().map_err(of_arrow)?;
        for row in 0..batch.num_rows() {
            let cell = |(column, formatter): (&Arc<dyn Array>, &ArrayFormatter<'_>)| {
                (!column.is_null(row)).then(|| formatter.value(row).to_string())
            };
            let cells: Vec<Option<String>> = batch.columns().iter().zip(&formatters).map(cell).collect();
            match self.format {
                SqlFormat::Table if self.is_plan() => self.plan(&cells)?,
                SqlFormat::Json => self.json(&cells)?,
                SqlFormat::Csv => {
                    let cells: Vec<String> =
                        cells.into_iter().map(|cell| self.text(&cell.unwrap_or_default())).collect();
                    self.csv(&cells)?;
                }
                SqlFormat::Table | SqlFormat::Parquet => {
                    let cells =
                        cells.into_iter().map(|cell| cell.map_or_else(|| "NULL".to_owned(), |cell| self.text(&cell)));
                    self.waiting.push(cells.collect());
                    if self.waiting.len() >= LAYOUT_ROWS {
                        self.lay_out()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the answer: the file gets its name. Gives the bytes written.
    ///
    /// # Errors
    /// When the destination cannot be written.
    pub fn finish(mut self) -> io::Result<Destination> {
        if self.format == SqlFormat::Table && !self.is_plan() {
            self.lay_out()?;
        }
        match self.to {
            Target::Text(destination) => Ok(*destination),
            Target::Parquet(writer) => writer.into_inner().map_err(of_parquet),
        }
    }

    /// Whether the answer is that of `EXPLAIN`, which is lines of text.
    fn is_plan(&self) -> bool {
        self.schema.fields().iter().map(|field| field.name().as_str()).eq(["plan_type", "plan"])
    }

    /// A plan line by line, whole.
    fn plan(&mut self, cells: &[Option<String>]) -> io::Result<()> {
        for (cell, indent) in cells.iter().flatten().zip(["", "  "]) {
            for line in cell.lines() {
                self.put(format!("{indent}{}\n", inert(line)).as_bytes())?;
            }
        }
        Ok(())
    }

    /// A value as it is shown: inert, and cut with a note.
    fn text(&self, text: &str) -> String {
        match self.width.and_then(|width| text.char_indices().nth(width)) {
            Some((at, _)) => format!("{}… ({} bytes)", inert(text.get(..at).unwrap_or_default()), text.len()),
            None => inert(text),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.to {
            Target::Text(destination) => destination.write_all(bytes),
            Target::Parquet(_) => Ok(()),
        }
    }

    fn csv(&mut self, cells: &[String]) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(cells).map_err(io::Error::other)?;
        let line = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        self.put(&line)
    }

    fn json(&mut self, cells: &[Option<String>]) -> io::Result<()> {
        let mut line = String::from("{");
        for (number, (field, cell)) in self.schema.fields().iter().zip(cells).enumerate() {
            if number > 0 {
                line.push(',');
            }
            line.push_str(&serde_json::Value::from(field.name().as_str()).to_string());
            line.push(':');
            match cell {
                None => line.push_str("null"),
                Some(cell) => {
                    let is_cut = self.width.is_some_and(|width| cell.chars().nth(width).is_some());
                    let raw = match field.data_type() {
                        DataType::Boolean => true,
                        kind if kind.is_numeric() => serde_json::from_str::<serde_json::Number>(cell).is_ok(),
                        _ => field.metadata().contains_key(JSON_MARK) && !is_cut,
                    };
                    if raw {
                        line.push_str(cell);
                    } else if is_cut {
                        line.push_str(&serde_json::Value::from(self.text(cell)).to_string());
                    } else {
                        line.push_str(&serde_json::Value::from(cell.as_str()).to_string());
                    }
                }
            }
        }
        line.push('}');
        // JSON escapes control characters; what else a terminal might obey is escaped the same way.
        let line = inert(&line);
        self.put(line.as_bytes())?;
        self.put(b"\n")
    }

    fn lay_out(&mut self) -> io::Result<()> {
        let names = self.names();
        let is_first = self.widths.is_empty();
        let waiting = std::mem::take(&mut self.waiting);
        if is_first {
            self.widths = names.iter().map(|name| name.chars().count()).collect();
            for row in &waiting {
                for (width, cell) in self.widths.iter_mut().zip(row) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            let rule: Vec<String> = self.widths.iter().map(|width| "─".repeat(*width)).collect();
            self.line(&names)?;
            self.line(&rule)?;
        }
        for row in &waiting {
            self.line(row)?;
        }
        Ok(())
    }

    fn line(&mut self, cells: &[String]) -> io::Result<()> {
        let mut line = String::new();
        for (number, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
            let gap = if number == 0 { "" } else { "  " };
            line.push_str(gap);
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        let end = line.trim_end().len();
        line.truncate(end);
        line.push('\n');
        self.put(line.as_bytes())
    }
}

/// The columns as a Parquet file has them: it knows no time in seconds, and readers would take a plain number for one.
fn for_parquet(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            field.as_ref().clone().with_data_type(DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))
        }
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<Field>>(), schema.metadata().clone()))
}

fn of_parquet(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => io::Error::other(inner),
        other => io::Error::other(other),
    }
}

fn of_arrow(error: ArrowError) -> io::Error {
    io::Error::other(error)
}
