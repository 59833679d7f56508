//! The thread pool of the crate.
//!
//! Rayon's global pool does not survive `fork`: its threads are gone in the child and the first parallel loop waits
//! for ever. Python programs fork (multiprocessing, data loaders), so the pool is rebuilt where the process id changed.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;

use crate::{Error, Result};

static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Run `f`, whose parallel iterators then use the pool of this process. `RAYON_NUM_THREADS` sets its size.
///
/// # Errors
/// Those of `f`; `Internal` where the system refuses to start threads.
pub fn run<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    pool()?.install(f)
}

/// Do every piece of work, on the calling thread and on those of the pool that wake up in time.
///
/// Handing all of it to the pool, as `run` does, costs the time that a thread takes to wake up, which is as long as
/// copying a few thousand rows.
pub fn share<I>(work: I, f: impl Fn(I::Item) + Sync)
where
    I: ExactSizeIterator + Send,
    I::Item: Send,
{
    let alone = work.len() < 2;
    let work = Mutex::new(work);
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || {
        while let Some(piece) = next() {
            f(piece);
        }
    };
    // A process that cannot start threads does it alone.
    match pool() {
        Ok(pool) if !alone => pool.in_place_scope(|scope| {
            for _ in 1..pool.current_num_threads() {
                scope.spawn(|_| drain());
            }
            drain();
        }),
        _ => drain(),
    }
}

fn pool() -> Result<Arc<ThreadPool>> {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, pool)) = slot.as_ref()
        && *owner == process
    {
        return Ok(Arc::clone(pool));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .thread_name(|i| format!("amortix-{i}"))
        .build()
        .map_err(|e| Error::Internal(format!("cannot start threads: {e}")))?;
    let pool = Arc::new(pool);
    // The parent's pool is leaked in the child: dropping it would wait on locks that its lost threads may hold.
    std::mem::forget(slot.replace((process, Arc::clone(&pool))));
    Ok(pool)
}
