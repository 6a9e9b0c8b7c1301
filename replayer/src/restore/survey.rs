//! How much a restore will write: the state counted before the first item is.
//!
//! What enters is a plan; what leaves are counts, and what the writes take. The journal is read once more for it: reading is
//! many times faster than a table can be written, and nobody waits an hour without knowing for what.

use std::sync::Arc;

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::{Spelling, Splicer};
use journal::store::ReadStore;

use super::write::capacity_units;
use crate::merge::MergeOptions;
use crate::plan::ReplayPlan;
use crate::state::{EncodedItem, Selection, visit_parts};

/// What a write request unit costs on demand, in millionths of a dollar: us-east-1, standard class.
const MICRODOLLARS_PER_MILLION_UNITS: u64 = 625_000;

/// What a restore will write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Survey {
    /// Items.
    pub items: u64,
    /// Their bytes, about as DynamoDB counts them.
    pub bytes: u64,
    /// Write units of the table itself; its indexes take more.
    pub write_units: u64,
    /// Items that an earlier attempt has written.
    pub confirmed: u64,
}

impl Survey {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            items: self.items + other.items,
            bytes: self.bytes + other.bytes,
            write_units: self.write_units + other.write_units,
            confirmed: self.confirmed + other.confirmed,
        }
    }

    /// What the units cost on demand, in cents of a dollar, rounded up.
    #[must_use]
    pub fn cents(&self) -> u64 {
        let product = u128::from(self.write_units) * u128::from(MICRODOLLARS_PER_MILLION_UNITS);
        u64::try_from(product.div_ceil(1_000_000 * 10_000)).unwrap_or(u64::MAX)
    }
}

/// Counts the selected items. `confirmed` is the key up to which all are written.
///
/// # Errors
/// When an object cannot be read, or `interrupt` asks to stop.
pub async fn survey(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    selection: Selection,
    options: MergeOptions,
    interrupt: &Interrupt,
    confirmed: Option<Vec<u8>>,
) -> Result<Survey> {
    let Some(key) = &plan.key else { return Ok(Survey::default()) };
    let splicer = Splicer::new(key.attributes(), Spelling::DynamoDb);
    let begin = move || (Survey::default(), splicer.clone(), Vec::new());
    let count = move |(survey, splicer, passed_over): &mut (Survey, Splicer, Vec<u8>), item: EncodedItem<'_>| {
        passed_over.clear();
        let told = item.splice(splicer, passed_over)?;
        let bytes = told.bytes;
        survey.items += 1;
        survey.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        survey.write_units += u64::from(capacity_units(bytes));
        survey.confirmed += u64::from(confirmed.as_deref().is_some_and(|confirmed| item.key <= confirmed));
        Ok(told.hash)
    };
    let add = |survey: &mut Survey, (part, ..): (Survey, Splicer, Vec<u8>)| {
        *survey = survey.plus(&part);
        Ok(())
    };
    let parts = (begin, count, add);
    Ok(visit_parts(store, plan, selection, options, interrupt, Survey::default(), parts).await?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_units_cost_sixty_three_cents_and_one_unit_a_cent() {
        let cents = |write_units| Survey { write_units, ..Survey::default() }.cents();
        assert_eq!([0, 1, 16_000, 16_001, 1_000_000].map(cents), [0, 1, 1, 2, 63]);
    }
}
