use super::*;
use proptest::prelude::*;

fn settings(seed: u64, shuffle: bool) -> Settings {
    Settings { seed, shuffle, window: None, shard: (0, 1), holdout: 0.0, part: Part::All }
}

/// Global row numbers from a position to the end of the epoch, with the positions between batches.
fn read(order: &Order, epoch: u64, mut at: Position, batch: usize) -> (Vec<u64>, Vec<(usize, Position)>) {
    let (mut rows, mut places, mut buffer) = (vec![], vec![], vec![0; batch]);
    while let Some(found) = order.fill(epoch, at, u64::MAX, &mut buffer) {
        rows.extend(buffer[..found.count].iter().map(|&r| r as u64 + order.starts[found.group]));
        at = found.next;
        places.push((rows.len(), at));
    }
    (rows, places)
}

const START: Position = Position { ordinal: 0, offset: 0 };

proptest! {
    #[test]
    fn shards_and_parts_split_the_rows(
        groups in prop::collection::vec(0u64..60, 0..7), seed: u64, epoch: u64, shuffle: bool,
        shards in 1u64..5, holdout in 0.0f64..0.9, batch in 1usize..40, window in prop::option::of(1u64..80),
    ) {
        let mut all = vec![];
        for part in [Part::Fit, Part::Held] {
            for shard in 0..shards {
                let shard = (shard, shards);
                let settings = Settings { window, shard, holdout, part, ..settings(seed, shuffle) };
                let order = Order::new(&groups, settings).unwrap();
                let (rows, _) = read(&order, epoch, START, batch);
                prop_assert_eq!(order.count(&|| Ok(())).unwrap(), rows.len() as u64);
                all.extend(rows);
            }
        }
        all.sort_unstable();
        prop_assert_eq!(all, (0..groups.iter().sum()).collect::<Vec<u64>>());
    }

    #[test]
    fn any_position_resumes(
        groups in prop::collection::vec(0u64..60, 1..7), seed: u64, batch in 1usize..40,
        window in prop::option::of(1u64..80),
    ) {
        let order = Order::new(&groups, Settings { window, ..settings(seed, true) }).unwrap();
        let (rows, places) = read(&order, 3, START, batch);
        for (done, place) in places {
            prop_assert_eq!(&read(&order, 3, place, batch).0, &rows[done..]);
        }
    }
}

proptest! {
    /// Spans are what a reader has to have at hand: together they cover the epoch, and each covers its places.
    #[test]
    fn spans_hold_the_rows_of_their_places(
        groups in prop::collection::vec(0u64..60, 0..7), seed: u64, shuffle: bool,
        shards in 1u64..5, window in prop::option::of(1u64..80),
    ) {
        let mut covered = 0;
        for shard in 0..shards {
            let settings = Settings { window, shard: (shard, shards), ..settings(seed, shuffle) };
            let order = Order::new(&groups, settings).unwrap();
            let (mut at, mut rows) = (START, [0; 64]);
            while let Some(span) = order.span(2, at) {
                prop_assert!(span.rows.end - span.rows.start <= order.largest_window() || !shuffle);
                let end = at.offset + span.rows.end - span.rows.start;
                let found = order.fill(2, at, end, &mut rows).unwrap();
                prop_assert_eq!(found.group, span.group);
                let mut seen: Vec<u64> = rows[..found.count].iter().map(|&row| row as u64).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, span.rows.collect::<Vec<_>>());
                covered += found.count as u64;
                at = found.next;
            }
        }
        prop_assert_eq!(covered, groups.iter().sum::<u64>());
    }
}

#[test]
fn a_window_of_the_whole_group_changes_nothing() {
    let whole = Order::new(&[50, 70], settings(9, true)).unwrap();
    let window = Order::new(&[50, 70], Settings { window: Some(70), ..settings(9, true) }).unwrap();
    assert_eq!(read(&whole, 1, START, 9), read(&window, 1, START, 9));
}

#[test]
fn rows_beyond_32_bits_are_reached() {
    let size = 1u64 << 40;
    let order = Order::new(&[size, size], Settings { window: Some(1 << 33), ..settings(5, true) }).unwrap();
    let mut rows = [0; 1000];
    let at = Position { ordinal: 1, offset: size - 600 };
    let found = order.fill(0, at, u64::MAX, &mut rows).unwrap();
    assert_eq!((found.count, found.next), (600, Position { ordinal: 2, offset: 0 }));
    assert!(rows[..600].iter().all(|&row| (size - (1 << 33)..size).contains(&(row as u64))));
    let (count, _) = order.fill_table(0, START, &mut rows, &|| Ok(())).unwrap();
    assert_eq!(count, 1000);
    assert!(rows.iter().any(|&row| row > i64::from(u32::MAX)));
}

#[test]
fn many_rows_at_once_are_the_rows_of_small_calls() {
    let order = Order::new(&[9000, 20_000], settings(2, true)).unwrap();
    let mut at_once = vec![0; 29_000];
    let (count, next) = order.fill_table(0, START, &mut at_once, &|| Ok(())).unwrap();
    assert_eq!((count, next), (29_000, Position { ordinal: 2, offset: 0 }));
    assert_eq!(at_once.iter().map(|&r| r as u64).collect::<Vec<_>>(), read(&order, 0, START, 100).0);
}

#[test]
fn without_shuffle_rows_come_in_order_and_epochs_differ_with_it() {
    let plain = Order::new(&[50, 0, 50], settings(1, false)).unwrap();
    assert_eq!(read(&plain, 7, START, 9).0, (0..100).collect::<Vec<u64>>());
    let shuffled = Order::new(&[50, 50], settings(1, true)).unwrap();
    assert_ne!(read(&shuffled, 0, START, 9).0, read(&shuffled, 1, START, 9).0);
}

#[test]
fn the_share_held_out_is_the_share_asked_for() {
    let held = Settings { holdout: 0.2, part: Part::Held, ..settings(0, false) };
    let count = Order::new(&[100_000], held).unwrap().count(&|| Ok(())).unwrap() as f64;
    // Five standard deviations of a binomial.
    assert!((count - 20_000.0).abs() < 5.0 * (100_000f64 * 0.2 * 0.8).sqrt(), "{count}");
}

#[test]
fn settings_out_of_range_are_refused() {
    for bad in [
        Settings { shard: (1, 1), ..settings(0, true) },
        Settings { shard: (0, 0), ..settings(0, true) },
        Settings { window: Some(0), ..settings(0, true) },
        Settings { holdout: 1.0, ..settings(0, true) },
        Settings { holdout: f64::NAN, ..settings(0, true) },
    ] {
        assert!(matches!(Order::new(&[3], bad), Err(Error::Config(_))));
    }
    assert!(Order::new(&[u64::MAX, 2], settings(0, true)).is_err());
}
