//! The AWS SDK as a [`ControlPlane`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use aws_sdk_lambda::types::{DestinationConfig, EventSourceMappingConfiguration, EventSourcePosition, OnFailure};

use super::{ControlError, ControlPlane, Mapping, MappingSettings, MappingState, WriteActivity};
use crate::model::{Second, StreamArn, TableName};

/// Pages of any list: more would be a list without an end.
const PAGES_MAX: usize = 1000;
/// Seconds of one data point of a metric.
const PERIOD_SECONDS: i32 = 60;

/// Tables, functions and metrics of AWS, or of whatever endpoint the settings name.
#[derive(Debug, Clone)]
pub struct AwsControl {
    tables: aws_sdk_dynamodb::Client,
    functions: aws_sdk_lambda::Client,
    metrics: aws_sdk_cloudwatch::Client,
}

impl AwsControl {
    /// Clients of `settings`, one each.
    #[must_use]
    pub fn new(settings: &SdkConfig) -> Self {
        Self {
            tables: aws_sdk_dynamodb::Client::new(settings),
            functions: aws_sdk_lambda::Client::new(settings),
            metrics: aws_sdk_cloudwatch::Client::new(settings),
        }
    }

    async fn mappings(&self, function: Option<&str>, stream: Option<&StreamArn>) -> Result<Vec<Mapping>, ControlError> {
        let action = "ListEventSourceMappings";
        let object = || function.map_or_else(|| stream.map_or_else(String::new, ToString::to_string), str::to_owned);
        let mut mappings = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self
                .functions
                .list_event_source_mappings()
                .set_function_name(function.map(str::to_owned))
                .set_event_source_arn(stream.map(ToString::to_string))
                .set_marker(next.take())
                .send()
                .await
                .map_err(|error| ControlError::of(action, object(), &error))?;
            mappings.extend(page.event_source_mappings().iter().filter_map(mapping));
            match page.next_marker {
                Some(marker) if !marker.is_empty() => next = Some(marker),
                _ => return Ok(mappings),
            }
        }
        Err(endless(action, object()))
    }
}

fn endless(action: &'static str, object: String) -> ControlError {
    ControlError::Malformed { action, object, reason: "it has no end".to_owned() }
}

