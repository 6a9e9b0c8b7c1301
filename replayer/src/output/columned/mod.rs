//! Exports with columns: which there are, and of what type, follows from the items themselves.
//!
//! Items are looked at before the first is written: as many as [`LOOKED_AT_BYTES`] hold, which are kept in memory. A file with typed
//! columns is then begun with the columns that they need, and looking goes on while it is written. Most tables have nothing else in
//! them, and are read once. Where a later item needs other columns, what is written is given up, and the state is read again once all of
//! it has been looked at. The lines of a CSV cannot be given up, for their destination may be a stream.

mod kept;
mod sink;

use std::sync::Arc;

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::WalkedValue;
use journal::store::ReadStore;

use self::kept::Kept;
#[cfg(any(feature = "parquet", feature = "sqlite"))]
use self::sink::BeginTyped;
use self::sink::Target;
use super::csv::CsvLook;
use super::destination::Destination;
#[cfg(any(feature = "parquet", feature = "sqlite"))]
use super::typed::{Layout, Seen, TYPED_COLUMNS_MAX};
use super::{About, ExportReport, Format, Visited};
use crate::digest::ItemHash;
use crate::key_schema::KeySchema;
use crate::merge::MergeOptions;
use crate::plan::ReplayPlan;
use crate::state::{EncodedItem, Flow, ReadError, Selection, StateError, visit_encoded};

#[cfg(any(feature = "parquet", feature = "sqlite"))]
pub(super) use self::sink::TypedSink;
pub(super) use self::sink::{RowSink, See};

/// Bytes of items that are kept in memory before the first is written.
const LOOKED_AT_BYTES: usize = 2 << 20;
/// The same where nothing is written before all were looked at.
const KEPT_BYTES: usize = 8 << 20;

/// As [`super::export`], in a format with columns.
pub(super) async fn export(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    target: (Format, Destination),
    selection: Selection,
    options: MergeOptions,
    interrupt: &Interrupt,
    progress: impl Fn(u64, Option<u64>) + Send + 'static,
) -> Result<ExportReport> {
    let kept = if target.0 == Format::Csv { KEPT_BYTES } else { LOOKED_AT_BYTES };
    export_keeping(kept, store, plan, target, (selection, options), interrupt, progress).await
}

/// As [`export`], with so many bytes kept before the first item is written.
pub(super) async fn export_keeping(
    kept_bytes_max: usize,
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    (format, destination): (Format, Destination),
    (selection, options): (Selection, MergeOptions),
    interrupt: &Interrupt,
    progress: impl Fn(u64, Option<u64>) + Send + 'static,
) -> Result<ExportReport> {
    let about = About::plan(plan);
    let first = First {
        schema: plan.key.clone(),
        #[cfg(any(feature = "parquet", feature = "sqlite"))]
        about: about.clone(),
        look: Look::new(format, plan.key.as_ref()),
        kept: Kept::new(kept_bytes_max),
        phase: Phase::Looking(Target::new(format, destination)?),
    };
    let (again, again_options) = (selection.clone(), options.clone());
    let visit = |(first, counted): &mut (First, Counted<_>), item: EncodedItem<'_>| {
        let hash = first.item(&item)?;
        counted.item();
        Ok((Flow::Continue, hash))
    };
    let counted = Counted { items: 0, total: None, progress };
    let visiting = visit_encoded(Arc::clone(&store), plan, selection, options, interrupt, (first, counted), visit);
    let ((first, counted), mut visited) = visiting.await?;
    let written = match first.phase {
        #[cfg(any(feature = "parquet", feature = "sqlite"))]
        Phase::Writing(sink, _) => Written::All(sink),
        Phase::Looking(target) => {
            Written::Kept(first.kept, first.look.begin_sink(target, first.schema.as_ref(), &about)?, first.schema)
        }
        Phase::LookingOn(target) => {
            let sink = first.look.begin_sink(target, first.schema.as_ref(), &about)?;
            let counted = Counted { items: 0, total: Some(visited.digest.items()), ..counted };
            let visit = |(sink, counted): &mut (Box<dyn RowSink>, Counted<_>), item: EncodedItem<'_>| {
                let plain_numbers = sink.item(&item, None)?;
                counted.item();
                Ok((Flow::Continue, item.hash(plain_numbers)?))
            };
            let visiting = visit_encoded(store, plan, again, again_options, interrupt, (sink, counted), visit);
            let ((sink, _), by_second) = visiting.await?;
            visited = by_second;
            Written::All(sink)
        }
        Phase::Over => return Err(StateError::Lost.into()),
    };
    let said = visited.clone();
    let bytes = super::finish(move || written.finish(&about, &said), interrupt).await?;
    let items = visited.digest.items();
    Ok(ExportReport { items, bytes, digest: visited.digest, cut_short: visited.cut_short, merge: visited.merge })
}

/// Items counted for whoever waits.
struct Counted<P> {
    items: u64,
    total: Option<u64>,
    progress: P,
}

impl<P: Fn(u64, Option<u64>)> Counted<P> {
    fn item(&mut self) {
        self.items += 1;
        if self.items.is_multiple_of(256) {
            (self.progress)(self.items, self.total);
        }
    }
}

/// What is learnt of the items' attributes.
enum Look {
    Csv(CsvLook),
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    Typed(Seen),
}

