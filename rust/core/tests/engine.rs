//! The engine over sources made on the spot: what it delivers, what it holds, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use amortix_core::stream::block::{Block, Out, Shape};
use amortix_core::stream::engine::{Engine, Place, Plan};
use amortix_core::stream::order::{Order, Part, Position, Settings};
use amortix_core::stream::reading::{Blocks, Load};
use amortix_core::{Error, Result};
use proptest::prelude::*;

const SHAPE: Shape = Shape { width: 2, target: true, weight: true };
const GO: &dyn Fn() -> Result<()> = &|| Ok(());

/// Rows of a table whose groups have these sizes: x = (group, row), y = row of the table, weight = y + 1.
fn load(groups: Vec<u64>, block: u64, decoded: Arc<AtomicU64>) -> Load {
    Box::new(move |group, skip| {
        let start: u64 = groups[..group].iter().sum();
        let (size, decoded) = (groups[group], Arc::clone(&decoded));
        let firsts = (skip..size).step_by(block as usize);
        let blocks: Blocks = Box::new(firsts.map(move |first| {
            let rows = first..size.min(first + block);
            decoded.fetch_add(rows.end - rows.start, Ordering::SeqCst);
            Ok(Block {
                rows: (rows.end - rows.start) as usize,
                x: rows.clone().flat_map(|row| [group as f32, row as f32]).collect(),
                y: rows.clone().map(|row| (start + row) as f32).collect(),
                weight: rows.map(|row| (start + row + 1) as f32).collect(),
            })
        }));
        Ok(blocks)
    })
}

fn start(
    groups: &[u64],
    block: u64,
    settings: Settings,
    epochs: u64,
    memory: Option<u64>,
    place: Place,
) -> Result<Engine> {
    let order = Arc::new(Order::new(groups, settings)?);
    let plan = Plan { shape: SHAPE, order, epochs, memory };
    Engine::start(load(groups.to_vec(), block, Arc::default()), plan, place)
}

fn next(engine: &mut Engine, size: usize) -> Result<(Vec<u64>, Place)> {
    let (mut x, mut y, mut weight) = (vec![0.0; 2 * size], vec![0.0; size], vec![0.0; size]);
    let out = Out { x: &mut x, y: &mut y, weight: &mut weight };
    let (count, place) = engine.next_into(out, size, GO)?;
    for i in 0..count {
        assert_eq!(weight[i], y[i] + 1.0);
    }
    Ok((y[..count].iter().map(|&y| y as u64).collect(), place))
}

/// All batches to the end of the second epoch, with the place after each.
fn read(engine: &mut Engine, size: usize) -> Vec<(Vec<u64>, Place)> {
    let mut batches = vec![];
    loop {
        let (rows, place) = next(engine, size).unwrap();
        if !rows.is_empty() {
            batches.push((rows, place));
        } else if place.epoch == 2 {
            return batches;
        }
    }
}

fn settings(shuffle: bool, window: Option<u64>) -> Settings {
    Settings { seed: 3, shuffle, window, shard: (0, 1), holdout: 0.2, part: Part::Fit }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_alone_decides(
        groups in prop::collection::vec(0u64..60, 0..6), block in 1u64..70, shuffle: bool,
        window in prop::option::of(1u64..80), size in 1usize..50, ample: bool,
    ) {
        let settings = settings(shuffle, window);
        let order = Order::new(&groups, settings).unwrap();
        let memory = if ample { None } else { Some(SHAPE.bytes() * order.largest_window()) };
        let mut expected = vec![];
        for epoch in 0..2 {
            let mut rows = vec![0; groups.iter().sum::<u64>() as usize];
            let (count, _) = order.fill_table(epoch, Position::default(), &mut rows, GO).unwrap();
            let batches = rows[..count].chunks(size);
            expected.extend(batches.map(|rows| rows.iter().map(|&r| r as u64).collect::<Vec<_>>()));
        }
        let open = |place| start(&groups, block, settings, 2, memory, place).unwrap();
        let batches = read(&mut open(Place::start(0)), size);
        prop_assert_eq!(&batches.iter().map(|(rows, _)| rows.clone()).collect::<Vec<_>>(), &expected);
        for (done, &(_, place)) in batches.iter().enumerate() {
            prop_assert_eq!(&read(&mut open(place), size)[..], &batches[done + 1..]);
        }
    }
}

