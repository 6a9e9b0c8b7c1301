//! The arguments that name a table, a cut and a selection, and what is said about the plan that comes of them.

use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::Args;
use jiff::Zoned;
use journal::cli::output::note;
use journal::cli::{Global, output};
use journal::error::Result;
use journal::model::{TableName, TimelineLabel};
use journal::store::ReadStore;

use crate::cut::{CutError, CutRequest, CutText, Position};
use crate::filter::Filter;
use crate::key_schema::{KeySchema, KeySchemaError, KeySelection};
use crate::merge::{MergeOptions, MergeReport};
use crate::plan::{ReplayPlan, ReplayRequest, plan};
use crate::state::Selection;

/// When, and in which of the table's timelines.
#[derive(Debug, Clone, Args)]
pub struct CutArgs {
    /// Up to and including this second: 2020-03-29T10:00:00Z, epoch, 'now', 'latest', '10 minutes ago', 'yesterday 14:00'
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Just before this second
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
    /// Up to and including the record with this sequence number
    #[arg(long, value_name = "NUMBER")]
    pub at_sequence: Option<String>,
    /// Just before the record with this sequence number
    #[arg(long, value_name = "NUMBER")]
    pub before_sequence: Option<String>,
    /// The stream's label, where the cut could mean several timelines of the table
    #[arg(long, value_name = "LABEL")]
    pub timeline: Option<String>,
    /// Go on where history is known to be incomplete, with what the journal has
    #[arg(long)]
    pub allow_partial: bool,
    /// Say which snapshot, how many objects and how many bytes are read, and what could be read instead
    #[arg(long)]
    pub explain: bool,
}

impl CutArgs {
    /// The cut as it was asked for, by this machine's clock and zone.
    ///
    /// # Errors
    /// When not exactly one is given, or it is not a cut.
    pub fn request(&self) -> Result<CutRequest, CutError> {
        let text = CutText {
            at: self.at.as_deref(),
            before: self.before.as_deref(),
            at_sequence: self.at_sequence.as_deref(),
            before_sequence: self.before_sequence.as_deref(),
        };
        text.parse(&Zoned::now())
    }

    /// Opens the journal, plans the replay and says on standard error what the user should know.
    ///
    /// # Errors
    /// When the arguments are wrong, the journal cannot be opened, or the plan cannot be made.
    pub async fn plan(&self, table: &TableName, global: &Global) -> Result<(Arc<dyn ReadStore>, ReplayPlan)> {
        let cut = self.request()?;
        let timeline = self.timeline.as_deref().map(TimelineLabel::parse).transpose()?;
        let store = global.open_read().await?;
        let request = ReplayRequest { table: table.clone(), cut, timeline, allow_partial: self.allow_partial };
        let plan = plan(&*store, &request).await?;
        say_plan(&plan, global);
        if self.explain {
            note(plan.explanation.to_string().trim_end());
        }
        Ok((store, plan))
    }
}

/// Says what was planned: the cut as it was understood, and the plan's notes.
pub fn say_plan(plan: &ReplayPlan, global: &Global) {
    if !global.quiet {
        let base = plan.base.as_ref().map(|name| format!(" from {name}")).unwrap_or_default();
        note(&format!(
            "table {} {} (timeline {}): {} objects{base}, {} bytes",
            plan.timeline.table,
            plan.cut,
            plan.timeline.label,
            plan.inputs.len(),
            plan.bytes()
        ));
    }
    for text in &plan.notes {
        if plan.partial {
            note(&format!("warning: {text}"));
        } else if !global.quiet {
            note(&format!("note: {text}"));
        }
    }
}

/// Says what a cut by second cannot say of records without one.
pub fn say_undated(plan: &ReplayPlan, merge: &MergeReport) {
    if merge.undated > 0 && matches!(plan.cut.position, Position::Second(_)) {
        output::note(&format!(
            "note: {} records have no time and count as at the record before them of their key; --at-sequence is exact",
            merge.undated
        ));
    }
}

/// Which items.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectionArgs {
    /// Only this item: NAME=VALUE[,NAME=VALUE], a bare value, or DynamoDB JSON
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub key: Option<String>,
    /// Only items whose partition key, a string, begins so
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Only items for which this holds: DynamoDB's condition expressions, values written in place
    #[arg(long, value_name = "CONDITION")]
    pub r#where: Option<String>,
    /// At most so many items
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
}

impl SelectionArgs {
    /// The condition, which needs no journal to be read.
    ///
    /// # Errors
    /// When it is not one.
    pub fn filter(&self) -> Result<Option<Filter>> {
        Ok(self.r#where.as_deref().map(Filter::parse).transpose()?)
    }

    /// The selection, read by the table's key.
    ///
    /// # Errors
    /// When a key or prefix does not fit the table's key.
    pub fn selection(&self, plan: &ReplayPlan, filter: Option<Filter>) -> Result<Selection> {
        let keys = match (&self.key, &self.prefix) {
            (Some(text), _) => KeySelection::only(&schema(plan)?.parse_key(text)?),
            (None, Some(text)) => schema(plan)?.parse_prefix(text)?,
            (None, None) => KeySelection::default(),
        };
        Ok(Selection { keys, filter, limit: self.limit })
    }
}

/// The table's key.
///
/// # Errors
/// When the journal cannot say what it is.
pub fn schema(plan: &ReplayPlan) -> Result<&KeySchema, KeySchemaError> {
    plan.key.as_ref().ok_or_else(|| KeySchemaError::Unknown { table: plan.timeline.table.to_string() })
}

/// What a merge may take.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Memory for reading, in MiB; what does not fit goes through temporary files
    #[arg(long, value_name = "MIB", default_value_t = 48, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub memory_mib: u32,
    /// Threads for reading; as many as there are processors, up to four, when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
}

impl MergeArgs {
    /// The bounds.
    #[must_use]
    pub fn options(&self) -> MergeOptions {
        let bytes = usize::try_from(self.memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        let default = MergeOptions::default();
        let threads = self.threads.and_then(|threads| NonZeroUsize::new(usize::from(threads)));
        MergeOptions { memory_bytes_max: bytes, threads: threads.unwrap_or(default.threads), ..default }
    }
}
