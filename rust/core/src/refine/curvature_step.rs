//! An update of the second moments and the solve by what they have become, while they are in the cache.

use super::curvature_solve::{DampedInput, DampedSizes, MAX_SOLVED, solve_some};
use super::curvature_update::{
    CurvatureInput, CurvatureOutput, CurvatureSizes, expect_update, groups, update_some,
};
use super::{TASKS, expect};
use crate::{Error, Result, parallel};

/// What a step reads beside the memory and the mini-batch.
#[derive(Debug, Clone, Copy)]
pub struct StepInput<'a> {
    /// `[T, S]`.
    pub damping: &'a [f32],
    /// `[T, S, O]`.
    pub gradient: &'a [f32],
    /// O.
    pub outputs: usize,
}

/// Update and solve for every task: `amortix.ops.curvature_step`; writes `[T, S, O]` to `direction`.
///
/// # Errors
/// `Array` where a length does not fit the sizes, S is above `MAX_SOLVED`, or S or O is 0.
pub fn curvature_step(
    sizes: CurvatureSizes,
    update: CurvatureInput<'_>,
    input: StepInput<'_>,
    output: CurvatureOutput<'_>,
    direction: &mut [f32],
) -> Result<()> {
    let CurvatureSizes { tasks, state, .. } = sizes;
    let StepInput { damping, gradient, outputs } = input;
    expect_update("curvature_step", sizes, update, &output)?;
    let lengths: [(&str, usize, &[usize]); 3] = [
        ("damping", damping.len(), &[tasks, state]),
        ("gradient", gradient.len(), &[tasks, state, outputs]),
        ("direction", direction.len(), &[tasks, state, outputs]),
    ];
    lengths.iter().try_for_each(|(name, length, axes)| expect("curvature_step", name, *length, axes))?;
    if !(1..=MAX_SOLVED).contains(&state) || outputs == 0 {
        return Err(Error::Array(format!(
            "curvature_step: S={state}, O={outputs}; give 1 ≤ S ≤ {MAX_SOLVED} and O ≥ 1"
        )));
    }
    let solved = DampedSizes { tasks, state, outputs };
    let (square, each) = (state * state, state * outputs);
    let unit = TASKS * groups(tasks);
    let memory = output.second.chunks_mut(unit * square).zip(output.count.chunks_mut(unit));
    let units = memory.zip(direction.chunks_mut(unit * each)).enumerate();
    parallel::share(units, |(place, ((second, count), direction))| {
        let mut near = vec![0.0; TASKS * square];
        let memory = second.chunks_mut(TASKS * square).zip(count.chunks_mut(TASKS));
        for (part, ((second, count), direction)) in memory.zip(direction.chunks_mut(TASKS * each)).enumerate()
        {
            let (first, many) = (place * unit + part * TASKS, count.len());
            let near = &mut near[..second.len()];
            update_some(sizes, update, first, CurvatureOutput { second: near, count });
            second.copy_from_slice(near);
            let input = DampedInput {
                second: near,
                damping: &damping[first * state..][..many * state],
                gradient: &gradient[first * each..][..many * each],
            };
            solve_some(solved, input, direction);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{curvature_solve, curvature_update};
    use super::*;

    #[test]
    fn a_step_is_an_update_and_a_solve() -> Result<()> {
        let (tasks, batch, state, outputs) = (19, 3, 5, 2);
        let numbers = |length: usize| (0..length).map(|i| (i * 7 % 13) as f32 - 6.0).collect::<Vec<_>>();
        let (jacobian, gradient) = (numbers(tasks * batch * state), numbers(tasks * state * outputs));
        let (second, count) = (vec![0.0; tasks * state * state], vec![2.0; tasks]);
        let damping = vec![0.5; tasks * state];
        let sizes = CurvatureSizes { tasks, batch, state };
        let update = CurvatureInput { second: &second, count: &count, jacobian: &jacobian, weight: None };
        let run = |fused: bool| -> Result<_> {
            let (mut to, mut total) = (second.clone(), count.clone());
            let mut direction = vec![f32::NAN; gradient.len()];
            let output = CurvatureOutput { second: &mut to, count: &mut total };
            if fused {
                let input = StepInput { damping: &damping, gradient: &gradient, outputs };
                curvature_step(sizes, update, input, output, &mut direction)?;
            } else {
                curvature_update(sizes, update, output)?;
                let input = DampedInput { second: &to, damping: &damping, gradient: &gradient };
                curvature_solve(DampedSizes { tasks, state, outputs }, input, &mut direction)?;
            }
            Ok((to, total, direction))
        };
        let got = run(true)?;
        assert!(got.2.iter().all(|x| x.is_finite()));
        assert_eq!(got, run(false)?);
        Ok(())
    }
}
