//! The slots of a state pool: which are drawn (`draw`), how far their tasks go, and copies in and out of their states
//! (`copy`).

mod copy;
mod draw;
mod permutation;

pub use copy::{gather_into, scatter_from};
pub use draw::{draw_by_age_into, draw_into};

use crate::Result;
use crate::rng::Key;

/// How many steps a task goes on: log-uniform from `low` to `high`, both included.
#[must_use]
pub fn horizon(seed: u64, task: i64, (low, high): (u64, u64)) -> u64 {
    let mut draws = Key::new(seed).child(2, task as u64).draws();
    (draws.log_uniform(low as f64, high as f64 + 1.0) as u64).clamp(low, high)
}

/// The tasks and ages of all slots.
pub struct Slots<'a> {
    /// Task of each slot.
    pub tasks: &'a mut [i64],
    /// Steps that it has taken.
    pub ages: &'a mut [i64],
    /// The next task that no slot has had.
    pub next: i64,
}

impl Slots<'_> {
    /// Let the given slots take steps; where the horizon is reached, the slot gets a fresh task of age 0.
    ///
    /// Without a range of horizons no task ends.
    ///
    /// # Errors
    /// `Array` where a slot does not exist; then nothing has changed.
    pub fn advance(
        &mut self,
        seed: u64,
        range: Option<(u64, u64)>,
        slots: &[i64],
        steps: i64,
        finished: &mut [bool],
    ) -> Result<()> {
        self.check(slots)?;
        for (&slot, finished) in slots.iter().zip(finished) {
            let slot = slot as usize;
            let age = self.ages[slot].saturating_add(steps);
            *finished = range.is_some_and(|range| age as u64 >= horizon(seed, self.tasks[slot], range));
            self.ages[slot] = age;
            if *finished {
                self.renew(slot);
            }
        }
        Ok(())
    }

    /// Give each of the slots a fresh task of age 0.
    ///
    /// # Errors
    /// `Array` where a slot does not exist; then nothing has changed.
    pub fn reset(&mut self, slots: &[i64]) -> Result<()> {
        self.check(slots)?;
        slots.iter().for_each(|&slot| self.renew(slot as usize));
        Ok(())
    }

    fn renew(&mut self, slot: usize) {
        self.ages[slot] = 0;
        self.tasks[slot] = self.next;
        self.next = self.next.wrapping_add(1);
    }

    fn check(&self, slots: &[i64]) -> Result<()> {
        copy::check_slots(slots, self.tasks.len().min(self.ages.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn horizons_stay_in_range(seed: u64, task: i64, low in 1u64..500, more in 0u64..500) {
            prop_assert!((low..=low + more).contains(&horizon(seed, task, (low, low + more))));
        }
    }

    #[test]
    fn horizons_are_log_uniform() {
        let logs = (0..20_000).map(|task| (horizon(3, task, (10, 9999)) as f64 + 0.5).ln());
        let mean = logs.sum::<f64>() / 20_000.0;
        let (low, high) = (10f64.ln(), 1e4f64.ln());
        assert!((mean - (low + high) / 2.0).abs() < 5.0 * (high - low) / 12f64.sqrt() / 20_000f64.sqrt());
    }

    #[test]
    fn a_slot_outside_the_pool_changes_nothing() {
        let (mut tasks, mut ages) = ([0, 1], [0, 0]);
        let mut slots = Slots { tasks: &mut tasks, ages: &mut ages, next: 2 };
        assert!(slots.advance(0, Some((1, 1)), &[0, -1], 1, &mut [false; 2]).is_err());
        assert!(slots.reset(&[0, 2]).is_err());
        assert_eq!((slots.next, &tasks, &ages), (2, &[0, 1], &[0, 0]));
    }

    #[test]
    fn without_a_horizon_a_task_ends_only_when_asked() {
        let (mut tasks, mut ages) = ([0, 1], [0, 0]);
        let mut slots = Slots { tasks: &mut tasks, ages: &mut ages, next: 2 };
        let mut finished = [true; 2];
        slots.advance(0, None, &[0, 1], i64::MAX, &mut finished).unwrap();
        slots.reset(&[1]).unwrap();
        assert_eq!((finished, slots.next, tasks, ages), ([false; 2], 3, [0, 2], [i64::MAX, 0]));
    }
}