/// A mapping whose source is a table's stream.
fn mapping(found: &EventSourceMappingConfiguration) -> Option<Mapping> {
    let source = found.event_source_arn().filter(|arn| arn.contains(":table/"))?;
    let count = |number: Option<i32>, default: u32| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let on_failure = found.destination_config().and_then(DestinationConfig::on_failure);
    Some(Mapping {
        id: found.uuid()?.to_owned(),
        source: source.to_owned(),
        function: found.function_arn().unwrap_or_default().to_owned(),
        state: MappingState::parse(found.state().unwrap_or_default()),
        reason: found.state_transition_reason().map(str::to_owned),
        last_result: found.last_processing_result().map(str::to_owned),
        modified: found
            .last_modified()
            .and_then(|time| u64::try_from(time.secs()).ok())
            .and_then(|seconds| Second::new(seconds).ok()),
        starting_position: found.starting_position().map(|position| position.as_str().to_owned()),
        bisect: found.bisect_batch_on_function_error().unwrap_or_default(),
        retries_max: found.maximum_retry_attempts().unwrap_or(-1),
        record_age_max: found.maximum_record_age_in_seconds().unwrap_or(-1),
        filters: found.filter_criteria().map_or(0, |criteria| criteria.filters().len()),
        settings: MappingSettings {
            batch_records: count(found.batch_size(), 100),
            window_seconds: count(found.maximum_batching_window_in_seconds(), 0),
            parallelization: count(found.parallelization_factor(), 1),
            on_failure: on_failure.and_then(OnFailure::destination).map(str::to_owned),
        },
    })
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn destination(settings: &MappingSettings) -> Option<DestinationConfig> {
    let arn = settings.on_failure.clone()?;
    Some(DestinationConfig::builder().on_failure(OnFailure::builder().destination(arn).build()).build())
}

#[async_trait]
impl ControlPlane for AwsControl {
    async fn list_tables(&self) -> Result<Vec<TableName>, ControlError> {
        let action = "ListTables";
        let mut tables = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let request = self.tables.list_tables().set_exclusive_start_table_name(next.take());
            let page = request.send().await.map_err(|error| ControlError::of(action, "the account", &error))?;
            for name in page.table_names() {
                let name = TableName::parse(name).map_err(|error| ControlError::Malformed {
                    action,
                    object: "the account".to_owned(),
                    reason: error.to_string(),
                })?;
                tables.push(name);
            }
            match page.last_evaluated_table_name {
                Some(last) if !last.is_empty() => next = Some(last),
                _ => return Ok(tables),
            }
        }
        Err(endless(action, "the account".to_owned()))
    }

    async fn tags(&self, table: &TableName) -> Result<Option<BTreeMap<String, String>>, ControlError> {
        let described = match self.tables.describe_table().table_name(table.as_str()).send().await {
            Ok(described) => described,
            Err(error) => {
                return match ControlError::of("DescribeTable", table.to_string(), &error) {
                    ControlError::NotFound { .. } => Ok(None),
                    error => Err(error),
                };
            }
        };
        let action = "ListTagsOfResource";
        let arn = described.table.and_then(|table| table.table_arn).ok_or_else(|| ControlError::Malformed {
            action: "DescribeTable",
            object: table.to_string(),
            reason: "it has no ARN".to_owned(),
        })?;
        let mut tags = BTreeMap::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let request = self.tables.list_tags_of_resource().resource_arn(&arn).set_next_token(next.take());
            let page = request.send().await.map_err(|error| ControlError::of(action, table.to_string(), &error))?;
            tags.extend(page.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())));
            match page.next_token {
                Some(token) if !token.is_empty() => next = Some(token),
                _ => return Ok(Some(tags)),
            }
        }
        Err(endless(action, table.to_string()))
    }

    async fn switch_stream(&self, table: &TableName, on: bool) -> Result<(), ControlError> {
        let action = "UpdateTable";
        let specification = StreamSpecification::builder()
            .stream_enabled(on)
            .set_stream_view_type(on.then_some(StreamViewType::NewAndOldImages))
            .build()
            .map_err(|error| ControlError::Malformed {
                action,
                object: table.to_string(),
                reason: error.to_string(),
            })?;
        let request = self.tables.update_table().table_name(table.as_str()).stream_specification(specification);
        request.send().await.map(|_| ()).map_err(|error| ControlError::of(action, table.to_string(), &error))
    }

    async fn mappings_of_function(&self, function: &str) -> Result<Vec<Mapping>, ControlError> {
        self.mappings(Some(function), None).await
    }

    async fn mappings_of_stream(&self, stream: &StreamArn) -> Result<Vec<Mapping>, ControlError> {
        self.mappings(None, Some(stream)).await
    }

    async fn make_mapping(
        &self,
        function: &str,
        stream: &StreamArn,
        settings: &MappingSettings,
    ) -> Result<Mapping, ControlError> {
        let action = "CreateEventSourceMapping";
        let object = || format!("function {function} for {stream}");
        let made = self
            .functions
            .create_event_source_mapping()
            .function_name(function)
            .event_source_arn(stream.as_str())
            .starting_position(EventSourcePosition::TrimHorizon)
            .enabled(true)
            .batch_size(number(settings.batch_records))
            .maximum_batching_window_in_seconds(number(settings.window_seconds))
            .parallelization_factor(number(settings.parallelization))
            .bisect_batch_on_function_error(false)
            .maximum_retry_attempts(-1)
            .maximum_record_age_in_seconds(-1)
            .set_destination_config(destination(settings))
            .send()
            .await
            .map_err(|error| ControlError::of(action, object(), &error))?;
        let made = EventSourceMappingConfiguration::builder()
            .set_uuid(made.uuid)
            .set_event_source_arn(made.event_source_arn)
            .set_function_arn(made.function_arn)
            .set_state(made.state)
            .set_state_transition_reason(made.state_transition_reason)
            .set_last_processing_result(made.last_processing_result)
            .set_last_modified(made.last_modified)
            .set_starting_position(made.starting_position)
            .set_bisect_batch_on_function_error(made.bisect_batch_on_function_error)
            .set_maximum_retry_attempts(made.maximum_retry_attempts)
            .set_maximum_record_age_in_seconds(made.maximum_record_age_in_seconds)
            .set_filter_criteria(made.filter_criteria)
            .set_batch_size(made.batch_size)
            .set_maximum_batching_window_in_seconds(made.maximum_batching_window_in_seconds)
            .set_parallelization_factor(made.parallelization_factor)
            .set_destination_config(made.destination_config)
            .build();
        mapping(&made).ok_or_else(|| ControlError::Malformed {
            action,
            object: object(),
            reason: "it has no UUID or no table's stream".to_owned(),
        })
    }

    async fn update_mapping(&self, id: &str, settings: Option<&MappingSettings>) -> Result<(), ControlError> {
        let mut request = self.functions.update_event_source_mapping().uuid(id).enabled(settings.is_some());
        if let Some(settings) = settings {
            request = request
                .batch_size(number(settings.batch_records))
                .maximum_batching_window_in_seconds(number(settings.window_seconds))
                .parallelization_factor(number(settings.parallelization))
                .bisect_batch_on_function_error(false)
                .maximum_retry_attempts(-1)
                .maximum_record_age_in_seconds(-1)
                .set_destination_config(destination(settings));
        }
        let updated = request.send().await;
        updated
            .map(|_| ())
            .map_err(|error| ControlError::of("UpdateEventSourceMapping", format!("mapping {id}"), &error))
    }

    async fn delete_mapping(&self, id: &str) -> Result<(), ControlError> {
        match self.functions.delete_event_source_mapping().uuid(id).send().await {
            Ok(_) => Ok(()),
            Err(error) => match ControlError::of("DeleteEventSourceMapping", format!("mapping {id}"), &error) {
                ControlError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn write_activity(
        &self,
        table: &TableName,
        since: Second,
        until: Second,
    ) -> Result<WriteActivity, ControlError> {
        let time = |second: Second| {
            aws_sdk_cloudwatch::primitives::DateTime::from_secs(i64::try_from(second.get()).unwrap_or(i64::MAX))
        };
        let malformed =
            |reason: String| ControlError::Malformed { action: "GetMetricData", object: table.to_string(), reason };
        let metric = Metric::builder()
            .namespace("AWS/DynamoDB")
            .metric_name("ConsumedWriteCapacityUnits")
            .dimensions(Dimension::builder().name("TableName").value(table.as_str()).build())
            .build();
        let sums = MetricStat::builder().metric(metric).period(PERIOD_SECONDS).stat("Sum").build();
        let query = MetricDataQuery::builder().id("written").metric_stat(sums).return_data(true).build();
        let mut activity = WriteActivity { last: None, units: 0.0 };
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let answer = self
                .metrics
                .get_metric_data()
                .metric_data_queries(query.clone())
                .start_time(time(since))
                .end_time(time(until))
                .set_next_token(next.take())
                .send()
                .await
                .map_err(|error| ControlError::of("GetMetricData", table.to_string(), &error))?;
            for result in answer.metric_data_results() {
                for (at, sum) in result.timestamps().iter().zip(result.values()).filter(|(_, sum)| **sum > 0.0) {
                    let second = u64::try_from(at.secs()).ok().and_then(|seconds| Second::new(seconds).ok());
                    let second = second.ok_or_else(|| malformed(format!("{at} is not a time")))?;
                    activity.last = activity.last.max(Some(second));
                    activity.units += sum;
                }
            }
            match answer.next_token {
                Some(token) if !token.is_empty() => next = Some(token),
                _ => return Ok(activity),
            }
        }
        Err(endless("GetMetricData", table.to_string()))
    }
}
