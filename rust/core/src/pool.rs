//! The slots of a state pool: which are drawn, how far their tasks go, and copies in and out of their states.

use crate::rng::Key;
use crate::stream::Permutation;
use crate::{Error, Result};

/// Draw different slots: the beginning of a random order of all of them, another one for each `draw`.
///
/// # Errors
/// `Config` where more slots are asked for than there are.
pub fn draw_into(seed: u64, draw: u64, slots: u64, out: &mut [i64]) -> Result<()> {
    if out.len() as u64 > slots {
        return Err(Error::Config(format!("{} slots cannot be drawn from a pool of {slots}", out.len())));
    }
    let order = Permutation::new(slots, Key::new(seed).child(1, draw));
    for (i, slot) in out.iter_mut().enumerate() {
        *slot = order.at(i as u64) as i64;
    }
    Ok(())
}

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
    /// # Errors
    /// `Array` where a slot does not exist; then nothing has changed.
    pub fn advance(
        &mut self,
        seed: u64,
        range: (u64, u64),
        slots: &[i64],
        steps: i64,
        finished: &mut [bool],
    ) -> Result<()> {
        check_slots(slots, self.tasks.len().min(self.ages.len()))?;
        for (&slot, finished) in slots.iter().zip(finished) {
            let slot = slot as usize;
            let age = self.ages[slot].saturating_add(steps);
            *finished = age as u64 >= horizon(seed, self.tasks[slot], range);
            self.ages[slot] = if *finished { 0 } else { age };
            if *finished {
                self.tasks[slot] = self.next;
                self.next = self.next.wrapping_add(1);
            }
        }
        Ok(())
    }
}

/// Copy the rows of some slots out of a field: `field` is `[slots, width]`, `out` is `[n, width]`.
///
/// # Errors
/// `Array` where a slot does not exist or sizes do not fit.
pub fn gather_into<T: Copy>(field: &[T], height: usize, slots: &[i64], out: &mut [T]) -> Result<()> {
    let width = width_of(field.len(), height, slots, out.len())?;
    for (&slot, out) in slots.iter().zip(out.chunks_mut(width.max(1))) {
        out.copy_from_slice(&field[slot as usize * width..(slot as usize + 1) * width]);
    }
    Ok(())
}

/// Copy rows into some slots of a field; where a slot is given twice, the later row stays.
///
/// # Errors
/// `Array` where a slot does not exist or sizes do not fit; then nothing has changed.
pub fn scatter_from<T: Copy>(field: &mut [T], height: usize, slots: &[i64], values: &[T]) -> Result<()> {
    let width = width_of(field.len(), height, slots, values.len())?;
    for (&slot, values) in slots.iter().zip(values.chunks(width.max(1))) {
        field[slot as usize * width..(slot as usize + 1) * width].copy_from_slice(values);
    }
    Ok(())
}

fn width_of(field: usize, height: usize, slots: &[i64], rows: usize) -> Result<usize> {
    check_slots(slots, height)?;
    let width = field / height.max(1);
    if width * height == field && width * slots.len() == rows {
        return Ok(width);
    }
    Err(Error::Array(format!("{} rows of {width} are needed, but {rows} numbers were given", slots.len())))
}

fn check_slots(slots: &[i64], height: usize) -> Result<()> {
    match slots.iter().find(|&&slot| slot < 0 || slot as u64 >= height as u64) {
        None => Ok(()),
        Some(slot) => Err(Error::Array(format!("`slots` holds {slot}, but the pool has {height} slots"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn draws_do_not_repeat(seed: u64, draw: u64, slots in 1u64..500, share in 0.0f64..=1.0) {
            let mut out = vec![0; (slots as f64 * share) as usize];
            draw_into(seed, draw, slots, &mut out).unwrap();
            let unique: std::collections::HashSet<_> = out.iter().collect();
            prop_assert_eq!(unique.len(), out.len());
            prop_assert!(out.iter().all(|&slot| (slot as u64) < slots));
            prop_assert!(draw_into(seed, draw, slots, &mut vec![0; slots as usize + 1]).is_err());
        }

        #[test]
        fn what_is_scattered_is_gathered(width in 0usize..5, slots in prop::collection::hash_set(0i64..20, 0..20)) {
            let slots: Vec<i64> = slots.into_iter().collect();
            let values: Vec<i64> = (0..(slots.len() * width) as i64).collect();
            let (mut field, mut out) = (vec![-1; 20 * width], vec![0; values.len()]);
            scatter_from(&mut field, 20, &slots, &values).unwrap();
            gather_into(&field, 20, &slots, &mut out).unwrap();
            prop_assert_eq!(&out, &values);
            prop_assert_eq!(field.iter().filter(|&&v| v == -1).count(), (20 - slots.len()) * width);
        }

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
        let mut field = [1.0f32, 2.0];
        assert!(scatter_from(&mut field, 2, &[0, 2], &[7.0, 7.0]).is_err());
        assert!(scatter_from(&mut field, 2, &[0, 1], &[7.0]).is_err());
        assert_eq!(field, [1.0, 2.0]);
        let (mut tasks, mut ages) = ([0, 1], [0, 0]);
        let mut slots = Slots { tasks: &mut tasks, ages: &mut ages, next: 2 };
        assert!(slots.advance(0, (1, 1), &[0, -1], 1, &mut [false; 2]).is_err());
        assert_eq!((slots.next, &tasks, &ages), (2, &[0, 1], &[0, 0]));
    }
}
