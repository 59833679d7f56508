use super::*;

/// A network of one layer that gives the feature of a gradient's sign and size, on one tensor of `size`.
fn run(size: usize, threads: usize) -> (Vec<f32>, Vec<f32>) {
    let number = |place: usize, salt: usize| ((place * 37 + salt * 101) % 97) as f32 / 97.0 - 0.5;
    let fill = |count: usize, salt: usize| -> Vec<f32> { (0..count).map(|i| number(i, salt)).collect() };
    let (gradient, mut parameter) = (fill(size, 1), fill(size, 2));
    let (mut momentum, mut square) = (fill(size, 3), vec![0.25; size]);
    let (mut row, mut column) = (vec![0.5; 1], vec![0.5; size]);
    let (first, second) = (fill(5 * 23, 4), fill(2 * 5, 5));
    let layers = [
        UpdateLayer { weight: &first, bias: &[0.1; 5] },
        UpdateLayer { weight: &second, bias: &[0.1, -0.1] },
    ];
    let rule = UpdateRule {
        momentum_decay: &[0.9],
        square_decay: 0.99,
        factored_decay: &[0.9],
        scale: [0.1, 0.1],
        rate: 1.0,
        weight_decay: 0.1,
    };
    let tensor = UpdateTensor {
        rows: 1,
        columns: size,
        step: 3.0,
        gradient: &gradient,
        parameter: &mut parameter,
        momentum: vec![&mut momentum],
        square: &mut square,
        row: &mut row,
        column: &mut column,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let network = Network::new(&layers, 12).unwrap();
    let mut tensor = tensor;
    pool.install(|| step(rule, &network, &mut tensor));
    (parameter, momentum)
}

#[test]
fn threads_do_not_show() {
    for size in [1, BLOCK + 1, 3 * CHUNK + 5] {
        assert_eq!(run(size, 1), run(size, 3));
    }
}

#[test]
fn lengths_are_checked() {
    let rule = UpdateRule {
        momentum_decay: &[0.9],
        square_decay: 0.99,
        factored_decay: &[],
        scale: [1.0; 2],
        rate: 1.0,
        weight_decay: 0.0,
    };
    let layers = [UpdateLayer { weight: &[0.0; 34], bias: &[0.0; 2] }];
    let mut short = [0.0; 3];
    let tensor = UpdateTensor {
        rows: 2,
        columns: 2,
        step: 0.0,
        gradient: &[0.0; 4],
        parameter: &mut [0.0; 4],
        momentum: vec![&mut short],
        square: &mut [0.0; 4],
        row: &mut [],
        column: &mut [],
    };
    let error = learned_update(rule, &layers, &mut [tensor]);
    assert!(matches!(error, Err(Error::Array(m)) if m.contains("tensor 0 and its state do not fit R=2")));
    let wrong = [UpdateLayer { weight: &[0.0; 33], bias: &[0.0; 2] }];
    assert!(matches!(learned_update(rule, &wrong, &mut []), Err(Error::Array(m)) if m.contains("layer 0")));
    assert!(matches!(learned_update(rule, &[], &mut []), Err(Error::Array(m)) if m.contains("no layers")));
}
