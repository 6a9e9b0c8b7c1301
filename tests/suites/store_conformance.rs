//! One set of claims for every store: a folder, memory behind the fault wrapper, and S3 as MiniStack serves it.
//!
//! `claims` says what any store must do; here each claim is run on each store. `folder` and `s3` hold what only one of
//! them can show.

#[path = "store/claims.rs"]
mod claims;
#[path = "store/folder.rs"]
mod folder;
#[path = "store/s3.rs"]
mod s3;

/// Runs every claim on every store.
macro_rules! on_every_store {
    ($($claim:ident),+ $(,)?) => {
        mod on_a_folder {
            $(#[tokio::test]
            async fn $claim() {
                let folder = tempfile::tempdir().unwrap();
                super::claims::$claim(super::folder::open(folder.path()).await).await;
            })+
        }

        mod in_memory_behind_the_fault_wrapper {
            use std::sync::Arc;

            use journal::store::memory::{FaultPlan, FaultyStore, MemoryStore};

            $(#[tokio::test]
            async fn $claim() {
                let store = FaultyStore::new(Arc::new(MemoryStore::new()), FaultPlan::none());
                super::claims::$claim(Arc::new(store)).await;
            })+
        }

        mod on_s3 {
            $(#[tokio::test]
            async fn $claim() {
                if let Some(store) = super::s3::open(concat!("on_s3::", stringify!($claim))).await {
                    super::claims::$claim(store).await;
                }
            })+
        }
    };
}

on_every_store!(
    a_put_makes_an_object_once,
    a_put_that_meets_other_bytes_changes_nothing,
    of_many_writers_of_one_key_one_wins,
    the_same_object_from_many_writers_is_success_for_all,
    a_retry_after_a_lost_answer_meets_its_own_object,
    ranges_are_exact_or_an_error,
    tails_tell_the_size,
    empty_objects_are_objects,
    what_is_not_there_is_told,
    a_document_is_replaced_whole,
    a_deleted_object_can_be_made_again,
    a_listing_is_in_the_order_of_bytes_page_after_page,
    a_listing_begins_and_ends_where_it_is_told_to,
    folders_are_those_with_objects,
    versions_are_listed_newest_first,
    keys_that_could_do_harm_are_refused,
    a_location_becomes_a_journal_once,
    large_objects_come_back_as_they_were,
    random_operations_give_what_a_plain_map_gives,
);
