//! Follows one table through all its timelines.
//!
//! Looks at the table again and again: each stream that it is seen to have is a timeline, followed beside those that are
//! still being drained. At the start, timelines that the journal knows and that have not ended are taken up too, so a crash
//! between a table's deletion and the end of its stream loses nothing. What shards are is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};

use super::backoff::{Halt, Patience, Retry};
use super::context::{Context, Line, Tally};
use super::known::{self, KnownTimeline};
use super::report::FollowError;
use super::stop::Stop;
use super::switched;
use super::timeline::{TimelineEnd, TimelineFollower};
use crate::documents::{StartDocument, TableDocument};
use crate::error::{Error, Kind};
use crate::model::{Second, StreamArn, TableName, TimelineLabel};
use crate::source::VIEW_NEEDED;
use crate::source::stream::{StreamSight, TableSight};
use crate::table;

/// Tries to reach the service at all, before it has answered once.
const FIRST_TRIES: u32 = 6;

/// One timeline that is or was followed by this process.
#[derive(Debug)]
struct Followed {
    line: Arc<Line>,
    document: Option<TableDocument>,
}

/// Follows one table.
#[derive(Debug)]
pub(super) struct TableFollower {
    context: Arc<Context>,
    table: TableName,
    tally: Arc<Tally>,
    /// The whole follower's stop.
    stop: Stop,
    /// This table's own, below it: made when the table fails.
    own_stop: Stop,
    followed: BTreeMap<StreamArn, Followed>,
    running: JoinSet<(StreamArn, Result<TimelineEnd, Error>)>,
    /// Why the table cannot be followed as it is now; said when it changes.
    problem: Option<FollowError>,
    /// Whether the journal knew the table, or it has been followed since.
    known: bool,
    described_at: Duration,
    /// The stream that the last look showed.
    latest: Option<StreamArn>,
    failure: Option<Error>,
}

impl TableFollower {
    pub(super) fn new(context: Arc<Context>, table: TableName, tally: Arc<Tally>, stop: Stop) -> Self {
        let own_stop = stop.child();
        Self {
            context,
            table,
            tally,
            stop,
            own_stop,
            followed: BTreeMap::new(),
            running: JoinSet::new(),
            problem: None,
            known: false,
            described_at: Duration::ZERO,
            latest: None,
            failure: None,
        }
    }

    /// Follows until a stop is wished, the table fails for good, or, where the options say so, there is nothing left to read.
    pub(super) async fn follow(mut self) -> Result<(), Error> {
        let followed = self.run().await;
        self.own_stop.request();
        while let Some(joined) = self.running.join_next().await {
            if let Err(Halt::Failed(error)) = self.ended(joined).await {
                self.failure.get_or_insert(error);
            }
        }
        match (followed, self.failure) {
            (Err(Halt::Failed(error)), _) | (Ok(()) | Err(Halt::Stopped), Some(error)) => Err(error),
            (Ok(()) | Err(Halt::Stopped), None) => match self.problem {
                // A table that is not there (any more) is no failure of a follower that knew it.
                None | Some(FollowError::NoTable { .. }) => Ok(()),
                Some(problem) => Err(problem.into()),
            },
        }
    }

    async fn run(&mut self) -> Result<(), Halt> {
        let known = known::timelines(&self.context, &self.stop, &self.table).await?;
        self.known = known.iter().any(|known| known.started);
        let mut first = true;
        loop {
            let asked = self.context.clock.now();
            let mut sight = self.look(first).await?;
            if first {
                self.take_up(&known, sight.as_ref());
            }
            // A table may have come and gone since the last look; its stream is still there. The table is looked at again
            // after its streams were listed: one that is listed and is not the table's own then is certainly over. In the
            // other order a table made between the two would have its own stream begun here, without a description.
            if self.known && (first || latest_of(sight.as_ref()) != self.latest) {
                let listed = self.list_streams().await?;
                sight = self.look(first).await?;
                self.follow_unseen(&known, listed, latest_of(sight.as_ref()).as_ref());
            }
            self.latest = latest_of(sight.as_ref());
            self.consider(sight.as_ref(), asked).await?;
            if first
                && !self.known
                && !self.context.options.wait
                && let Some(problem) = self.problem.take()
            {
                return Err(problem.into());
            }
            first = false;
            if self.is_done(sight.as_ref()) {
                return Ok(());
            }
            if self.wait().await? {
                return Ok(());
            }
        }
    }