impl Look {
    fn new(format: Format, schema: Option<&KeySchema>) -> Self {
        match format {
            #[cfg(feature = "parquet")]
            Format::Parquet => Self::Typed(Seen::default()),
            #[cfg(feature = "sqlite")]
            Format::Sqlite => Self::Typed(Seen::default()),
            _ => Self::Csv(CsvLook::of_key(schema)),
        }
    }

    /// The attributes of another item follow.
    fn begin(&mut self) {
        match self {
            Self::Csv(look) => look.begin(),
            #[cfg(any(feature = "parquet", feature = "sqlite"))]
            Self::Typed(seen) => seen.begin(),
        }
    }

    #[cfg_attr(
        not(any(feature = "parquet", feature = "sqlite")),
        expect(unused_variables, reason = "CSV has names alone")
    )]
    fn see(&mut self, name: &str, value: &WalkedValue<'_, '_>) -> Result<(), ReadError> {
        match self {
            Self::Csv(look) => look.see(name).map_err(|error| ReadError::Reader(error.into()))?,
            #[cfg(any(feature = "parquet", feature = "sqlite"))]
            Self::Typed(seen) => seen.see(name, value),
        }
        Ok(())
    }

    /// Begins the file with what was learnt.
    #[cfg_attr(
        not(any(feature = "parquet", feature = "sqlite")),
        expect(unused_variables, reason = "CSV has names alone")
    )]
    fn begin_sink(self, target: Target, schema: Option<&KeySchema>, about: &About) -> Result<Box<dyn RowSink>> {
        match (self, target) {
            (Self::Csv(look), Target::Csv(destination)) => Ok(sink::csv(look, destination)?),
            #[cfg(any(feature = "parquet", feature = "sqlite"))]
            (Self::Typed(seen), Target::Typed(file, begin)) => Ok(begin(file, Layout::new(&seen, schema), about)?),
            #[cfg(any(feature = "parquet", feature = "sqlite"))]
            _ => Err(StateError::Lost.into()),
        }
    }
}

/// The state's first reading.
struct First {
    schema: Option<KeySchema>,
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    about: About,
    look: Look,
    kept: Kept,
    phase: Phase,
}

enum Phase {
    /// Items are kept, nothing is written.
    Looking(Target),
    /// Items are looked at and written.
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    Writing(Box<dyn TypedSink>, BeginTyped),
    /// Items are looked at, and will be written when they are read again.
    LookingOn(Target),
    /// It has failed.
    Over,
}

impl First {
    fn item(&mut self, item: &EncodedItem<'_>) -> Result<ItemHash> {
        self.look.begin();
        let look = &mut self.look;
        let plain_numbers = match &mut self.phase {
            #[cfg(any(feature = "parquet", feature = "sqlite"))]
            Phase::Writing(sink, _) => {
                let plain_numbers = sink.item(item, Some(&mut |name, value| look.see(name, value)))?;
                if self.columns_have_changed() {
                    self.give_up()?;
                }
                plain_numbers
            }
            _ => item.attributes(|name, value| look.see(name, value))?,
        };
        if let Phase::Looking(_) = self.phase {
            self.kept.push(item);
            if self.kept.is_full() {
                self.enough()?;
            }
        }
        item.hash(plain_numbers)
    }

    /// No more is kept.
    fn enough(&mut self) -> Result<()> {
        self.phase = match (std::mem::replace(&mut self.phase, Phase::Over), &mut self.look, &self.schema) {
            #[cfg(any(feature = "parquet", feature = "sqlite"))]
            (Phase::Looking(Target::Typed(file, begin)), Look::Typed(seen), Some(schema))
                if seen.count() <= TYPED_COLUMNS_MAX =>
            {
                seen.has_changed();
                let mut sink = begin(file, Layout::new(seen, Some(schema)), &self.about)?;
                self.kept.write(&mut *sink, schema)?;
                Phase::Writing(sink, begin)
            }
            (Phase::Looking(target), ..) => Phase::LookingOn(target),
            (phase, ..) => phase,
        };
        self.kept = Kept::default();
        Ok(())
    }

    /// Whether what is being written needs other columns.
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    fn columns_have_changed(&mut self) -> bool {
        let (Phase::Writing(sink, _), Look::Typed(seen)) = (&self.phase, &mut self.look) else { return false };
        // Which attributes have columns, where not all can, is known at the end.
        seen.has_changed()
            && (seen.count() > TYPED_COLUMNS_MAX || *sink.layout() != Layout::new(seen, self.schema.as_ref()))
    }

    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    fn give_up(&mut self) -> Result<()> {
        if let Phase::Writing(sink, begin) = std::mem::replace(&mut self.phase, Phase::Over) {
            self.phase = Phase::LookingOn(Target::Typed(sink.give_up()?, begin));
        }
        Ok(())
    }
}

/// A file that needs no more than its end.
enum Written {
    All(Box<dyn RowSink>),
    /// And the kept items, which are all.
    Kept(Kept, Box<dyn RowSink>, Option<KeySchema>),
}

impl Written {
    fn finish(self, about: &About, visited: &Visited) -> Result<u64> {
        let sink = match self {
            Self::All(sink) => sink,
            Self::Kept(kept, mut sink, schema) => {
                if let Some(schema) = schema {
                    kept.write(&mut *sink, &schema)?;
                }
                sink
            }
        };
        Ok(sink.finish(about, visited)?)
    }
}