#[test]
fn it_reads_no_further_ahead_than_the_budget() {
    for (shuffle, window) in [(false, None), (true, Some(1000))] {
        let decoded = Arc::new(AtomicU64::new(0));
        let settings = Settings { holdout: 0.0, ..settings(shuffle, window) };
        let order = Arc::new(Order::new(&[1_000_000], settings).unwrap());
        let plan = Plan { shape: SHAPE, order, epochs: 1, memory: Some(5000 * SHAPE.bytes()) };
        let source = load(vec![1_000_000], 500, Arc::clone(&decoded));
        let mut engine = Engine::start(source, plan, Place::start(0)).unwrap();
        let mut seen = 0;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(3));
            // What is in memory was not delivered yet, but for the piece in use, and one block may be in the making.
            assert!(decoded.load(Ordering::SeqCst) <= seen + 5000 + 500);
            seen += next(&mut engine, 700).unwrap().0.len() as u64;
        }
        assert_eq!(seen, 14_000);
    }
}

#[test]
fn a_window_that_does_not_fit_is_refused_with_a_size_that_does() {
    let tight = Some(100 * SHAPE.bytes());
    let open = |settings| start(&[1000], 10, settings, 1, tight, Place::start(0));
    let error = open(settings(true, None)).err().unwrap();
    assert!(
        matches!(&error, Error::Config(m) if m.contains("1000 rows") && m.contains("`window` to 100")),
        "{error}"
    );
    assert!(open(settings(true, Some(100))).is_ok());
    assert!(open(settings(false, None)).is_ok());
}

#[test]
fn errors_come_after_the_rows_before_them_and_stay() {
    let load: Load = Box::new(|_, _| {
        let good = Block { rows: 3, x: vec![0.0; 6], y: vec![1.0; 3], weight: vec![2.0; 3] };
        let blocks: Blocks = Box::new([Ok(good), Err(Error::Format("torn".into()))].into_iter());
        Ok(blocks)
    });
    let order = Arc::new(Order::new(&[9], Settings { holdout: 0.0, ..settings(false, None) }).unwrap());
    let plan = Plan { shape: SHAPE, order, epochs: 1, memory: None };
    let mut engine = Engine::start(load, plan, Place::start(0)).unwrap();
    assert_eq!(next(&mut engine, 2).unwrap().0.len(), 2);
    for _ in 0..2 {
        assert_eq!(next(&mut engine, 2).unwrap_err(), Error::Format("torn".into()));
    }
}

#[test]
fn a_source_that_ends_early_or_panics_is_an_error() {
    type Fault = fn(usize, u64) -> Result<Blocks>;
    let faults: [(Fault, &str); 2] =
        [(|_, _| Ok(Box::new(std::iter::empty())), "fewer rows"), (|_, _| panic!("a defect"), "a defect")];
    for (fault, words) in faults {
        let order = Arc::new(Order::new(&[9], settings(true, None)).unwrap());
        let plan = Plan { shape: SHAPE, order, epochs: 1, memory: None };
        let mut engine = Engine::start(Box::new(fault), plan, Place::start(0)).unwrap();
        let error = next(&mut engine, 2).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn whoever_waits_can_be_interrupted() {
    let load: Load = Box::new(|_, _| {
        std::thread::sleep(Duration::from_millis(400));
        Err(Error::Format("too late".into()))
    });
    let order = Arc::new(Order::new(&[9], settings(true, None)).unwrap());
    let plan = Plan { shape: SHAPE, order, epochs: 1, memory: None };
    let mut engine = Engine::start(load, plan, Place::start(0)).unwrap();
    let (mut x, mut y, mut weight) = ([0.0; 4], [0.0; 2], [0.0; 2]);
    let out = Out { x: &mut x, y: &mut y, weight: &mut weight };
    assert_eq!(engine.next_into(out, 2, &|| Err(Error::Interrupted)), Err(Error::Interrupted));
}
