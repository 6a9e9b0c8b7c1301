//! The table that a restore makes: what it will be, and the making of it.

use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType,
};
use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::TableName;
use journal::table::recreate::{SettingsAfter, create_table_input, settings_after};

use super::error::RestoreError;
use super::run_file::{RunFile, RunState};
use super::service::{ServiceError, TableService, TargetTable};
use crate::key_schema::{KeySchema, KeySchemaError};
use crate::plan::ReplayPlan;
use crate::table_write::back_off;

/// How long a table may take to become active: many indexes take minutes.
const ACTIVE_SECONDS_MAX: u64 = 1800;
/// Waits between two looks at a table that is being made, in retries' first waits.
const POLL_PAUSES: u32 = 10;
/// Attempts of one request that the service does not answer.
const ATTEMPTS: u32 = 8;

/// The table that a restore makes.
#[derive(Debug, Clone)]
pub struct TargetPlan {
    /// Its name.
    pub name: TableName,
    /// `CreateTable`'s input.
    pub input: CreateTableInputBuilder,
    /// What is set when the items are back.
    pub settings: SettingsAfter,
    /// What it will not have, or have otherwise.
    pub notes: Vec<String>,
}

/// Plans the table `name` for a plan's state: as `table.json` describes it or, without one, with the key alone, on
/// demand. `partition` names the partition key where nothing else does.
///
/// # Errors
/// When the key or the partition key is not known, or the description cannot be used.
pub fn plan_target(plan: &ReplayPlan, name: &TableName, partition: Option<&str>) -> Result<TargetPlan> {
    if let Some(document) = &plan.table {
        let recreation = create_table_input(document, name)?;
        let mut settings = settings_after(document, name);
        settings.by_hand.extend(recreation.by_hand);
        return Ok(TargetPlan { name: name.clone(), input: recreation.input, settings, notes: recreation.notes });
    }
    let table = &plan.timeline.table;
    let key = plan.key.as_ref().ok_or_else(|| KeySchemaError::Unknown { table: table.to_string() })?;
    let input = key_only(key, name, partition, table)?;
    let note = "the journal has no description of the table: it is made with its key alone, on demand, with a stream, \
                without indexes, TTL, tags or other settings";
    Ok(TargetPlan { name: name.clone(), input, settings: SettingsAfter::default(), notes: vec![note.to_owned()] })
}

fn key_only(
    key: &KeySchema,
    name: &TableName,
    partition: Option<&str>,
    table: &TableName,
) -> Result<CreateTableInputBuilder, RestoreError> {
    let attributes = key.attributes().as_slice();
    let partition = match (partition, attributes) {
        (Some(partition), _) if key.attributes().contains(partition) => partition,
        (Some(partition), _) => {
            return Err(RestoreError::NoSuchKey { name: partition.to_owned(), key: key.to_string() });
        }
        (None, [only]) => only.name.as_str(),
        (None, _) => return Err(RestoreError::Partition { table: table.clone(), key: key.to_string() }),
    };
    let wrong = |error: aws_sdk_dynamodb::error::BuildError| RestoreError::Input {
        table: name.clone(),
        reason: error.to_string(),
    };
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build()
        .map_err(wrong)?;
    let mut input = CreateTableInputBuilder::default()
        .table_name(name.as_str())
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(stream);
    let (first, rest): (Vec<_>, Vec<_>) = attributes.iter().partition(|attribute| attribute.name == partition);
    for (attribute, role) in first.iter().map(|a| (a, KeyType::Hash)).chain(rest.iter().map(|a| (a, KeyType::Range))) {
        let element = KeySchemaElement::builder().attribute_name(&attribute.name).key_type(role).build();
        let definition = AttributeDefinition::builder()
            .attribute_name(&attribute.name)
            .attribute_type(ScalarAttributeType::from(attribute.key_type.as_str()))
            .build();
        input = input.key_schema(element.map_err(wrong)?).attribute_definitions(definition.map_err(wrong)?);
    }
    Ok(input)
}

/// Makes the table, or makes sure that it is the one this run made; waits until it is active.
pub(super) async fn prepare(
    service: &dyn TableService,
    target: &TargetPlan,
    run: &mut RunFile,
    pause: Duration,
    interrupt: &Interrupt,
) -> Result<TargetTable, RestoreError> {
    let name = run.target().clone();
    let failed = |action: &'static str, source| RestoreError::Service { action, table: name.clone(), source };
    let found = describe(service, &name, pause).await.map_err(|error| failed("looking at", error))?;
    match (run.state().clone(), found) {
        (RunState::Planned | RunState::Creating, None) => {
            // Stored first, so that a table that is made can never be without a run that knows of it.
            run.creating()?;
            let made = match service.create(target.input.clone()).await {
                Ok(made) => made,
                Err(ServiceError::InUse) => return Err(RestoreError::Exists { table: name }),
                Err(error) => return Err(failed("making", error)),
            };
            run.created(made)?;
        }
        (RunState::Planned, Some(_)) => return Err(RestoreError::Exists { table: name }),
        (RunState::Creating, Some(_)) => {
            return Err(RestoreError::Unsure { table: name, run: run.run().to_owned() });
        }
        (RunState::Importing { .. }, _) => {
            return Err(RestoreError::OtherSink { run: run.run().to_owned(), table: name });
        }
        (RunState::Writing { table: made, .. } | RunState::Proven { table: made, .. }, found) => {
            check_made(run, &made, found)?;
        }
    }
    wait_until_active(service, run, pause, interrupt).await
}

/// Makes sure that the table which was found is the one that the run made.
pub(super) fn check_made(run: &RunFile, made: &TargetTable, found: Option<TargetTable>) -> Result<(), RestoreError> {
    let (table, run) = (run.target().clone(), run.run().to_owned());
    match found.map(|found| made.differs_from(&found)) {
        None => Err(RestoreError::Gone { table, run }),
        Some(Some(reason)) => Err(RestoreError::Another { table, run, reason }),
        Some(None) => Ok(()),
    }
}

pub(super) async fn describe<S: TableService + ?Sized>(
    service: &S,
    table: &TableName,
    pause: Duration,
) -> Result<Option<TargetTable>, ServiceError> {
    let mut attempt = 1;
    loop {
        match service.describe(table).await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS => back_off(pause, attempt).await,
            result => return result,
        }
        attempt += 1;
    }
}

pub(super) async fn wait_until_active<S: TableService + ?Sized>(
    service: &S,
    run: &RunFile,
    pause: Duration,
    interrupt: &Interrupt,
) -> Result<TargetTable, RestoreError> {
    let table = run.target();
    let started = tokio::time::Instant::now();
    let mut status = "not there yet".to_owned();
    while started.elapsed().as_secs() < ACTIVE_SECONDS_MAX {
        let described = describe(service, table, pause).await.map_err(|source| RestoreError::Service {
            action: "waiting for",
            table: table.clone(),
            source,
        })?;
        // Right after its making a table may not be seen yet.
        if let Some(found) = described {
            if found.is_active() {
                return Ok(found);
            }
            status.clone_from(&found.status);
        }
        tokio::select! {
            () = tokio::time::sleep(pause.saturating_mul(POLL_PAUSES)) => {}
            () = interrupt.wait() => return Err(RestoreError::Interrupted { doing: "making", table: table.clone() }),
        }
    }
    Err(RestoreError::NotActive { table: table.clone(), status, seconds: ACTIVE_SECONDS_MAX })
}