    /// Until the next look. True when there is nothing left to do.
    async fn wait(&mut self) -> Result<bool, Halt> {
        let context = Arc::clone(&self.context);
        let until = context.clock.running().saturating_add(context.options.table_poll);
        loop {
            let left = until.saturating_sub(context.clock.running());
            tokio::select! {
                biased;
                () = self.stop.wait() => return Ok(true),
                Some(joined) = self.running.join_next() => {
                    self.ended(joined).await?;
                    if self.running.is_empty() && (self.context.options.once || self.failure.is_some()) {
                        return Ok(true);
                    }
                    if self.context.options.until_ended && self.running.is_empty() {
                        return Ok(false);
                    }
                }
                () = context.clock.sleep(left) => return Ok(false),
            }
        }
    }

    fn is_done(&self, sight: Option<&TableSight>) -> bool {
        let has_stream = sight.and_then(|sight| sight.stream.as_ref()).is_some_and(|stream| stream.enabled);
        let options = &self.context.options;
        self.running.is_empty() && (options.once || options.until_ended && !has_stream && !self.followed.is_empty())
    }

    /// Takes up the timelines that the journal knows and that have not ended.
    fn take_up(&mut self, known: &[KnownTimeline], sight: Option<&TableSight>) {
        let described = known.iter().find_map(|known| known.document.as_ref()).map(|document| &document.stream_arn);
        let other = described.or_else(|| Some(&sight?.stream.as_ref()?.arn));
        for known in known.iter().filter(|known| known.started && !known.ended) {
            let timeline = &known.timeline;
            let Some(stream) = known.stream(other) else {
                warn!(%timeline, "a timeline without an end cannot be taken up: its stream's ARN is not known");
                continue;
            };
            info!(%timeline, "the journal knows the timeline and not its end: it is taken up");
            self.begin(stream, known.document.clone());
        }
    }

    /// The streams of this name, those of deleted tables included. That they could not be listed is told.
    async fn list_streams(&self) -> Result<Vec<StreamArn>, Halt> {
        let mut backoff = self.context.backoff();
        let clock = self.context.clock.as_ref();
        let patience = Patience::Bounded(FIRST_TRIES);
        let mut retry = Retry { clock, stop: &self.stop, patience, backoff: &mut backoff };
        let what = format!("listing the streams of table {}", self.table);
        match retry.run(&what, || self.context.service.list_streams(&self.table)).await {
            Ok(listed) => Ok(listed),
            Err(Halt::Stopped) => Err(Halt::Stopped),
            Err(Halt::Failed(error)) => {
                warn!(table = %self.table, "a stream that came and went unseen would not be found: {error}");
                Ok(Vec::new())
            }
        }
    }

    /// Follows streams of this name that nobody has seen: younger than those that the journal knows, and not the table's own,
    /// which was asked for after they were `listed`. What can be read of them is read.
    fn follow_unseen(&mut self, known: &[KnownTimeline], listed: Vec<StreamArn>, latest: Option<&StreamArn>) {
        let birth = |stream: &StreamArn| stream.timeline().label.birth_milliseconds();
        let described = known.iter().filter(|known| known.started).map(|known| &known.timeline.label);
        let followed = self.followed.keys().map(|stream| &stream.timeline().label);
        let Some(youngest) = described.chain(followed).filter_map(TimelineLabel::birth_milliseconds).max() else {
            return;
        };
        for stream in listed {
            let is_unseen = birth(&stream).is_some_and(|birth| birth > youngest) && Some(&stream) != latest;
            if is_unseen && !self.followed.contains_key(&stream) {
                info!(%stream, "a stream of an earlier table of this name was never seen; what it still has is read");
                self.begin(stream, None);
            }
        }
    }

