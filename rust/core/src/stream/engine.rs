//! Mini-batches of a source that has to be decoded: a thread reads ahead, the caller gathers.
//!
//! The thread walks the spans of the order and hands their rows over a queue bounded in bytes. What comes next is
//! decided by the order alone, so that neither the budget nor the number of decoding threads can change it. Dropping
//! the engine ends the thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::guard;
use crate::{Error, Result};

use super::block::{Out, Shape};
use super::order::{Order, Position};
use super::reading::{Load, Piece, Reading};

/// How long the caller waits before it looks for a signal.
const PATIENCE: Duration = Duration::from_millis(50);
/// What is read ahead where no budget is set.
const AHEAD: u64 = 1 << 22;
/// How many rows the first block is expected to have.
const ROWS: u64 = 8192;

/// A place in a stream of several epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The epoch.
    pub epoch: u64,
    /// The place in it.
    pub position: Position,
}

impl Place {
    /// Where an epoch begins.
    #[must_use]
    pub fn start(epoch: u64) -> Self {
        Self { epoch, position: Position::default() }
    }
}

/// What to read, and how much of it may be in memory.
pub struct Plan {
    /// What rows hold.
    pub shape: Shape,
    /// The order in which they come.
    pub order: Arc<Order>,
    /// How many epochs.
    pub epochs: u64,
    /// Bytes of rows in memory, at most; None for the rows in use and what a small read-ahead takes.
    pub memory: Option<u64>,
}

/// Reads ahead in a thread of its own until it is dropped.
pub struct Engine {
    plan: Arc<Plan>,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    process: u32,
    place: Place,
    current: Option<Piece>,
    rows: Vec<i64>,
}

impl Engine {
    /// Begin to read at `place`.
    ///
    /// # Errors
    /// `Config` where the budget is too small for rows that are shuffled together; `Internal` where no thread can start.
    pub fn start(load: Load, plan: Plan, place: Place) -> Result<Self> {
        check(&plan)?;
        let (plan, queue) = (Arc::new(plan), Arc::new(Queue::default()));
        let work = (Arc::clone(&plan), Arc::clone(&queue));
        let thread = std::thread::Builder::new()
            .name("amortix-ahead".into())
            .spawn(move || read_ahead(&load, &work.0, &work.1, place))
            .map_err(|e| Error::Internal(format!("cannot start a thread: {e}")))?;
        let process = std::process::id();
        Ok(Self { plan, queue, thread: Some(thread), process, place, current: None, rows: vec![] })
    }

    /// What rows hold.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.plan.shape
    }

    /// Fill `out` with the next rows: how many, and the place after them.
    ///
    /// Fewer than fit at the end of an epoch, none at the end of the stream. `tick` is asked while it waits.
    ///
    /// # Errors
    /// Those of the source and of `tick`; `Config` in a process that was forked from the one that started it.
    pub fn next_into(
        &mut self,
        mut out: Out<'_>,
        size: usize,
        tick: &dyn Fn() -> Result<()>,
    ) -> Result<(usize, Place)> {
        if self.process != std::process::id() {
            return Err(Error::Config(
                "this pass over a stream was begun in another process: begin a new one here".into(),
            ));
        }
        let mut filled = 0;
        while filled < size {
            let Some(piece) = self.current.take() else {
                match self.queue.pop(tick)? {
                    // The batch ends with its epoch; what comes next waits for the next call.
                    Some(piece) if piece.epoch > self.place.epoch => {
                        self.place = Place::start(piece.epoch);
                        self.current = Some(piece);
                        if filled > 0 {
                            break;
                        }
                    }
                    Some(piece) => self.current = Some(piece),
                    None => {
                        self.place = Place::start(self.plan.epochs);
                        break;
                    }
                }
                continue;
            };
            filled += self.gather(&piece, filled, size - filled, &mut out);
            if self.place.position < piece.end() {
                self.current = Some(piece);
            } else {
                self.queue.release(piece.block.rows as u64 * self.plan.shape.bytes());
            }
        }
        Ok((filled, self.place))
    }

    fn gather(&mut self, piece: &Piece, at: usize, most: usize, out: &mut Out<'_>) -> usize {
        let position = self.place.position.max(piece.at);
        let until = piece.end().offset;
        self.rows.resize(most.min((until - position.offset) as usize), 0);
        let Some(found) = self.plan.order.fill(piece.epoch, position, until, &mut self.rows) else {
            return 0;
        };
        self.place = Place { epoch: piece.epoch, position: found.next };
        piece.block.gather(&self.rows[..found.count], piece.first, self.plan.shape, at, out);
        found.count
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // The thread is the parent's; its lock may have been held at the fork.
            std::mem::forget(self.thread.take());
            return;
        }
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been handed over as an error already.
            let _ = thread.join();
        }
    }
}

