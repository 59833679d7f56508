//! Which slots are drawn.

use crate::rng::Key;
use crate::{Error, Result};

use super::permutation::Permutation;

/// One octave for age 0 and one for each highest bit of an age.
const OCTAVES: usize = 65;

/// Draw different slots: the beginning of a random order of all of them, another one for each `draw`.
///
/// # Errors
/// `Config` where more slots are asked for than there are.
pub fn draw_into(seed: u64, draw: u64, slots: u64, out: &mut [i64]) -> Result<()> {
    enough(slots, out)?;
    let order = order(seed, draw, slots);
    for (i, slot) in out.iter_mut().enumerate() {
        *slot = order.at(i as u64) as i64;
    }
    Ok(())
}

/// Draw different slots, equally many of each octave of age (0, 1, 2–3, 4–7 …) as far as an octave has them.
///
/// What an octave lacks is shared out among the others; what is left over when it cannot be shared equally goes to
/// octaves at random. Within an octave every slot is equally likely.
///
/// # Errors
/// `Config` where more slots are asked for than there are.
pub fn draw_by_age_into(seed: u64, draw: u64, ages: &[i64], out: &mut [i64]) -> Result<()> {
    enough(ages.len() as u64, out)?;
    let mut sizes = [0; OCTAVES];
    ages.iter().for_each(|&age| sizes[octave(age)] += 1);
    let mut left = quotas(Key::new(seed).child(4, draw), &sizes, out.len());
    let order = order(seed, draw, ages.len() as u64);
    let mut slots = (0..ages.len() as u64).map(|i| order.at(i) as usize).filter(|&slot| {
        let left = &mut left[octave(ages[slot])];
        let taken = *left > 0;
        *left -= usize::from(taken);
        taken
    });
    for (to, slot) in out.iter_mut().zip(&mut slots) {
        *to = slot as i64;
    }
    Ok(())
}

fn order(seed: u64, draw: u64, slots: u64) -> Permutation {
    Permutation::new(slots, Key::new(seed).child(1, draw))
}

fn octave(age: i64) -> usize {
    (u64::BITS - (age.max(0) as u64).leading_zeros()) as usize
}

/// How many slots of each octave: level by level, so that no octave gets more while one that could has less.
fn quotas(key: Key, sizes: &[usize; OCTAVES], mut left: usize) -> [usize; OCTAVES] {
    let mut quotas = [0; OCTAVES];
    while left > 0 {
        let open: Vec<usize> = (0..OCTAVES).filter(|&o| quotas[o] < sizes[o]).collect();
        let share = left / open.len().max(1);
        if share == 0 {
            let order = Permutation::new(open.len() as u64, key);
            (0..left as u64).for_each(|i| quotas[open[order.at(i) as usize]] += 1);
            break;
        }
        for octave in open {
            let more = share.min(sizes[octave] - quotas[octave]);
            quotas[octave] += more;
            left -= more;
        }
    }
    quotas
}

fn enough(slots: u64, out: &[i64]) -> Result<()> {
    if out.len() as u64 > slots {
        return Err(Error::Config(format!("{} slots cannot be drawn from a pool of {slots}", out.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn draws_do_not_repeat(seed: u64, draw: u64, slots in 1u64..500, share in 0.0f64..=1.0) {
            let mut out = vec![0; (slots as f64 * share) as usize];
            draw_into(seed, draw, slots, &mut out).unwrap();
            let unique: HashSet<_> = out.iter().collect();
            prop_assert_eq!(unique.len(), out.len());
            prop_assert!(out.iter().all(|&slot| (slot as u64) < slots));
            prop_assert!(draw_into(seed, draw, slots, &mut vec![0; slots as usize + 1]).is_err());
        }

        #[test]
        fn octaves_get_equal_shares_as_far_as_they_have_slots(
            seed: u64, draw: u64, ages in prop::collection::vec(0i64..40, 1..200), share in 0.0f64..=1.0,
        ) {
            let mut out = vec![-1; (ages.len() as f64 * share) as usize];
            draw_by_age_into(seed, draw, &ages, &mut out).unwrap();
            prop_assert_eq!(out.iter().collect::<HashSet<_>>().len(), out.len());
            let (mut have, mut got) = ([0usize; 8], [0usize; 8]);
            ages.iter().for_each(|&age| have[octave(age)] += 1);
            out.iter().for_each(|&slot| got[octave(ages[slot as usize])] += 1);
            let most = got.iter().max().unwrap();
            for (have, got) in have.iter().zip(&got) {
                prop_assert!(got == have || got + 1 >= *most, "{have} {got} {most}");
            }
        }
    }

    #[test]
    fn an_octave_is_twice_as_old_as_the_one_before() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8, i64::MAX].map(octave), [0, 1, 2, 2, 3, 3, 4, 63]);
    }

    /// Twelve of 30, 3 and 30: the small octave gives its 3, the others share 9, so each of their slots has 4.5 / 30.
    #[test]
    fn slots_of_an_octave_are_equally_likely() {
        let ages: Vec<i64> = [vec![0; 30], vec![1; 3], vec![5; 30]].concat();
        let (draws, mut counts) = (8000, vec![0u32; 63]);
        for draw in 0..draws {
            let mut out = [0; 12];
            draw_by_age_into(9, draw, &ages, &mut out).unwrap();
            out.iter().for_each(|&slot| counts[slot as usize] += 1);
        }
        assert!(counts[30..33].iter().all(|&count| u64::from(count) == draws));
        let share = 4.5 / 30.0;
        let sd = (draws as f64 * share * (1.0 - share)).sqrt();
        for &count in counts[..30].iter().chain(&counts[33..]) {
            assert!((f64::from(count) - draws as f64 * share).abs() < 5.0 * sd, "{count}");
        }
    }
}
