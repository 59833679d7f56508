//! Counter-based random numbers: every draw is a pure function of a key and an index.
//!
//! A `Key` is 64 bits. `Key::child` derives an independent key from two words (a purpose and a task, a task and a
//! step), and a key's draws are the Philox4x32-10 outputs of successive counters. Nothing is advanced or shared, so
//! any subset of the draws can be computed in any order by any thread.
//!
//! References: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{math, parallel};

/// Counters that are worked on side by side; also the unit of the draws' layout, which is therefore fixed.
const LANES: usize = 8;
/// Draws per group of counters: each counter gives four words.
const GROUP: usize = 4 * LANES;
/// Draws that one thread makes at a time where an output is long; a multiple of `GROUP`.
const PIECE: usize = 1 << 15;

/// Marks the counters of a key's own draws: "draw" in ASCII.
const DRAWS: u32 = 0x6472_6177;

type Lanes = [u32; LANES];

/// A source of random numbers that never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The root of everything drawn with `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The key of the pair `(a, b)` below this one.
    #[must_use]
    pub fn child(self, a: u64, b: u64) -> Self {
        let [w0, w1, ..] =
            philox([a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32].map(|w| [w; 1]), self.0);
        Self(u64::from(w0[0]) | u64::from(w1[0]) << 32)
    }

    /// The 64 bits themselves, for hashing.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// A sequence of single draws, for the few numbers that define a task.
    #[must_use]
    pub fn draws(self) -> Draws {
        Draws { key: self, next: 0, at: None, group: [[0; LANES]; 4] }
    }

    /// Fill with standard normals; element `i` depends on the key and `i` alone.
    pub fn normals(self, out: &mut [f32]) {
        self.fill::<Normals>(out);
    }

    /// Fill with uniform numbers in `[0, 1)`; element `i` depends on the key and `i` alone.
    pub fn uniforms(self, out: &mut [f32]) {
        self.fill::<Uniforms>(out);
    }

    /// Long outputs are shared between the threads of the pool; without a pool this thread does all of it.
    fn fill<T: Transform>(self, out: &mut [f32]) {
        if out.len() < 2 * PIECE {
            return self.piece::<T>(0, out);
        }
        let groups_of = |piece: usize| (piece * (PIECE / GROUP)) as u64;
        let shared = parallel::run(|| {
            let pieces = out.par_chunks_mut(PIECE).enumerate();
            pieces.for_each(|(piece, out)| self.piece::<T>(groups_of(piece), out));
            Ok(())
        });
        if shared.is_err() {
            self.piece::<T>(0, out);
        }
    }

    /// Fill with the draws from group `first` on, with the widest vectors that this processor has.
    fn piece<T: Transform>(self, first: u64, out: &mut [f32]) {
        Arch::new().dispatch(Piece { key: self, first, out, transform: PhantomData::<T> });
    }

    #[inline(always)]
    fn write<T: Transform>(self, first: u64, out: &mut [f32]) {
        let (whole, rest) = out.as_chunks_mut::<GROUP>();
        let last = first + whole.len() as u64;
        for (group, chunk) in (first..).zip(whole) {
            T::apply(self.group(group), chunk);
        }
        if !rest.is_empty() {
            let mut chunk = [0.0; GROUP];
            T::apply(self.group(last), &mut chunk);
            rest.copy_from_slice(&chunk[..rest.len()]);
        }
    }

    #[inline(always)]
    fn group(self, group: u64) -> [Lanes; 4] {
        let first = group * LANES as u64;
        let mut low = [0; LANES];
        for (lane, low) in low.iter_mut().enumerate() {
            *low = (first as u32).wrapping_add(lane as u32);
        }
        let high = [(first >> 32) as u32; LANES];
        // The last words keep a key's draws apart from the counters of its children.
        philox([low, high, [DRAWS; LANES], [DRAWS; LANES]], self.0)
    }
}

/// One piece of work for `pulp`, which compiles it once for each kind of vector unit.
struct Piece<'a, T> {
    key: Key,
    first: u64,
    out: &'a mut [f32],
    transform: PhantomData<T>,
}

impl<T: Transform> WithSimd for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.key.write::<T>(self.first, self.out);
    }
}

/// Single draws in order.
#[derive(Debug, Clone)]
pub struct Draws {
    key: Key,
    next: usize,
    /// The group of counters at hand, and its number; no word is computed before it is needed.
    at: Option<usize>,
    group: [Lanes; 4],
}

impl Draws {
    fn word(&mut self) -> u32 {
        let (group, at) = (self.next / GROUP, self.next % GROUP);
        if self.at != Some(group) {
            self.group = self.key.group(group as u64);
            self.at = Some(group);
        }
        self.next += 1;
        self.group[at / LANES][at % LANES]
    }

    fn bits(&mut self) -> u64 {
        u64::from(self.word()) << 32 | u64::from(self.word())
    }

    /// Leave out what `bits` would have returned.
    fn skip(&mut self) {
        self.next += 2;
    }

    /// Uniform in `[0, 1)` with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform whole number in `low..=high`.
    pub fn integer(&mut self, low: usize, high: usize) -> usize {
        if low == high {
            self.skip();
            return low;
        }
        low + crate::hash::below(self.bits(), (high - low + 1) as u64) as usize
    }

    /// Log-uniform in `[low, high]`; exactly `low` where both are equal.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        if low == high {
            self.skip();
            return low;
        }
        (low * libm::pow(high / low, self.uniform())).clamp(low, high)
    }
}

/// What a group of words becomes: 32 numbers.
trait Transform {
    fn apply(words: [Lanes; 4], out: &mut [f32; GROUP]);
}