fn check(plan: &Plan) -> Result<()> {
    let (window, row) = (plan.order.largest_window(), plan.shape.bytes().max(1));
    match plan.memory {
        Some(memory) if plan.order.shuffles() && window.saturating_mul(row) > memory => {
            Err(Error::Config(format!(
                "`memory` of {memory} bytes cannot hold the {window} rows that are shuffled together: allow {} bytes, \
                 or set `window` to {} rows or less",
                window.saturating_mul(row),
                (memory / row).max(1)
            )))
        }
        _ => Ok(()),
    }
}

fn read_ahead(load: &Load, plan: &Plan, queue: &Queue, place: Place) {
    let work = || {
        let mut reading = Reading::new(load, plan.shape);
        let (mut place, mut usual) = (place, ROWS);
        while place.epoch < plan.epochs {
            let Some(span) = plan.order.span(place.epoch, place.position) else {
                if place.position == Position::default() {
                    break; // No epoch has any row.
                }
                place = Place::start(place.epoch + 1);
                continue;
            };
            let end = span.at.offset + (span.rows.end - span.rows.start);
            let (mut at, mut first) = (span.at, span.rows.start);
            while at.offset < end {
                let left = end - at.offset;
                let guess = if plan.order.shuffles() { left } else { left.min(usual) };
                if !queue.reserve(guess * plan.shape.bytes(), plan.memory) {
                    return Ok(());
                }
                let block = if plan.order.shuffles() {
                    reading.take(span.group, first, left)?
                } else {
                    reading.next(span.group, first, left)?
                };
                let rows = block.rows as u64;
                usual = rows;
                queue.push(Piece { epoch: place.epoch, at, first, block }, guess, plan.shape);
                (at.offset, first) = (at.offset + rows, first + rows);
            }
            place.position = plan.order.after(place.epoch, Position { offset: end, ..span.at });
        }
        Ok(())
    };
    match guard(work, Error::Internal) {
        Ok(()) => queue.finish(),
        Err(error) => queue.fail(error),
    }
}

/// Pieces that are ready, and how many bytes they, those in the making and those in use take.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Result<Piece>>,
    bytes: u64,
    finished: bool,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until so many more bytes are allowed; whether anybody still wants them.
    fn reserve(&self, bytes: u64, memory: Option<u64>) -> bool {
        let mut state = self.state();
        // One piece is always allowed: without it nothing would move.
        while !state.closed
            && state.bytes > 0
            && state.bytes.saturating_add(bytes) > memory.unwrap_or(AHEAD.max(2 * bytes))
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes += bytes;
        !state.closed
    }

    fn release(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// Hand over a piece, for which the bytes of `guess` rows were reserved.
    fn push(&self, piece: Piece, guess: u64, shape: Shape) {
        let mut state = self.state();
        state.bytes =
            (state.bytes + piece.block.rows as u64 * shape.bytes()).saturating_sub(guess * shape.bytes());
        state.ready.push_back(Ok(piece));
        drop(state);
        self.changed.notify_all();
    }

    fn fail(&self, error: Error) {
        self.state().ready.push_back(Err(error));
        self.changed.notify_all();
    }

    fn finish(&self) {
        self.state().finished = true;
        self.changed.notify_all();
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// The next piece; None at the end. An error stays: whoever asks again gets it again.
    fn pop(&self, tick: &dyn Fn() -> Result<()>) -> Result<Option<Piece>> {
        loop {
            let mut state = self.state();
            match state.ready.pop_front() {
                Some(Ok(piece)) => return Ok(Some(piece)),
                Some(Err(error)) => {
                    state.ready.push_front(Err(error.clone()));
                    return Err(error);
                }
                None if state.finished => return Ok(None),
                None => {}
            }
            drop(self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner));
            tick()?;
        }
    }
}
