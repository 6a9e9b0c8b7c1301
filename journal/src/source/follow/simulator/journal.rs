//! Where simulated batches become durable, and what is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::Chance;
use super::clock::VirtualClock;
use super::world::World;
use crate::append::{AppendReport, Batch, QuarantinedRecord};
use crate::error::Result;
use crate::model::{SequenceNumber, StreamArn, StreamRecord};
use crate::source::follow::{Clock, Durable};
use crate::store::StoreError;

/// Records by stream and sequence number.
pub(in super::super) type Durables = BTreeMap<StreamArn, BTreeMap<SequenceNumber, StreamRecord>>;

/// The journal.
#[derive(Debug)]
pub(in super::super) struct SimJournal {
    world: Arc<Mutex<World>>,
    clock: VirtualClock,
    chance: Chance,
    failures: u32,
    pub(in super::super) durable: Arc<Mutex<Durables>>,
    pub(in super::super) quarantined: Mutex<Vec<QuarantinedRecord>>,
    pub(in super::super) largest_batch: Mutex<usize>,
}

impl SimJournal {
    pub(in super::super) fn new(
        world: Arc<Mutex<World>>,
        clock: VirtualClock,
        durable: Arc<Mutex<Durables>>,
        seed: u64,
        failures: u32,
    ) -> Self {
        let chance = Chance::new(seed);
        Self { world, clock, chance, failures, durable, quarantined: Mutex::default(), largest_batch: Mutex::default() }
    }

    fn fault(&self) -> Result<(), StoreError> {
        if self.chance.permille(self.failures) {
            return Err(StoreError::Unavailable {
                action: "append",
                location: "simulated".to_owned(),
                key: "segment".to_owned(),
                attempts: 1,
                reason: "simulated".to_owned(),
            });
        }
        Ok(())
    }

    /// Every change of the item before this one is durable already, comes with it, or can no longer be read.
    fn check_order(&self, durable: &Durables, record: &StreamRecord, batch: &BTreeSet<SequenceNumber>) {
        let world = self.world.lock().unwrap();
        let stream = &world.streams[&record.stream];
        let have = durable.get(&record.stream);
        for shard in stream.shards.iter().filter(|shard| !shard.vanished) {
            for (_, before) in shard.records.iter().skip(shard.trimmed) {
                let sequence = before.record.sequence;
                if before.record.key == record.record.key && sequence < record.record.sequence {
                    let there = have.is_some_and(|have| have.contains_key(&sequence)) || batch.contains(&sequence);
                    assert!(
                        there || stream.foreign.contains(&sequence),
                        "{sequence} of {} comes after {}",
                        shard.id,
                        record.record.sequence
                    );
                }
            }
        }
    }
}

#[async_trait]
impl Durable for SimJournal {
    async fn append(&self, batch: Batch) -> Result<AppendReport> {
        self.clock.sleep(Duration::from_millis(1 + self.chance.below(40))).await;
        self.fault()?;
        let records = u64::try_from(batch.records.len()).unwrap();
        let quarantined = u64::try_from(batch.quarantined.len()).unwrap();
        {
            let mut durable = self.durable.lock().unwrap();
            let sequences: BTreeSet<SequenceNumber> =
                batch.records.iter().map(|record| record.record.sequence).collect();
            let mut largest = self.largest_batch.lock().unwrap();
            *largest = (*largest).max(batch.records.len());
            for record in &batch.records {
                let known = durable.get(&record.stream).is_some_and(|have| have.contains_key(&record.record.sequence));
                if !known {
                    self.check_order(&durable, record, &sequences);
                }
            }
            for record in batch.records {
                durable.entry(record.stream.clone()).or_default().insert(record.record.sequence, record);
            }
            self.quarantined.lock().unwrap().extend(batch.quarantined);
        }
        self.clock.sleep(Duration::from_millis(self.chance.below(40))).await;
        self.fault()?;
        Ok(AppendReport { records, quarantined, segments_created: 1, ..AppendReport::default() })
    }
}
