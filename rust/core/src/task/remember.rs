//! Tasks that cost more to draw than rows of theirs, kept for a while.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Result;
use crate::rng::Key;

use super::{Column, Common, Family, Rows, Task};

type Slot = Mutex<Option<(Key, Arc<dyn Task>)>>;

/// A family that draws each task of another once, as long as its slot is not taken by a later task.
///
/// A task is a pure function of its key, so what is kept is what would be drawn.
pub struct Remembering<F> {
    family: F,
    slots: Vec<Slot>,
}

impl<F: Family> Remembering<F> {
    /// Keep at most `slots` tasks; at least one.
    pub fn new(family: F, slots: usize) -> Self {
        Self { family, slots: (0..slots.max(1)).map(|_| Mutex::new(None)).collect() }
    }
}

impl<F: Family> Family for Remembering<F> {
    fn check(&self) -> Result<()> {
        self.family.check()
    }

    fn common(&self) -> Common {
        self.family.common()
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let slot = &self.slots[(key.bits() % self.slots.len() as u64) as usize];
        if let Some((kept, task)) = &*slot.lock().unwrap_or_else(PoisonError::into_inner)
            && *kept == key
        {
            return Box::new(Shared(Arc::clone(task)));
        }
        // Not under the lock: others may want the slot's present task meanwhile.
        let task: Arc<dyn Task> = Arc::from(self.family.draw(key));
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, Arc::clone(&task)));
        Box::new(Shared(task))
    }
}

struct Shared(Arc<dyn Task>);

impl Task for Shared {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn noise(&self) -> f32 {
        self.0.noise()
    }

    fn observe(&self, key: Key, scale: f32, rows: Rows<'_>) {
        self.0.observe(key, scale, rows);
    }

    fn weights(&self) -> Option<&[f32]> {
        self.0.weights()
    }

    fn columns(&self) -> Vec<Column> {
        self.0.columns()
    }

    fn parameters(&self) -> Vec<f32> {
        self.0.parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Range, Sinusoid, TaskSampler};
    use super::*;

    fn family() -> Sinusoid {
        let fixed = |v: f64| Range { low: v, high: v };
        let amplitude = Range { low: 0.1, high: 5.0 };
        Sinusoid { amplitude, phase: fixed(1.0), low: -5.0, high: 5.0, noise: fixed(0.1), query_scale: 1.0 }
    }

    #[test]
    fn a_memory_of_any_size_changes_nothing() {
        let tasks: Vec<i64> = (0..40).chain(0..40).collect();
        let draw = |family: Box<dyn Family>| {
            let sampler = TaskSampler::new(family, 3).unwrap();
            let (mut x, mut y) = (vec![0.0; 80 * 3], vec![0.0; 80 * 3]);
            sampler.context_into(&tasks, &tasks, &mut x, &mut y).unwrap();
            sampler.context_into(&tasks, &tasks, &mut x, &mut y).unwrap();
            (x, y)
        };
        let expected = draw(Box::new(family()));
        for slots in [0, 1, 7, 100] {
            assert_eq!(draw(Box::new(Remembering::new(family(), slots))), expected);
        }
    }

    #[test]
    fn a_kept_task_is_not_drawn_again() {
        let memory = Remembering::new(family(), 1);
        let (one, other) = (Key::new(1), Key::new(2));
        let address = || {
            memory.slots[0].lock().unwrap().as_ref().map(|(key, task)| (*key, Arc::as_ptr(task).cast::<u8>()))
        };
        memory.draw(one);
        let first = address();
        memory.draw(one);
        assert_eq!(address(), first);
        memory.draw(other);
        assert_eq!(address().unwrap().0, other);
    }
}
