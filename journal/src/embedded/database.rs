//! The database file under embedded DynamoDB, and what keeps its streams right.
//!
//! Owns one index and three triggers beside the engine's own tables, and the one place that applies and checks them.
//! The engine (dynoxide) alone scans all records of a table for each new sequence number, forgets the stream of a
//! deleted table at once, and shows its records again in the stream of a table re-made under the name. With these:
//! - a new sequence number is one probe of an index;
//! - a stream's label is its birth as on AWS, `2020-03-29T10:00:00.123456`, not a number of seconds;
//! - when a stream ends (its table is deleted, or it is switched off), its records move, in the same transaction, to the
//!   name `TABLE/stream/LABEL`, which no table can have, and a row in `journal_closed_streams` remembers the stream. So
//!   no record is lost and none shows up in a later stream.
//!
//! Knows nothing of HTTP.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::EmbeddedError;

/// The file's name in the data folder.
const FILE: &str = "dynamodb.db";
/// How long a statement waits for another connection's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const INDEX: &str = "journal_stream_order";
const TRIGGER_DATED: &str = "journal_stream_dated";
const TRIGGER_DELETED: &str = "journal_table_deleted";
const TRIGGER_SWITCHED: &str = "journal_stream_switched";

/// Drops before it makes, so that a later version's definitions replace these.
const PREPARE: &str = "
    CREATE INDEX IF NOT EXISTS journal_stream_order
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
    CREATE TABLE IF NOT EXISTS journal_closed_streams (
        records_under TEXT PRIMARY KEY,
        table_name TEXT NOT NULL,
        label TEXT NOT NULL,
        view_type TEXT NOT NULL,
        key_schema TEXT NOT NULL
    );
    DROP TRIGGER IF EXISTS journal_stream_dated;
    CREATE TRIGGER journal_stream_dated AFTER UPDATE OF stream_label ON _tables
    WHEN NEW.stream_enabled = 1 AND NEW.stream_label NOT LIKE '%T%'
    BEGIN
        UPDATE _tables SET stream_label =
            strftime('%Y-%m-%dT%H:%M:%S', CAST(NEW.stream_label AS INTEGER), 'unixepoch')
            || '.' || substr(NEW.stream_label, instr(NEW.stream_label, '.') + 1, 6)
            WHERE table_name = NEW.table_name;
    END;
    DROP TRIGGER IF EXISTS journal_table_deleted;
    CREATE TRIGGER journal_table_deleted BEFORE DELETE ON _tables
    WHEN OLD.stream_enabled = 1
    BEGIN
        INSERT OR IGNORE INTO journal_closed_streams VALUES (
            OLD.table_name || '/stream/' || OLD.stream_label, OLD.table_name, OLD.stream_label,
            COALESCE(OLD.stream_view_type, 'NEW_AND_OLD_IMAGES'), OLD.key_schema);
        UPDATE _stream_records SET table_name = OLD.table_name || '/stream/' || OLD.stream_label
            WHERE table_name = OLD.table_name;
    END;
    DROP TRIGGER IF EXISTS journal_stream_switched;
    CREATE TRIGGER journal_stream_switched AFTER UPDATE OF stream_enabled, stream_label ON _tables
    WHEN OLD.stream_enabled = 1 AND OLD.stream_label LIKE '%T%'
        AND (NEW.stream_enabled <> 1 OR NEW.stream_label IS NOT OLD.stream_label)
    BEGIN
        INSERT OR IGNORE INTO journal_closed_streams VALUES (
            OLD.table_name || '/stream/' || OLD.stream_label, OLD.table_name, OLD.stream_label,
            COALESCE(OLD.stream_view_type, 'NEW_AND_OLD_IMAGES'), OLD.key_schema);
        UPDATE _stream_records SET table_name = OLD.table_name || '/stream/' || OLD.stream_label
            WHERE table_name = OLD.table_name;
    END;
";

/// The statement by which the engine finds the next sequence number, as of its pinned version.
const NEXT_SEQUENCE_PLAN: &str = "EXPLAIN QUERY PLAN
    SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 FROM _stream_records WHERE table_name = 'notes'";

