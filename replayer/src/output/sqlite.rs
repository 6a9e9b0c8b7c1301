//! `SQLite`: a database with one table of the items, which any tool opens at once.
//!
//! What enters are rows of typed columns; what leaves is a database file. Its tables are spelled out in SEMANTICS.md,
//! "Export formats". The database is made under a temporary name, without a log of its own: it counts when it is whole.

use std::io;
use std::path::Path;

use journal::error::Result;
use journal::model::Attributes;
use journal::source::attribute::parse_item;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, params};

use super::columned::{RowSink, See, TypedSink};
use super::destination::{OutputError, PartialFile};
use super::typed::{Cell, Column, ColumnKind, EXACT, Layout, Rows};
use super::{About, Visited};
use crate::state::EncodedItem;

/// A database that is being filled.
pub(super) struct SqliteSink {
    file: PartialFile,
    connection: Connection,
    table: Rows,
    /// Of each column, and of what the columns cannot say.
    kinds: Vec<ColumnKind>,
    insert: String,
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of the table of items: the DynamoDB table's, but for the few that `SQLite` or the file itself needs.
pub(super) fn table_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let taken = lower.starts_with("sqlite_") || matches!(lower.as_str(), "_columns" | "_journal");
    if taken { format!("table_{name}") } else { name.to_owned() }
}

fn failed(file: &PartialFile, error: &rusqlite::Error) -> OutputError {
    file.failed(to_io(error))
}

fn to_io(error: &rusqlite::Error) -> io::Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

/// The type that SQL declares: it must not turn digits into floating point numbers.
fn declared(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text
        | ColumnKind::Digits
        | ColumnKind::StringSet
        | ColumnKind::NumberSet
        | ColumnKind::BinarySet
        | ColumnKind::Document
        | ColumnKind::Mixed => "TEXT",
        ColumnKind::Integer => "INTEGER",
        ColumnKind::Boolean => "BOOLEAN",
        // No type: a number is stored as it is given.
        ColumnKind::Decimal(_) => "",
        ColumnKind::Binary => "BLOB",
    }
}

impl SqliteSink {
    pub(super) fn begin(file: PartialFile, layout: Layout, about: &About) -> Result<Self, OutputError> {
        let table = table_name(&about.table);
        let begun = begin(file.temporary(), &layout, &table);
        let (connection, insert) = begun.map_err(|error| failed(&file, &error))?;
        let kinds = layout.columns().iter().map(|column| column.kind).chain([ColumnKind::Mixed]).collect();
        Ok(Self { file, connection, table: Rows::new(layout), kinds, insert })
    }
}

impl RowSink for SqliteSink {
    fn item(&mut self, item: &EncodedItem<'_>, see: See<'_>) -> Result<bool> {
        let Self { file, connection, table, kinds, insert } = self;
        // One that was used before comes back with nothing bound: columns that are not given hold nothing.
        let mut statement = connection.prepare_cached(insert).map_err(|error| failed(file, &error))?;
        let put = |column: usize, cell: Cell<'_>| {
            let kind = kinds.get(column).copied().unwrap_or(ColumnKind::Mixed);
            statement.raw_bind_parameter(column + 1, SqlCell(&cell, kind)).map_err(|error| failed(file, &error))
        };
        let plain_numbers = table.item(item, see, put)?;
        statement.raw_execute().map_err(|error| failed(file, &error))?;
        Ok(plain_numbers)
    }

    /// Writes what the file says of itself, and makes it whole; gives its bytes.
    fn finish(self: Box<Self>, about: &About, visited: &Visited) -> Result<u64, OutputError> {
        let Self { file, connection, .. } = *self;
        let said = about.said(visited);
        let written = said
            .iter()
            .try_for_each(|(name, value)| {
                connection.execute("INSERT INTO _journal VALUES (?1, ?2)", params![name, value]).map(drop)
            })
            .and_then(|()| connection.execute_batch("COMMIT"));
        written.map_err(|error| failed(&file, &error))?;
        connection.close().map_err(|(_, error)| failed(&file, &error))?;
        file.finish()
    }
}

impl TypedSink for SqliteSink {
    fn layout(&self) -> &Layout {
        self.table.layout()
    }

    fn give_up(self: Box<Self>) -> Result<PartialFile, OutputError> {
        let Self { file, connection, .. } = *self;
        connection.close().map_err(|(_, error)| failed(&file, &error))?;
        file.emptied()
    }
}

