//! Bindings of `amortix_core::task`.

use amortix_core::rng::Key;
use amortix_core::task::{
    Activation, Causal, Column, Family, Gmm, Gp, GraphKind, Kernel, Linear, Logistic, Mechanism, Mlp,
    NoiseKind, Range, Remembering, Sinusoid, Tabular, TaskSampler, Tree,
};
use numpy::ndarray::{Ix1, Ix2, Ix3};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;
use crate::error::exception;

/// Add the classes of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(normals_into, module)?)?;
    module.add_class::<PyTaskSampler>()
}

/// Standard normals of a seed.
#[pyfunction]
fn normals_into(py: Python<'_>, seed: u64, out: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut out = lend_mut::<f32, Ix1>("out", out)?;
    let out = out.as_slice_mut()?;
    enter(py, || {
        Key::new(seed).normals(out);
        Ok(())
    })
}

/// Tables kept for later steps of their tasks, at some kilobytes each.
const KEPT: usize = 1024;

/// Draws tasks of one family and rows of these tasks.
#[pyclass(frozen, name = "TaskSampler", module = "amortix._core")]
struct PyTaskSampler(TaskSampler);

fn range<T>((low, high): (T, T)) -> Range<T> {
    Range { low, high }
}

/// Role, levels, share of outliers, share of missing cells, whether another variable decides which are missing.
type ColumnFacts = (&'static str, usize, f32, f32, bool);

fn facts(column: Column) -> ColumnFacts {
    (column.role.name(), column.levels, column.outliers, column.missing, column.depends)
}

fn sampler(family: impl Family + 'static, seed: u64) -> PyResult<PyTaskSampler> {
    TaskSampler::new(Box::new(family), seed).map(PyTaskSampler).map_err(exception)
}

#[pymethods]
impl PyTaskSampler {
    #[staticmethod]
    #[pyo3(signature = (seed, *, dim, noise, condition, sparsity, weight_scale, query_scale))]
    fn linear(
        seed: u64,
        dim: (usize, usize),
        noise: (f64, f64),
        condition: (f64, f64),
        sparsity: f64,
        weight_scale: (f64, f64),
        query_scale: f32,
    ) -> PyResult<Self> {
        let (dim, noise, condition, weight_scale) =
            (range(dim), range(noise), range(condition), range(weight_scale));
        sampler(Linear { dim, noise, condition, sparsity, weight_scale, query_scale }, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (seed, *, dim, classes, condition, sparsity, weight_scale, query_scale))]
    fn logistic(
        seed: u64,
        dim: (usize, usize),
        classes: (usize, usize),
        condition: (f64, f64),
        sparsity: f64,
        weight_scale: (f64, f64),
        query_scale: f32,
    ) -> PyResult<Self> {
        let (dim, classes, condition, weight_scale) =
            (range(dim), range(classes), range(condition), range(weight_scale));
        sampler(Logistic { dim, classes, condition, sparsity, weight_scale, query_scale }, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (seed, *, dim, classes, hidden, layers, activation, noise, weight_scale, query_scale, irrelevant))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each setting of the family")]
    fn mlp(
        seed: u64,
        dim: (usize, usize),
        classes: (usize, usize),
        hidden: usize,
        layers: usize,
        activation: &str,
        noise: (f64, f64),
        weight_scale: (f64, f64),
        query_scale: f32,
        irrelevant: f64,
    ) -> PyResult<Self> {
        let (dim, classes, noise, weight_scale) =
            (range(dim), range(classes), range(noise), range(weight_scale));
        let activation = Activation::of(activation).map_err(exception)?;
        sampler(
            Mlp { dim, classes, hidden, layers, activation, noise, weight_scale, query_scale, irrelevant },
            seed,
        )
    }

    #[staticmethod]
    #[pyo3(signature = (seed, *, amplitude, phase, low, high, noise, query_scale))]
    fn sinusoid(
        seed: u64,
        amplitude: (f64, f64),
        phase: (f64, f64),
        low: f64,
        high: f64,
        noise: (f64, f64),
        query_scale: f32,
    ) -> PyResult<Self> {
        let (amplitude, phase, noise) = (range(amplitude), range(phase), range(noise));
        sampler(Sinusoid { amplitude, phase, low, high, noise, query_scale }, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (seed, *, dim, kernel, length_scale, amplitude, noise, frequencies, low, high, query_scale))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each setting of the family")]
    fn gp(
        seed: u64,
        dim: (usize, usize),
        kernel: &str,
        length_scale: (f64, f64),
        amplitude: (f64, f64),
        noise: (f64, f64),
        frequencies: usize,
        low: f64,
        high: f64,
        query_scale: f32,
    ) -> PyResult<Self> {
        let kernel = Kernel::of(kernel).map_err(exception)?;
        let (dim, length_scale, amplitude, noise) =
            (range(dim), range(length_scale), range(amplitude), range(noise));
        sampler(Gp { dim, kernel, length_scale, amplitude, noise, frequencies, low, high, query_scale }, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (seed, *, dim, classes, depth, trees, threshold, noise, query_scale))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each setting of the family")]
    fn tree(
        seed: u64,
        dim: (usize, usize),
        classes: (usize, usize),
        depth: (usize, usize),
        trees: (usize, usize),
        threshold: f64,
        noise: (f64, f64),
        query_scale: f32,
    ) -> PyResult<Self> {
        let (dim, classes, depth, trees, noise) =
            (range(dim), range(classes), range(depth), range(trees), range(noise));
        sampler(Tree { dim, classes, depth, trees, threshold, noise, query_scale }, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (seed, *, dim, classes, variance, mean_scale, query_scale))]
    fn gmm(
        seed: u64,
        dim: (usize, usize),
        classes: (usize, usize),
        variance: (f64, f64),
        mean_scale: (f64, f64),
        query_scale: f32,
    ) -> PyResult<Self> {
        let (dim, classes, variance, mean_scale) =
            (range(dim), range(classes), range(variance), range(mean_scale));
        sampler(Gmm { dim, classes, variance, mean_scale, query_scale }, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (seed, *, dim, graph, degree, mechanism, noise_kind, noise, weight_scale, query_scale))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each setting of the family")]
    fn causal(
        seed: u64,
        dim: (usize, usize),
        graph: &str,
        degree: f64,
        mechanism: &str,
        noise_kind: &str,
        noise: (f64, f64),
        weight_scale: (f64, f64),
        query_scale: f32,
    ) -> PyResult<Self> {
        let graph = GraphKind::of(graph).map_err(exception)?;
        let mechanism = Mechanism::of(mechanism).map_err(exception)?;
        let noise_kind = NoiseKind::of(noise_kind).map_err(exception)?;
        let (dim, noise, weight_scale) = (range(dim), range(noise), range(weight_scale));
        sampler(Causal { dim, graph, degree, mechanism, noise_kind, noise, weight_scale, query_scale }, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (
        seed, *, dim, classes, noise, node_noise, hidden, layers, parents, trees, categorical, levels, redundant,
        irrelevant, warped, outliers, missing, imbalance, query_scale,
    ))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each setting of the family")]
    fn tabular(
        seed: u64,
        dim: (usize, usize),
        classes: (usize, usize),
        noise: (f64, f64),
        node_noise: (f64, f64),
        hidden: (f64, f64),
        layers: (usize, usize),
        parents: (usize, usize),
        trees: (f64, f64),
        categorical: (f64, f64),
        levels: (usize, usize),
        redundant: (f64, f64),
        irrelevant: (f64, f64),
        warped: (f64, f64),
        outliers: (f64, f64),
        missing: (f64, f64),
        imbalance: (f64, f64),
        query_scale: f32,
    ) -> PyResult<Self> {
        let family = Tabular {
            dim: range(dim),
            classes: range(classes),
            noise: range(noise),
            node_noise: range(node_noise),
            hidden: range(hidden),
            layers: range(layers),
            parents: range(parents),
            trees: range(trees),
            categorical: range(categorical),
            levels: range(levels),
            redundant: range(redundant),
            irrelevant: range(irrelevant),
            warped: range(warped),
            outliers: range(outliers),
            missing: range(missing),
            imbalance: range(imbalance),
            query_scale,
        };
        sampler(Remembering::new(family, KEPT), seed)
    }

    #[getter]
    fn features(&self) -> usize {
        self.0.features()
    }

    #[getter]
    fn outputs(&self) -> usize {
        self.0.outputs()
    }

    #[getter]
    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn context_into(
        &self,
        py: Python<'_>,
        tasks: &Bound<'_, PyAny>,
        steps: &Bound<'_, PyAny>,
        x: &Bound<'_, PyAny>,
        y: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (tasks, steps) = (lend::<i64, Ix1>("tasks", tasks)?, lend::<i64, Ix1>("steps", steps)?);
        let (mut x, mut y) = (lend_mut::<f32, Ix3>("x", x)?, lend_mut::<f32, Ix2>("y", y)?);
        let (count, rows) = (tasks.len(), y.shape()[1]);
        expect_shape("steps", steps.shape(), &[count])?;
        expect_shape("y", y.shape(), &[count, rows])?;
        expect_shape("x", x.shape(), &[count, rows, self.0.features()])?;
        let (tasks, steps) = (tasks.as_slice()?, steps.as_slice()?);
        let (x, y) = (x.as_slice_mut()?, y.as_slice_mut()?);
        enter(py, || self.0.context_into(tasks, steps, x, y))
    }

    fn query_into(
        &self,
        py: Python<'_>,
        tasks: &Bound<'_, PyAny>,
        draw: i64,
        x: &Bound<'_, PyAny>,
        y: &Bound<'_, PyAny>,
        signal: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let tasks = lend::<i64, Ix1>("tasks", tasks)?;
        let (mut x, mut y) = (lend_mut::<f32, Ix3>("x", x)?, lend_mut::<f32, Ix2>("y", y)?);
        let mut signal = lend_mut::<f32, Ix3>("signal", signal)?;
        let (count, rows) = (tasks.len(), y.shape()[1]);
        expect_shape("y", y.shape(), &[count, rows])?;
        expect_shape("x", x.shape(), &[count, rows, self.0.features()])?;
        expect_shape("signal", signal.shape(), &[count, rows, self.0.outputs()])?;
        let tasks = tasks.as_slice()?;
        let (x, y, signal) = (x.as_slice_mut()?, y.as_slice_mut()?, signal.as_slice_mut()?);
        enter(py, || self.0.query_into(tasks, draw, x, y, signal))
    }

    fn dims<'py>(&self, py: Python<'py>, tasks: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let tasks = lend::<i64, Ix1>("tasks", tasks)?;
        let tasks = tasks.as_slice()?;
        Ok(enter(py, || self.0.describe(tasks, |task| task.dim() as i64))?.into_pyarray(py))
    }

    fn n_classes<'py>(
        &self,
        py: Python<'py>,
        tasks: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let tasks = lend::<i64, Ix1>("tasks", tasks)?;
        let tasks = tasks.as_slice()?;
        Ok(enter(py, || self.0.describe(tasks, |task| task.classes() as i64))?.into_pyarray(py))
    }

    fn noise<'py>(&self, py: Python<'py>, tasks: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let tasks = lend::<i64, Ix1>("tasks", tasks)?;
        let tasks = tasks.as_slice()?;
        Ok(enter(py, || self.0.describe(tasks, |task| task.noise()))?.into_pyarray(py))
    }

    fn columns(&self, py: Python<'_>, tasks: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<ColumnFacts>>> {
        let tasks = lend::<i64, Ix1>("tasks", tasks)?;
        let tasks = tasks.as_slice()?;
        let columns = enter(py, || self.0.describe(tasks, |task| task.columns()))?;
        Ok(columns.into_iter().map(|columns| columns.into_iter().map(facts).collect()).collect())
    }

    fn weights<'py>(
        &self,
        py: Python<'py>,
        tasks: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let tasks = lend::<i64, Ix1>("tasks", tasks)?;
        let tasks = tasks.as_slice()?;
        let weights = enter(py, || self.0.weights(tasks))?;
        weights.into_pyarray(py).reshape([tasks.len(), 1 + self.0.features(), self.0.outputs()])
    }
    fn parameters<'py>(
        &self,
        py: Python<'py>,
        tasks: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let tasks = lend::<i64, Ix1>("tasks", tasks)?;
        let tasks = tasks.as_slice()?;
        let parameters = enter(py, || self.0.parameters(tasks))?;
        let each = parameters.len() / tasks.len().max(1);
        parameters.into_pyarray(py).reshape([tasks.len(), each])
    }
}