/// The engine on its file, with the index and the triggers in place.
pub(super) struct Opened {
    /// The engine.
    pub(super) engine: dynoxide::Database,
    /// A second connection that only reads.
    pub(super) reader: Connection,
}

/// Opens or makes the database in `folder`. The engine goes first, for it makes or migrates its own tables and refuses
/// a file of a newer version untouched.
pub(super) fn open(folder: &Path) -> Result<Opened, EmbeddedError> {
    let path = folder.join(FILE);
    let text = path
        .to_str()
        .ok_or_else(|| EmbeddedError::Open { path: path.clone(), reason: "the path is not UTF-8 text".to_owned() })?;
    let engine = dynoxide::Database::new(text).map_err(|error| {
        let reason = error.to_string();
        if reason.contains("newer version of Dynoxide") {
            EmbeddedError::NewerDatabase { path: path.clone(), reason }
        } else {
            EmbeddedError::Open { path: path.clone(), reason }
        }
    })?;
    let database = |action| {
        let path = path.clone();
        move |source| EmbeddedError::Database { action, path, source }
    };
    let mut connection = Connection::open(&path).map_err(database("open a connection"))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(database("set the timeout"))?;
    prepare(&mut connection).map_err(database("index the stream records"))?;
    if let Some(object) = missing(&connection).map_err(database("check the index of the stream records"))? {
        return Err(EmbeddedError::NotPrepared { path, object });
    }
    drop(connection);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(&path, flags).map_err(database("open a reading connection"))?;
    reader.busy_timeout(BUSY_TIMEOUT).map_err(database("set the timeout"))?;
    reader.pragma_update(None, "query_only", true).map_err(database("forbid writes on the reading connection"))?;
    Ok(Opened { engine, reader })
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(PREPARE)?;
    transaction.commit()
}

/// The first of our objects that the database does not have or does not use.
fn missing(connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
    for object in [INDEX, TRIGGER_DATED, TRIGGER_DELETED, TRIGGER_SWITCHED] {
        let there: bool =
            connection
                .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?1)", [object], |row| row.get(0))?;
        if !there {
            return Ok(Some(object));
        }
    }
    let plan: String = connection.query_row(NEXT_SEQUENCE_PLAN, [], |row| row.get("detail"))?;
    Ok((!plan.contains(INDEX)).then_some(INDEX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn opening_again_changes_nothing_and_still_holds() {
        let folder = folder();
        for _ in 0..3 {
            let opened = open(folder.path()).unwrap();
            assert_eq!(missing(&opened.reader).unwrap(), None);
        }
    }

    #[test]
    fn a_lost_trigger_and_a_lost_index_are_noticed() {
        let folder = folder();
        drop(open(folder.path()).unwrap());
        let connection = Connection::open(folder.path().join(FILE)).unwrap();
        connection.execute_batch("DROP TRIGGER journal_stream_switched").unwrap();
        assert_eq!(missing(&connection).unwrap(), Some(TRIGGER_SWITCHED));
        connection.execute_batch("DROP INDEX journal_stream_order").unwrap();
        assert_eq!(missing(&connection).unwrap(), Some(INDEX));
    }

    #[test]
    fn the_reading_connection_cannot_write() {
        let folder = folder();
        let opened = open(folder.path()).unwrap();
        assert!(opened.reader.execute("DELETE FROM _tables", []).is_err());
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused_as_such() {
        let folder = folder();
        drop(open(folder.path()).unwrap());
        Connection::open(folder.path().join(FILE))
            .unwrap()
            .execute("UPDATE _config SET value = '999' WHERE key = 'schema_version'", [])
            .unwrap();
        assert!(matches!(open(folder.path()), Err(EmbeddedError::NewerDatabase { .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let folder = folder();
        std::fs::write(folder.path().join(FILE), vec![b'x'; 8192]).unwrap();
        assert!(matches!(open(folder.path()), Err(EmbeddedError::Open { .. })));
    }
}