    async fn look(&self, first: bool) -> Result<Option<TableSight>, Halt> {
        let context = &self.context;
        let patience = match context.patience() {
            Patience::Endless if first && !self.known && !context.options.wait => Patience::Bounded(FIRST_TRIES),
            patience => patience,
        };
        let what = format!("looking for table {}", self.table);
        let mut backoff = context.backoff();
        let mut retry = Retry { clock: context.clock.as_ref(), stop: &self.stop, patience, backoff: &mut backoff };
        tokio::select! {
            biased;
            () = self.stop.wait() => Err(Halt::Stopped),
            sight = retry.run(&what, || context.service.find_table(&self.table)) => sight,
        }
    }

    /// What the look at the table, begun at `asked`, means.
    async fn consider(&mut self, sight: Option<&TableSight>, asked: Second) -> Result<(), Halt> {
        let Some(sight) = sight else {
            self.set_problem(Some(FollowError::NoTable { table: self.table.clone() }));
            return Ok(());
        };
        let Some(StreamSight { arn, enabled, view_type }) = &sight.stream else {
            self.set_problem(Some(FollowError::NoStream { table: self.table.clone() }));
            return Ok(());
        };
        if let Some(found) = view_type.as_deref().filter(|found| *found != VIEW_NEEDED) {
            let found = found.to_owned();
            self.set_problem(Some(FollowError::ViewType { table: self.table.clone(), found }));
            return Ok(());
        }
        let problem = (!enabled).then(|| FollowError::NoStream { table: self.table.clone() });
        self.set_problem(problem);
        let is_new = !self.followed.contains_key(arn);
        // A stream that was switched on and off between two looks has records too, unless the table was never followed.
        if is_new && (*enabled || self.known) {
            self.first_sight(arn, *enabled).await?;
        }
        if *enabled {
            self.known = true;
            if let Some(followed) = self.followed.get(arn) {
                followed.line.seen_enabled(asked);
            }
            self.keep_description(arn).await;
        }
        Ok(())
    }

    fn set_problem(&mut self, problem: Option<FollowError>) {
        if problem == self.problem {
            return;
        }
        match &problem {
            None => info!(table = %self.table, "the table can be followed again"),
            Some(FollowError::NoTable { .. }) => {
                info!(table = %self.table, "there is no table of this name; waiting for it");
            }
            Some(problem) => {
                use crate::error::Classify;
                error!(table = %self.table, hint = problem.hint().unwrap_or_default(), "{problem}; waiting for another stream");
            }
        }
        self.problem = problem;
    }

    /// A stream that was not followed before.
    async fn first_sight(&mut self, arn: &StreamArn, enabled: bool) -> Result<(), Halt> {
        let timeline = arn.timeline();
        let store = Arc::clone(&self.context.store);
        if !enabled {
            let key = crate::layout::end_document(timeline);
            let what = format!("reading {key}");
            let end: Option<serde_json::Value> =
                self.context.retry(&self.stop, &what, || crate::documents::read(store.as_ref(), &key)).await?;
            if end.is_some() {
                return Ok(());
            }
        }
        let what = format!("describing table {}", self.table);
        let now = self.context.clock.now();
        let document = self
            .context
            .retry(&self.stop, &what, || self.context.service.describe_table(&self.table, now))
            .await?
            // Made again in this very moment: then the next look finds the other stream.
            .filter(|document| document.stream_arn == *arn);
        if let Some(document) = &document {
            self.store_description(document).await?;
        }
        info!(%timeline, stream = %arn, "first sight of the stream");
        self.begin(arn.clone(), document.clone());
        self.state_gaps().await
    }

