//! What the follower promises, each promise tried with many seeds in the simulated world.

use std::time::Duration;

use super::FollowOptions;
use super::simulator::clock::VirtualClock;
use super::simulator::run::{Profile, Run, Seen, options, table};
use super::simulator::service::Unkindness;
use crate::source::follow::Clock;

/// Runs `count` seeds from `first` on. In the environment, `JOURNAL_SIMULATION_FACTOR` runs so many times as many, and
/// `JOURNAL_SIMULATION_SEED` runs one alone.
fn many(first: u64, count: u64, profile: &Profile) -> Seen {
    let setting = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let factor = setting("JOURNAL_SIMULATION_FACTOR").unwrap_or(1);
    let seeds = setting("JOURNAL_SIMULATION_SEED").map_or(first..first + count * factor, |seed| seed..seed + 1);
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    }
    let mut seen = Seen::default();
    for seed in seeds {
        let run = std::panic::catch_unwind(|| Run::check(seed, profile.clone()));
        seen += run.unwrap_or_else(|failure| {
            eprintln!("the failing seed is {seed}");
            std::panic::resume_unwind(failure)
        });
    }
    eprintln!("{seen:?}");
    seen
}

#[test]
fn a_kind_world_is_followed_without_a_gap() {
    let profile = Profile {
        unkindness: Unkindness::default(),
        store_failures: 0,
        life: 0,
        deletes: 0,
        switches: 0,
        ..Profile::default()
    };
    let seen = many(0, 3, &profile);
    assert!(seen.durable == seen.emitted && seen.emitted > 1000 && seen.shards > 20 && seen.gaps == 0);
}

#[test]
fn a_follower_killed_at_any_moment_loses_nothing() {
    let seen = many(100_000, 12, &Profile::default());
    assert!(seen.durable == seen.emitted && seen.ends > 10 && seen.lost == 0);
}

#[test]
fn what_is_trimmed_before_it_is_read_is_stated() {
    let seen = many(200_000, 12, &Profile { late: 150, ..Profile::default() });
    assert!(seen.lost > 500 && seen.gaps > 20 && seen.durable > 5_000);
}

#[test]
fn two_followers_at_once_make_the_same_history() {
    let seen = many(300_000, 6, &Profile { followers: 2, ..Profile::default() });
    assert!(seen.durable == seen.emitted && seen.ends > 5);
}

#[test]
fn records_older_than_their_stream_are_left_out() {
    for numeric_labels in [false, true] {
        let seen = many(400_000, 5, &Profile { foreign: 50, numeric_labels, ..Profile::default() });
        assert!(seen.foreign > 20 && seen.durable == seen.emitted);
    }
}

#[test]
fn shards_that_never_close_are_read_until_they_are_empty() {
    let unkindness = Unkindness { never_closes: true, ..Profile::default().unkindness };
    let seen = many(500_000, 6, &Profile { unkindness, deletes: 10, ..Profile::default() });
    assert!(seen.durable == seen.emitted && seen.ends > 10);
}

#[test]
fn a_table_that_was_made_and_deleted_while_nobody_looked_is_read() {
    for seed in 600_000..600_010 {
        let clock = VirtualClock::default();
        let inner = clock.clone();
        let seen = clock.run(async move {
            let run = Run::new(&inner, seed, Profile::default());
            let write = || run.world.lock().unwrap().write(&table(), 1);
            run.world.lock().unwrap().create_table(&table(), 2);
            write();
            let wait = || FollowOptions { wait: true, ..options(seed) };
            run.follow_for(1, wait(), 10_000).await;
            for _ in 0..2 {
                run.world.lock().unwrap().delete_table(&table());
                inner.sleep(Duration::from_secs(2)).await;
                run.world.lock().unwrap().create_table(&table(), 2);
                inner.sleep(Duration::from_secs(2)).await;
                write();
                inner.sleep(Duration::from_secs(2)).await;
            }
            run.follow_for(2, wait(), 45_000).await;
            run.verify().await
        });
        assert!(seen.emitted == 3 && seen.durable == 3 && seen.ends == 2, "seed {seed}: {seen:?}");
    }
}
