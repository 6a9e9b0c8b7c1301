//! A session: the tables and functions that statements see, and how a statement is run.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParser, Statement};
use futures::StreamExt as _;
use journal::error::Result;
use journal::interrupt::{Interrupt, InterruptedError};
use journal::listing;
use journal::model::{TableName, Timeline, TimelineLabel};
use journal::store::{KeepingStore, ReadStore};
use journal::{documents, layout};

use super::changes::ChangesTable;
use super::error::understood;
use super::fields::Fields;
use super::functions;
use super::provider::Provider;
use super::report::{Log, SqlReport};
use super::scan::Reading;
use super::state_at::StateAt;
use crate::audit::{inert, key_schema_of};
use crate::key_schema::KeySchema;
use crate::merge::MergeOptions;
use crate::state::stopped;

/// Bytes of tails, pages and blocks that a session keeps between questions.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// Tables whose keys an error shows.
const KEYS_SHOWN: usize = 20;

/// What a session may take and how it reads.
#[derive(Debug, Clone)]
pub struct SqlOptions {
    /// The tables of `changes`; all of the journal when empty.
    pub tables: Vec<TableName>,
    /// The attribute in which the app writes who made a change.
    pub actor_attribute: Option<String>,
    /// Bounds of each merge.
    pub merge: MergeOptions,
    /// Memory of the engine's own sorts, joins and groups, in bytes.
    pub query_bytes_max: usize,
    /// Whether `state_at` goes on where history is incomplete.
    pub allow_partial: bool,
}

/// Statements over one journal.
pub struct SqlSession {
    store: Arc<dyn ReadStore>,
    options: SqlOptions,
    tables: Vec<TableName>,
    /// The tables with their keys, for people.
    keys: String,
    fields: Fields,
    interrupt: Interrupt,
}

impl std::fmt::Debug for SqlSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlSession").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl SqlSession {
    /// Reads which tables there are and what their keys are.
    ///
    /// # Errors
    /// When the store cannot be read, or the journal has none of the tables asked for.
    pub async fn open(store: Arc<dyn ReadStore>, options: SqlOptions, interrupt: &Interrupt) -> Result<Self> {
        let tables = if options.tables.is_empty() { listing::tables(&*store).await? } else { options.tables.clone() };
        // The statements of a session read the same tails and pages again and again.
        let store: Arc<dyn ReadStore> = Arc::new(KeepingStore::new(store, KEPT_BYTES_MAX));
        let (mut schemas, mut keys) = (Vec::new(), Vec::new());
        for table in &tables {
            let of_table = keys_of(&*store, table, !options.tables.is_empty()).await?;
            let texts: std::collections::BTreeSet<String> = of_table.iter().map(ToString::to_string).collect();
            keys.push(format!("{table} has {}", texts.into_iter().collect::<Vec<_>>().join(" and ")));
            schemas.extend(of_table);
        }
        let more = keys.len().saturating_sub(KEYS_SHOWN);
        keys.truncate(KEYS_SHOWN);
        let more = if more > 0 { format!(" and {more} more tables (`replay tables`)") } else { String::new() };
        let keys = format!("the keys: {}{more}", inert(&keys.join(", ")));
        let fields = Fields::of_changes(schemas.iter().map(KeySchema::attributes));
        Ok(Self { store, options, tables, keys, fields, interrupt: interrupt.clone() })
    }

    /// Names of the columns of `changes`.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.fields.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Runs the statements of a text, one after the other. `begin` is called with the columns of each answer and gives what
    /// takes its batches; `end` is called with that and what was read.
    ///
    /// # Errors
    /// When a statement is not SQL, names what is not there or would write, an object cannot be read, `begin`, `take` or `end`
    /// fails, or the user asks to stop. Corrupt segments of `changes` are no error but are named in the report.
    pub async fn run<W>(
        &self,
        sql: &str,
        mut begin: impl FnMut(SchemaRef) -> Result<W>,
        mut take: impl FnMut(&mut W, &RecordBatch) -> Result<()>,
        mut end: impl FnMut(W, SqlReport) -> Result<()>,
    ) -> Result<()> {
        let statements = DFParser::parse_sql(sql).map_err(|error| understood(sql, error, &self.keys))?;
        for statement in statements {
            let log = Log::default();
            let mut answering = std::pin::pin!(self.answer(sql, statement, &log, &mut begin, &mut take));
            let (writer, rows) = tokio::select! {
                answered = &mut answering => answered?,
                () = stopped(&self.interrupt) => {
                    let (step, resume) = ("answering".to_owned(), "run the same command again".to_owned());
                    return Err(InterruptedError { step, resume }.into());
                }
            };
            end(writer, log.report(rows))?;
        }
        Ok(())
    }

    async fn answer<W>(
        &self,
        sql: &str,
        statement: Statement,
        log: &Log,
        begin: &mut impl FnMut(SchemaRef) -> Result<W>,
        take: &mut impl FnMut(&mut W, &RecordBatch) -> Result<()>,
    ) -> Result<(W, u64)> {
        let wrong = |error| understood(sql, error, &self.keys);
        let context = self.context(log).map_err(wrong)?;
        let plan = context.state().statement_to_plan(statement).await.map_err(wrong)?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(wrong)?;
        let frame = context.execute_logical_plan(plan).await.map_err(wrong)?;
        let mut stream = frame.execute_stream().await.map_err(wrong)?;
        let mut writer = begin(stream.schema())?;
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(wrong)?;
            rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
            take(&mut writer, &batch)?;
        }
        Ok((writer, rows))
    }

    /// A context for one statement, so that what it read is told apart.
    fn context(&self, log: &Log) -> datafusion::common::Result<SessionContext> {
        let mut config = SessionConfig::new().with_information_schema(true).with_target_partitions(2);
        let parser = &mut config.options_mut().sql_parser;
        // Attributes are named as the app wrote them: noteId is not noteid.
        parser.enable_ident_normalization = false;
        parser.collect_spans = true;
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(self.options.query_bytes_max, 1.0).build_arc()?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        let reading = Reading {
            store: Arc::clone(&self.store),
            options: self.options.merge.clone(),
            actor_attribute: self.options.actor_attribute.clone(),
            interrupt: self.interrupt.clone(),
            log: log.clone(),
        };
        let changes =
            ChangesTable { reading: reading.clone(), tables: self.tables.clone(), fields: self.fields.clone() };
        context.register_table("changes", Arc::new(Provider(changes)))?;
        context.register_udtf("state_at", Arc::new(StateAt { reading, allow_partial: self.options.allow_partial }));
        for function in functions::all() {
            context.register_udf(function);
        }
        Ok(context)
    }
}

/// The keys of a table's timelines: from their descriptions where they have one, else from a segment.
async fn keys_of(store: &dyn ReadStore, table: &TableName, must_be: bool) -> Result<Vec<KeySchema>> {
    let mut found = Vec::new();
    for folder in store.list_folders(&layout::table_folder(table)).await? {
        let Ok(label) = TimelineLabel::parse(&folder) else { continue };
        let timeline = Timeline { table: table.clone(), label };
        if let Some(document) = documents::read(store, &layout::table_document(&timeline)).await? {
            found.push(KeySchema::of_table(&document)?);
            continue;
        }
        let objects = listing::timeline(store, timeline).await?;
        let corrupt = crate::merge::UnreadableList::default();
        found.extend(key_schema_of(store, &objects, Some(&corrupt)).await?);
    }
    if found.is_empty() && must_be {
        // Says which tables there are when there is no such one.
        listing::timelines(store, table).await?;
    }
    Ok(found)
}