struct Uniforms;

impl Transform for Uniforms {
    #[inline(always)]
    fn apply(words: [Lanes; 4], out: &mut [f32; GROUP]) {
        for (part, words) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(words) {
            for lane in 0..LANES {
                part[lane] = unit(words[lane]);
            }
        }
    }
}

struct Normals;

impl Transform for Normals {
    #[inline(always)]
    fn apply([a, b, c, d]: [Lanes; 4], out: &mut [f32; GROUP]) {
        let (mut radius, mut angle) = ([0; 2 * LANES], [0; 2 * LANES]);
        for lane in 0..LANES {
            (radius[lane], radius[LANES + lane]) = (a[lane], c[lane]);
            (angle[lane], angle[LANES + lane]) = (b[lane], d[lane]);
        }
        let (x, y) = box_muller(radius, angle);
        out[..LANES].copy_from_slice(&x[..LANES]);
        out[LANES..2 * LANES].copy_from_slice(&y[..LANES]);
        out[2 * LANES..3 * LANES].copy_from_slice(&x[LANES..]);
        out[3 * LANES..].copy_from_slice(&y[LANES..]);
    }
}

/// 24 bits of a word as a number in `[0, 1)`.
#[inline(always)]
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Pairs of normals from pairs of words. All 32 bits of the first are used: the tails reach 6.7 standard deviations.
#[inline(always)]
fn box_muller<const N: usize>(radius: [u32; N], angle: [u32; N]) -> ([f32; N], [f32; N]) {
    let (mut x, mut y) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        let u = (radius[lane] as f32 + 0.5) * (1.0 / 4_294_967_296.0);
        let r = (-2.0 * math::ln(u)).max(0.0).sqrt();
        let (s, c) = math::sin_cos_turn(unit(angle[lane]));
        x[lane] = r * c;
        y[lane] = r * s;
    }
    (x, y)
}

/// Ten rounds of Philox4x32 over `N` counters at once.
///
/// Words are kept in 64 bits whose upper halves are rubbish until the end: vector units multiply the lower halves of
/// 64-bit lanes, and nothing has to be moved between lanes.
#[inline(always)]
fn philox<const N: usize>(counter: [[u32; N]; 4], key: u64) -> [[u32; N]; 4] {
    const LOW: u64 = 0xFFFF_FFFF;
    let mut c = [[0u64; N]; 4];
    for (wide, words) in c.iter_mut().zip(&counter) {
        for lane in 0..N {
            wide[lane] = u64::from(words[lane]);
        }
    }
    let [mut c0, mut c1, mut c2, mut c3] = c;
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    for _ in 0..10 {
        for lane in 0..N {
            let p0 = (c0[lane] & LOW) * 0xD251_1F53;
            let p1 = (c2[lane] & LOW) * 0xCD9E_8D57;
            c0[lane] = (p1 >> 32) ^ c1[lane] ^ u64::from(k0);
            c1[lane] = p1;
            c2[lane] = (p0 >> 32) ^ c3[lane] ^ u64::from(k1);
            c3[lane] = p0;
        }
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    let mut out = [[0; N]; 4];
    for (words, wide) in out.iter_mut().zip([&c0, &c1, &c2, &c3]) {
        for lane in 0..N {
            words[lane] = wide[lane] as u32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The known-answer vectors that ship with the authors' Random123 library.
    #[test]
    fn philox_agrees_with_random123() {
        let run = |counter: [u32; 4], key: u64| philox(counter.map(|w| [w]), key).map(|w| w[0]);
        assert_eq!(run([0; 4], 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(run([u32::MAX; 4], u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            run([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], 0x299f_31d0_a409_3822),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    proptest! {
        #[test]
        fn a_prefix_is_a_prefix(seed: u64, short in 0usize..200, long in 0usize..200) {
            let (mut a, mut b) = (vec![0.0; short], vec![0.0; long]);
            Key::new(seed).normals(&mut a);
            Key::new(seed).normals(&mut b);
            let n = short.min(long);
            prop_assert_eq!(&a[..n], &b[..n]);
            prop_assert!(a.iter().all(|z| z.abs() < 7.0));
        }

        #[test]
        fn draws_stay_in_range(seed: u64, low in 0usize..50, width in 0usize..50) {
            let mut draws = Key::new(seed).draws();
            for _ in 0..40 {
                prop_assert!((0.0..1.0).contains(&draws.uniform()));
                prop_assert!((low..=low + width).contains(&draws.integer(low, low + width)));
                prop_assert!((0.1..=5.0).contains(&draws.log_uniform(0.1, 5.0)));
            }
        }

        #[test]
        fn children_differ(seed: u64, a: u64, b: u64) {
            let key = Key::new(seed);
            prop_assert_ne!(key.child(a, b), key.child(a, b.wrapping_add(1)));
            prop_assert_ne!(key.child(a, b), key.child(a.wrapping_add(1), b));
        }
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let mut z = vec![0.0; 1 << 20];
        Key::new(7).normals(&mut z);
        let moment = |p: i32| z.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / z.len() as f64;
        // Five standard errors of each sample moment: sd of z^p over sqrt(n).
        for (power, exact, sd) in
            [(1, 0.0, 1.0), (2, 1.0, 2f64.sqrt()), (3, 0.0, 15f64.sqrt()), (4, 3.0, 96f64.sqrt())]
        {
            let error = (moment(power) - exact).abs();
            assert!(error < 5.0 * sd / 1024.0, "moment {power} is off by {error}");
        }
    }
}
