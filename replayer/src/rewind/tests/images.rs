//! Which image is written, kept and brought back when others write at the same time.

use super::*;

fn with(mut item: Attributes, name: &str, value: &str) -> Attributes {
    item.insert(name.to_owned(), AttributeValue::S(value.to_owned()));
    item
}

fn one(name: &str, value: &str) -> Attributes {
    with(Attributes::new(), name, value)
}

/// A plan knew of a later edit only when it lay near the end of the window.
#[tokio::test]
async fn a_good_edit_is_kept_however_much_later_it_came() {
    let mut world = World::new().await;
    for (item, at) in [(note("good", 1), CUT), (note("bad", 1), CUT + 10), (note("bad", 2), CUT + 10_000)] {
        world.put("a", Some(item));
        world.follow(at).await;
    }
    let window = RewindRequest { to: Some(CutRequest::Cut(Cut::at(second(CUT + 10)))), ..request() };
    let mut plan = world.plan(&window).await.unwrap();
    let report = world.apply("run-1", &mut plan).await;
    assert_eq!((report.changed_back, report.conflicts), (1, 0));
    assert_eq!(world.table.items()["a"], note("good", 2));
}

#[tokio::test]
async fn an_item_that_somebody_has_mended_is_not_the_run_s_own_though_its_write_was_turned_away() {
    for operation in 2..=6 {
        let (world, before) = bad_deploy().await;
        let mut plan = world.plan(&request()).await.unwrap();
        world.put("note-1", Some(note("good", 1)));
        world.table.restart();
        world.table.fault(operation, Fault::Throttle);
        let report = world.apply("run-1", &mut plan).await;
        assert_eq!((report.written(), report.already), (4, 1), "operation {operation}");
        let mut back = world.undo("run-1").await;
        world.apply("run-2", &mut back).await;
        assert_eq!(world.table.items()["note-1"], before["note-1"], "operation {operation}");
    }
}

/// What comes back is what was there last, and not what had been seen or was expected.
#[tokio::test]
async fn the_undo_of_an_overwriting_run_brings_back_what_it_has_overwritten() {
    let told = ApplyOptions { overwrite: true, ..options() };
    let cases = [
        // Seen by the condition, twice.
        ([one("content", "x"), one("content", "y")].to_vec(), note("y", 1)),
        // Known of by nobody before it was written over.
        ([one("sneaked", "z")].to_vec(), with(note("bad", 1), "sneaked", "z")),
    ];
    for (sneaks, there) in cases {
        let (world, before) = bad_deploy().await;
        let mut plan = world.plan(&request()).await.unwrap();
        world.table.lock().sneaks.insert("note-1".to_owned(), sneaks.into());
        let report = world.apply_with("run-1", &mut plan, &told).await.unwrap();
        assert_eq!((report.overwritten, report.written()), (1, 5));
        assert_eq!(world.table.items(), before);
        let mut back = world.undo("run-1").await;
        world.apply("run-2", &mut back).await;
        assert_eq!(world.table.items()["note-1"], there);
    }
}

/// Who continues a run does not decide again.
#[tokio::test]
async fn a_run_overwrites_only_if_it_was_begun_so() {
    for overwrite in [false, true] {
        let (world, _) = bad_deploy().await;
        let mut plan = world.plan(&request()).await.unwrap();
        world.put("note-1", Some(note("a good edit", 1)));
        let (runs, interrupt) = (world.runs(), Interrupt::never());
        let begun = ApplyOptions { overwrite, ..options() };
        let other = ApplyOptions { overwrite: !overwrite, ..options() };
        let rewind = world.rewind(&runs, &begun, &interrupt);
        let document = rewind.begin("run-1", &mut plan).await.unwrap();
        let report = Rewind { options: &other, ..rewind.clone() }.carry_out(&document, true).await.unwrap();
        assert_eq!((report.conflicts, report.overwritten), (u64::from(!overwrite), u64::from(overwrite)));
    }
}
