//! A service that imports, as a restore needs it, and DynamoDB behind it.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::types::{
    BillingMode, ImportStatus as SdkStatus, InputCompressionType, InputFormat, S3BucketSource, StreamSpecification,
    TableClass, TableCreationParameters, TableDescription,
};
use journal::interrupt::Interrupt;
use journal::model::TableName;

use super::super::error::RestoreError;
use super::super::run_file::RunFile;
use super::super::service::{DynamoDb, ServiceError, TableService, classify};
use super::super::settings::Setter;
use super::super::target;
use super::stage::ImportCompression;

/// What is imported, and as what.
#[derive(Debug, Clone)]
pub struct Import {
    /// The bucket.
    pub bucket: String,
    /// What the keys of its objects begin with: nothing else's do.
    pub prefix: String,
    /// How they are compressed.
    pub compression: ImportCompression,
    /// The same for the same import, so that asking twice imports once.
    pub token: String,
    /// The table.
    pub input: CreateTableInputBuilder,
}

/// How an import stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportStatus {
    /// It goes on.
    InProgress {
        /// Items imported so far.
        items: u64,
    },
    /// It is done.
    Completed,
    /// It has failed.
    Failed {
        /// The service's word for it.
        code: String,
        /// What it says.
        reason: String,
    },
}

/// What a restore through an import asks of the service, beside what every restore asks.
#[async_trait]
pub trait ImportService: TableService {
    /// Begins an import; gives its ARN.
    async fn import(&self, import: &Import) -> Result<String, ServiceError>;
    /// How it stands.
    async fn import_status(&self, arn: &str) -> Result<ImportStatus, ServiceError>;
    /// The import of a table from objects below exactly this prefix.
    async fn find_import(&self, table: Option<&str>, prefix: &str) -> Result<Option<String>, ServiceError>;
    /// Switches the stream on.
    async fn set_stream(&self, table: &TableName, stream: StreamSpecification) -> Result<(), ServiceError>;
    /// Changes the table class.
    async fn set_class(&self, table: &TableName, class: TableClass) -> Result<(), ServiceError>;
}

fn parameters(input: &CreateTableInputBuilder) -> Result<TableCreationParameters, ServiceError> {
    TableCreationParameters::builder()
        .set_table_name(input.get_table_name().clone())
        .set_attribute_definitions(input.get_attribute_definitions().clone())
        .set_key_schema(input.get_key_schema().clone())
        .set_billing_mode(input.get_billing_mode().clone().or(Some(BillingMode::PayPerRequest)))
        .set_provisioned_throughput(input.get_provisioned_throughput().clone())
        .set_on_demand_throughput(input.get_on_demand_throughput().clone())
        .set_sse_specification(input.get_sse_specification().clone())
        .set_global_secondary_indexes(input.get_global_secondary_indexes().clone())
        .build()
        .map_err(|error| ServiceError::Refused { reason: error.to_string() })
}

#[async_trait]
impl ImportService for DynamoDb {
    async fn import(&self, import: &Import) -> Result<String, ServiceError> {
        let refused = |error: &dyn std::fmt::Display| ServiceError::Refused { reason: error.to_string() };
        let source = S3BucketSource::builder().s3_bucket(&import.bucket).s3_key_prefix(&import.prefix).build();
        let compression = match import.compression {
            ImportCompression::Gzip => InputCompressionType::Gzip,
            ImportCompression::Zstd => InputCompressionType::Zstd,
        };
        let request = self
            .client()
            .import_table()
            .client_token(&import.token)
            .s3_bucket_source(source.map_err(|error| refused(&error))?)
            .input_format(InputFormat::DynamodbJson)
            .input_compression_type(compression)
            .table_creation_parameters(parameters(&import.input)?);
        let answer = request.send().await.map_err(|error| classify(&error))?;
        let arn = answer.import_table_description.and_then(|description| description.import_arn);
        arn.ok_or_else(|| ServiceError::Answer { reason: "ImportTable gives no ARN".to_owned() })
    }

    async fn import_status(&self, arn: &str) -> Result<ImportStatus, ServiceError> {
        let answer = self.client().describe_import().import_arn(arn).send().await.map_err(|error| classify(&error))?;
        let no_answer = || ServiceError::Answer { reason: "DescribeImport describes no import".to_owned() };
        let import = answer.import_table_description.ok_or_else(no_answer)?;
        Ok(match import.import_status {
            Some(SdkStatus::Completed) => ImportStatus::Completed,
            Some(SdkStatus::Failed | SdkStatus::Cancelled | SdkStatus::Cancelling) => ImportStatus::Failed {
                code: import.failure_code.unwrap_or_else(|| "cancelled".to_owned()),
                reason: import.failure_message.unwrap_or_default(),
            },
            _ => ImportStatus::InProgress { items: u64::try_from(import.imported_item_count).unwrap_or(0) },
        })
    }

    async fn find_import(&self, table: Option<&str>, prefix: &str) -> Result<Option<String>, ServiceError> {
        let mut next = None;
        loop {
            let request = self.client().list_imports().set_table_arn(table.map(str::to_owned)).set_next_token(next);
            let answer = request.send().await.map_err(|error| classify(&error))?;
            for import in answer.import_summary_list.unwrap_or_default() {
                let source = import.s3_bucket_source.and_then(|source| source.s3_key_prefix);
                if source.as_deref() == Some(prefix) {
                    return Ok(import.import_arn);
                }
            }
            match answer.next_token {
                Some(token) => next = Some(token),
                None => return Ok(None),
            }
        }
    }

    async fn set_stream(&self, table: &TableName, stream: StreamSpecification) -> Result<(), ServiceError> {
        let request = self.client().update_table().table_name(table.as_str()).stream_specification(stream.clone());
        self.changed(table, request, |found| found.stream_specification() == Some(&stream)).await
    }

    async fn set_class(&self, table: &TableName, class: TableClass) -> Result<(), ServiceError> {
        let request = self.client().update_table().table_name(table.as_str()).table_class(class.clone());
        let of = |found: &TableDescription| found.table_class_summary().and_then(|summary| summary.table_class.clone());
        self.changed(table, request, |found| of(found).as_ref() == Some(&class)).await
    }
}

/// Sets what `CreateTable` can make and `ImportTable` cannot: the stream and the table class. One change at a time, each
/// waited for.
pub(super) async fn after_import(
    service: &dyn ImportService,
    run: &RunFile,
    input: &CreateTableInputBuilder,
    setter: &mut Setter<'_>,
    (pause, interrupt): (Duration, &Interrupt),
) -> Result<(), RestoreError> {
    let table = run.target();
    if let Some(stream) = input.get_stream_specification().clone().filter(|stream| stream.stream_enabled) {
        let command = || {
            let view = stream.stream_view_type.clone().map(|view| view.as_str().to_owned()).unwrap_or_default();
            format!(
                "aws dynamodb update-table --table-name {table} --stream-specification \
                 StreamEnabled=true,StreamViewType={view}"
            )
        };
        setter.set("stream", command, || service.set_stream(table, stream.clone())).await?;
        target::wait_until_active(service, run, pause, interrupt).await?;
    }
    if let Some(class) = input.get_table_class().clone().filter(|class| *class != TableClass::Standard) {
        let command = || format!("aws dynamodb update-table --table-name {table} --table-class {}", class.as_str());
        setter.set("table class", command, || service.set_class(table, class.clone())).await?;
        target::wait_until_active(service, run, pause, interrupt).await?;
    }
    Ok(())
}