fn begin(path: &Path, layout: &Layout, table: &str) -> rusqlite::Result<(Connection, String)> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; BEGIN")?;
    let key = layout.key_columns();
    let mut columns: Vec<String> = layout
        .columns()
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let not_null = if at < key.len() { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", quoted(&column.name), declared(column.kind))
        })
        .collect();
    columns.push(format!("{} TEXT", quoted(EXACT)));
    if !key.is_empty() {
        let names: Vec<String> = key.iter().map(|column| quoted(&column.name)).collect();
        columns.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    connection.execute_batch(&format!(
        "CREATE TABLE {} ({});
         CREATE TABLE _columns (attribute TEXT NOT NULL PRIMARY KEY, \"column\" TEXT NOT NULL, type TEXT NOT NULL);
         CREATE TABLE _journal (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
        quoted(table),
        columns.join(", ")
    ))?;
    for Column { attribute, name, kind } in layout.columns() {
        connection.execute("INSERT INTO _columns VALUES (?1, ?2, ?3)", params![attribute, name, kind.name()])?;
    }
    let places = vec!["?"; layout.columns().len() + 1].join(", ");
    Ok((connection, format!("INSERT INTO {} VALUES ({places})", quoted(table))))
}

struct SqlCell<'a>(&'a Cell<'a>, ColumnKind);

impl ToSql for SqlCell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Cell::None => ToSqlOutput::Borrowed(ValueRef::Null),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Cell::Boolean(value) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*value))),
            Cell::Binary(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Cell::Decimal(_) => number(self.0.clone().value(self.1).ok().flatten()),
        })
    }
}

/// A decimal number: an integer where it is one, a floating point number where that one's shortest text is this number, its
/// digits as text where neither says it exactly.
fn number(value: Option<journal::model::AttributeValue>) -> ToSqlOutput<'static> {
    let Some(journal::model::AttributeValue::N(number)) = value else {
        return ToSqlOutput::Owned(rusqlite::types::Value::Null);
    };
    let digits = number.as_str().to_owned();
    if let Ok(whole) = digits.parse::<i64>() {
        return ToSqlOutput::Owned(rusqlite::types::Value::Integer(whole));
    }
    match digits.parse::<f64>() {
        Ok(real) if real.to_string() == digits => ToSqlOutput::Owned(rusqlite::types::Value::Real(real)),
        _ => ToSqlOutput::Owned(rusqlite::types::Value::Text(digits)),
    }
}

/// Reads all items of a file of this module.
pub(super) fn read(path: &Path, mut visit: impl FnMut(Attributes) -> Result<()>) -> Result<()> {
    let unreadable = |reason: String| OutputError::Unreadable { path: path.to_owned(), reason };
    let sql = |error: rusqlite::Error| unreadable(error.to_string());
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sql)?;
    let table: String =
        connection.query_row("SELECT value FROM _journal WHERE name = 'table'", [], |row| row.get(0)).map_err(sql)?;
    let mut kinds = std::collections::BTreeMap::new();
    {
        let mut statement = connection.prepare("SELECT \"column\", attribute, type FROM _columns").map_err(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).map_err(sql)?;
        for row in rows {
            let (column, (attribute, kind)): (String, (String, String)) = row.map_err(sql)?;
            let kind = ColumnKind::from_name(&kind).ok_or_else(|| unreadable(format!("column type {kind:?}")))?;
            kinds.insert(column, (attribute, kind));
        }
    }
    let mut statement = connection.prepare(&format!("SELECT * FROM {}", quoted(&table_name(&table)))).map_err(sql)?;
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let mut item = Attributes::new();
        let mut exact = None;
        for (at, name) in names.iter().enumerate() {
            let value = row.get_ref(at).map_err(sql)?;
            if name == EXACT {
                let text = value.as_str_or_null().map_err(|error| unreadable(error.to_string()))?;
                exact = text.map(|text| parse_item(text.as_bytes())).transpose()?;
                continue;
            }
            let (attribute, kind) =
                kinds.get(name).ok_or_else(|| unreadable(format!("column {name:?} is not told")))?;
            if let Some(value) = cell(value).map_err(|reason| unreadable(reason.to_string()))?.value(*kind)? {
                item.insert(attribute.clone(), value);
            }
        }
        item.extend(exact.unwrap_or_default());
        visit(item)?;
    }
    Ok(())
}

fn cell(value: ValueRef<'_>) -> std::result::Result<Cell<'_>, std::str::Utf8Error> {
    Ok(match value {
        ValueRef::Null => Cell::None,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(real) => Cell::Text(real.to_string().into()),
        ValueRef::Text(bytes) => Cell::Text(std::str::from_utf8(bytes)?.into()),
        ValueRef::Blob(bytes) => Cell::Binary(bytes.into()),
    })
}