    /// Writes `table.json`. That a stored one is not whole must not keep the changes from being read: they cannot wait.
    async fn store_description(&mut self, document: &TableDocument) -> Result<(), Halt> {
        let store = Arc::clone(&self.context.store);
        let what = format!("writing the description of table {}", self.table);
        self.described_at = self.context.clock.running();
        match self.context.retry(&self.stop, &what, || table::store_description(store.as_ref(), document)).await {
            Err(Halt::Failed(error)) if error.kind() == Kind::Corrupt => {
                let hint = error.hint().unwrap_or_default();
                error!(table = %self.table, hint, "the description of the table cannot be kept up to date: {error}");
                Ok(())
            }
            stored => stored.map(|_| ()),
        }
    }

    fn begin(&mut self, stream: StreamArn, document: Option<TableDocument>) {
        let stop = self.own_stop.child();
        let line =
            Arc::new(Line::new(Arc::clone(&self.context), stream.clone(), Arc::clone(&self.tally), stop.child()));
        let now = self.context.clock.now();
        let start = document.as_ref().map_or_else(
            || StartDocument {
                covered_from: now,
                whole: false,
                reason: "the table was gone before it could be described".to_owned(),
            },
            |document| table::start_of(document, now),
        );
        let start = self.trusted(start, now);
        let follower = TimelineFollower::new(Arc::clone(&line), stop, document.clone(), start);
        self.tally.lock().timelines += 1;
        self.followed.insert(stream.clone(), Followed { line, document });
        self.running.spawn(async move { (stream, follower.follow().await) });
    }

    /// What the start may claim: records that are trimmed before the first shard is read cannot be promised. What is trimmed
    /// after a longer wait than allowed for here is a gap of its own.
    fn trusted(&self, start: StartDocument, now: Second) -> StartDocument {
        let retention = self.context.options.retention.as_secs();
        let readable = Second::new(now.get().saturating_sub(retention - retention / 24)).unwrap_or(now);
        StartDocument { covered_from: start.covered_from.max(readable.min(now)), ..start }
    }

    async fn ended(&mut self, joined: Result<(StreamArn, Result<TimelineEnd, Error>), JoinError>) -> Result<(), Halt> {
        let (stream, end) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                let ended = FollowError::Ended { what: self.table.to_string(), reason: error.to_string() };
                return Err(ended.into());
            }
        };
        let end = match end {
            Ok(end) => end,
            // The table's other timelines go on: none of them can wait until this one is mended.
            Err(failed) => {
                let hint = failed.hint().unwrap_or_default();
                error!(timeline = %stream.timeline(), hint, "following the timeline ended: {failed}");
                self.failure.get_or_insert(failed);
                return Ok(());
            }
        };
        if end == TimelineEnd::Ended { self.state_gaps().await } else { Ok(()) }
    }

    /// States the gaps between streams of one table that are known by now.
    async fn state_gaps(&self) -> Result<(), Halt> {
        for followed in self.followed.values() {
            if let Some(document) = &followed.document {
                switched::state_gap(&followed.line, &self.stop, document).await?;
            }
        }
        Ok(())
    }

    /// Keeps `table.json` up to date. That it could not be done is told, and tried again later.
    async fn keep_description(&mut self, arn: &StreamArn) {
        let context = Arc::clone(&self.context);
        let running = context.clock.running();
        if running.saturating_sub(self.described_at) < context.options.describe_age {
            return;
        }
        self.described_at = running;
        let described = context.service.describe_table(&self.table, context.clock.now()).await;
        let stored = match described {
            Ok(Some(document)) if document.stream_arn == *arn => {
                table::store_description(context.store.as_ref(), &document).await.map(|_| ()).map_err(Error::from)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = stored {
            warn!(table = %self.table, "the description of the table could not be kept up to date: {error}");
        }
    }
}

/// The stream that the table has now.
fn latest_of(sight: Option<&TableSight>) -> Option<StreamArn> {
    sight.and_then(|sight| sight.stream.as_ref()).map(|stream| stream.arn.clone())
}
