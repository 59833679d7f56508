"""Task families: the settings of each distribution over tasks. `TaskSampler` draws from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from amortix.errors import ConfigError

#: (low, high), both included; equal ends fix the value.
Range = tuple[float, float]
IntRange = tuple[int, int]


@dataclass(frozen=True)
class Family:
    """What all families share. Ranges are (low, high); a task's own value is drawn from them.

    Attributes:
        name: the family's name in recipes and on the command line.
    """

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The settings with the name under ``"family"``: what `family_from_dict` reads, fit for JSON."""
        return {"family": self.name, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Linear(Family):
    """w ~ N(0, s² I) with a bias, x ~ N(0, C), y = w·[1, x] + σ·N(0, 1).

    Attributes:
        dim: columns, uniform.
        noise: σ, log-uniform, or (0, 0).
        condition: largest over smallest eigenvalue of C, log-uniform. At 1, C is the identity; above, its
            axes are random, its eigenvalues log-uniform and its mean variance 1.
        sparsity: probability that a column has weight zero.
        weight_scale: s, log-uniform.
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "linear"
    dim: IntRange = (8, 8)
    noise: Range = (0.5, 0.5)
    condition: Range = (1.0, 1.0)
    sparsity: float = 0.0
    weight_scale: Range = (1.0, 1.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Logistic(Family):
    """W ~ N(0, s²) with a bias for each class, x ~ N(0, C), y ~ softmax([1, x] W).

    Attributes:
        dim: columns, uniform.
        classes: uniform, at least 2.
        condition: as for `Linear`.
        sparsity: probability that a column has weight zero for every class.
        weight_scale: s, log-uniform.
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "logistic"
    dim: IntRange = (8, 8)
    classes: IntRange = (2, 2)
    condition: Range = (1.0, 1.0)
    sparsity: float = 0.0
    weight_scale: Range = (1.0, 1.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Mlp(Family):
    """x ~ N(0, I), hidden units tanh(s (w·x/√d + b)), w, b ~ N(0, 1); outputs of variance about 1.

    With two layers the second's units are likewise functions of the first's, divided by their root mean square.

    Attributes:
        dim: columns, uniform.
        classes: (0, 0) for regression, else uniform, at least 2, with labels from
            the softmax of twice the outputs.
        hidden: hidden units of each layer.
        layers: hidden layers, 1 or 2.
        activation: ``"tanh"`` or ``"relu"``.
        noise: σ, log-uniform, or (0, 0); for regression only.
        weight_scale: s, log-uniform: the larger, the further from linear.
        query_scale: what query inputs are multiplied by.
        irrelevant: share of the columns that have no effect, rounded; at least one column has.
    """

    name: ClassVar[str] = "mlp"
    dim: IntRange = (8, 8)
    classes: IntRange = (0, 0)
    hidden: int = 32
    layers: int = 1
    activation: str = "tanh"
    noise: Range = (0.5, 0.5)
    weight_scale: Range = (2.0, 2.0)
    query_scale: float = 1.0
    irrelevant: float = 0.0


@dataclass(frozen=True)
class Sinusoid(Family):
    """y = a sin(x - φ) + σ·N(0, 1) of one input, x uniform in [low, high].

    References:
        Finn, Abbeel, Levine, "Model-agnostic meta-learning", ICML 2017, section 5.1.

    Attributes:
        amplitude: a, uniform.
        phase: φ, uniform.
        low: lower end of x.
        high: upper end of x.
        noise: σ, log-uniform, or (0, 0).
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "sinusoid"
    amplitude: Range = (0.1, 5.0)
    phase: Range = (0.0, math.pi)
    low: float = -5.0
    high: float = 5.0
    noise: Range = (0.0, 0.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Gp(Family):
    """f ~ GP(0, a² k(|x - x'| / ℓ)), x uniform in [low, high] in every column, y = f(x) + σ·N(0, 1).

    A function is a sum of S random waves. Averaged over tasks its covariance is exact; that of one task differs from
    it by a standard error of at most a²/√(2S) at each distance.

    References:
        Rahimi, Recht, "Random features for large-scale kernel machines", NIPS 2007.

    Attributes:
        dim: columns, uniform.
        kernel: ``"rbf"``, ``"matern12"``, ``"matern32"`` or ``"matern52"``.
        length_scale: ℓ, log-uniform.
        amplitude: a, log-uniform.
        noise: σ, log-uniform, or (0, 0).
        frequencies: S.
        low: lower end of x.
        high: upper end of x.
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "gp"
    dim: IntRange = (1, 1)
    kernel: str = "rbf"
    length_scale: Range = (0.3, 1.0)
    amplitude: Range = (1.0, 1.0)
    noise: Range = (0.1, 0.1)
    frequencies: int = 256
    low: float = -2.0
    high: float = 2.0
    query_scale: float = 1.0


@dataclass(frozen=True)
class Tree(Family):
    """x ~ N(0, I); full trees that ask at every inner node whether a column is above a threshold, leaves ~ N(0, 1).

    References:
        Garg, Tsipras, Liang, Valiant, "What can transformers learn in-context?", NeurIPS 2022.

    Attributes:
        dim: columns, uniform.
        classes: (0, 0) for regression, else uniform, at least 2, with labels from the softmax of twice the leaves.
        depth: questions from root to leaf, uniform, at most 12.
        trees: trees that are added and divided by the root of their number, uniform.
        threshold: standard deviation of the thresholds; 0 puts all at zero.
        noise: σ, log-uniform, or (0, 0); for regression only.
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "tree"
    dim: IntRange = (20, 20)
    classes: IntRange = (0, 0)
    depth: IntRange = (4, 4)
    trees: IntRange = (1, 1)
    threshold: float = 0.0
    noise: Range = (0.0, 0.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Gmm(Family):
    """Means m ~ N(0, s² I), rows x ~ N(m_c, v I) of components c drawn alike, y = c.

    Attributes:
        dim: columns, uniform.
        classes: components, uniform, at least 2.
        variance: v, log-uniform.
        mean_scale: s, log-uniform.
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "gmm"
    dim: IntRange = (2, 2)
    classes: IntRange = (5, 5)
    variance: Range = (0.1, 0.1)
    mean_scale: Range = (1.0, 1.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Causal(Family):
    """D + 1 variables on a random graph, each a mechanism of its parents plus noise.

    The last in the causal order, which has at least one parent, is y; the others are the columns of x in random order.
    `TaskSampler.graph` tells which causes which.

    References:
        Lorch, Sussex, Rothfuss, Krause, Schölkopf, "Amortized inference for causal structure learning", NeurIPS 2022.

    Attributes:
        dim: columns, uniform.
        graph: ``"erdos_renyi"``, ``"scale_free"``, ``"watts_strogatz"`` or ``"stochastic_block"``.
        degree: parents of a variable, on average; fewer where not so many fit.
        mechanism: ``"linear"``, of weights N(0, s²) over the root of the number of parents; or ``"random_features"``,
            32 random waves of amplitude s.
        noise_kind: ``"gauss"``, ``"laplace"`` of variance 1, or ``"cauchy"``; of y too.
        noise: its scale, log-uniform, one for all variables of a task.
        weight_scale: s, log-uniform.
        query_scale: what the columns' noise is multiplied by in queries.
    """

    name: ClassVar[str] = "causal"
    dim: IntRange = (5, 5)
    graph: str = "erdos_renyi"
    degree: float = 2.0
    mechanism: str = "linear"
    noise_kind: str = "gauss"
    noise: Range = (0.5, 0.5)
    weight_scale: Range = (1.0, 1.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Tabular(Family):
    """Tables that look like real ones: columns of a random causal model, with ties, categories, outliers and gaps.

    A layered graph of nodes is drawn, each a function of earlier nodes (linear, smooth, periodic, stepped, products,
    sums of trees) with noise of its own. One deep node becomes the target, others become columns, the rest stay
    hidden; irrelevant columns come from a graph of their own. Categories are codes from 0 in random order, missing
    cells are NaN. `TaskSampler.columns` tells what each column is.

    Shares are of a task's columns, uniform in their range, where nothing else is said.

    References:
        Hollmann, Müller, Eggensperger, Hutter, "TabPFN", ICLR 2023, section 4; Qu, Holzmüller, Varoquaux, Le Morvan,
        "TabICL", ICML 2025, section 4.

    Attributes:
        dim: columns, uniform.
        classes: (0, 0) for regression, else uniform, at least 2.
        noise: log-uniform: σ of a target of about unit variance; for classes the scale of the logistic noise on the
            node that they are parts of.
        node_noise: share of a noisy node's variance that is its own noise, log-uniform, or (0, 0).
        hidden: hidden nodes for each node that becomes a column, uniform, at most 8.
        layers: layers of causes below the roots, uniform.
        parents: most parents of a node, uniform.
        trees: share of the nodes with parents that are sums of trees.
        categorical: share of categorical columns.
        levels: levels of a categorical column, log-uniform, at most 64.
        redundant: share of columns that are copies of others, some with noise.
        irrelevant: share of columns that have nothing to do with the target.
        warped: share of numeric columns that are warped, rounded, cut off or have one frequent value.
        outliers: share of outlying cells in a quarter of the numeric columns.
        missing: share of missing cells in half of the columns, at most 0.5.
        imbalance: largest over smallest share of a class, log-uniform, at most 100.
        query_scale: what the root causes of query rows are multiplied by.
    """

    name: ClassVar[str] = "tabular"
    dim: IntRange = (3, 20)
    classes: IntRange = (0, 0)
    noise: Range = (0.05, 0.5)
    node_noise: Range = (0.01, 0.5)
    hidden: Range = (0.0, 0.8)
    layers: IntRange = (1, 5)
    parents: IntRange = (1, 5)
    trees: Range = (0.0, 1.0)
    categorical: Range = (0.0, 0.6)
    levels: IntRange = (2, 12)
    redundant: Range = (0.0, 0.2)
    irrelevant: Range = (0.0, 0.3)
    warped: Range = (0.0, 0.7)
    outliers: Range = (0.0, 0.01)
    missing: Range = (0.0, 0.0)
    imbalance: Range = (1.0, 10.0)
    query_scale: float = 1.0


#: Every family by its name.
FAMILIES: dict[str, type[Family]] = {
    cls.name: cls for cls in (Linear, Logistic, Sinusoid, Gp, Mlp, Tree, Gmm, Causal, Tabular)
}


def family_from_dict(settings: Mapping[str, Any]) -> Family:
    """A family from ``{"family": name, setting: value}``; a single number may stand for a fixed range.

    Raises:
        ConfigError: an unknown family or setting.
    """
    rest = dict(settings)
    name = rest.pop("family", None)
    if name not in FAMILIES:
        raise ConfigError(f"`family` must be one of {', '.join(FAMILIES)}, not {name!r}")
    fields = {f.name: f for f in dataclasses.fields(FAMILIES[name])}
    if unknown := sorted(set(rest) - set(fields)):
        raise ConfigError(f"{name} has no setting {unknown[0]!r}: it has {', '.join(fields)}")
    return FAMILIES[name](**{key: _fit(value, fields[key].default) for key, value in rest.items()})


def _fit(value: Any, default: Any) -> Any:
    """A setting in the form of its default: lists to tuples, a number to a fixed range."""
    if not isinstance(default, tuple):
        return value
    return tuple(value) if isinstance(value, list | tuple) else (value, value)
