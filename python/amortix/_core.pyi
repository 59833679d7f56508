"""The compiled part: checked borrows of NumPy memory around the Rust crate. Use it through `amortix.data`.

Arrays are lent for the length of one call. Each must have exactly the stated dtype and shape, be C-contiguous
and, where it is written (``*_into``), writable and apart from the others; anything else raises
`amortix.errors.ArrayError`.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Code",
    "Engine",
    "Order",
    "Summaries",
    "Table",
    "TaskSampler",
    "__version__",
    "context_merge_into",
    "curvature_solve_into",
    "curvature_step_into",
    "curvature_update_into",
    "encode_into",
    "episode_draw_into",
    "episode_gather_into",
    "episode_index",
    "gather_into",
    "image_rows_into",
    "learned_update_into",
    "local_solve_backward_into",
    "local_solve_into",
    "log_evidence_into",
    "normals_into",
    "pool_advance_into",
    "pool_draw_by_age_into",
    "pool_draw_into",
    "pool_gather_into",
    "pool_reset_into",
    "pool_scatter_into",
    "prefix_gradient_backward_into",
    "prefix_gradient_into",
    "store_adopt_into",
    "store_offer_into",
    "two_term_update_backward_into",
    "two_term_update_into",
]

__version__: str

@final
class TaskSampler:
    @staticmethod
    def linear(
        seed: int,
        *,
        dim: tuple[int, int],
        noise: tuple[float, float],
        condition: tuple[float, float],
        sparsity: float,
        weight_scale: tuple[float, float],
        query_scale: float,
    ) -> TaskSampler: ...
    @staticmethod
    def logistic(
        seed: int,
        *,
        dim: tuple[int, int],
        classes: tuple[int, int],
        condition: tuple[float, float],
        sparsity: float,
        weight_scale: tuple[float, float],
        query_scale: float,
    ) -> TaskSampler: ...
    @staticmethod
    def mlp(
        seed: int,
        *,
        dim: tuple[int, int],
        classes: tuple[int, int],
        hidden: int,
        layers: int,
        activation: str,
        noise: tuple[float, float],
        weight_scale: tuple[float, float],
        query_scale: float,
        irrelevant: float,
    ) -> TaskSampler: ...
    @staticmethod
    def sinusoid(
        seed: int,
        *,
        amplitude: tuple[float, float],
        phase: tuple[float, float],
        low: float,
        high: float,
        noise: tuple[float, float],
        query_scale: float,
    ) -> TaskSampler: ...
    @staticmethod
    def gp(
        seed: int,
        *,
        dim: tuple[int, int],
        kernel: str,
        length_scale: tuple[float, float],
        amplitude: tuple[float, float],
        noise: tuple[float, float],
        frequencies: int,
        low: float,
        high: float,
        query_scale: float,
    ) -> TaskSampler: ...
    @staticmethod
    def tree(
        seed: int,
        *,
        dim: tuple[int, int],
        classes: tuple[int, int],
        depth: tuple[int, int],
        trees: tuple[int, int],
        threshold: float,
        noise: tuple[float, float],
        query_scale: float,
    ) -> TaskSampler: ...
    @staticmethod
    def gmm(
        seed: int,
        *,
        dim: tuple[int, int],
        classes: tuple[int, int],
        variance: tuple[float, float],
        mean_scale: tuple[float, float],
        query_scale: float,
    ) -> TaskSampler: ...
    @staticmethod
    def causal(
        seed: int,
        *,
        dim: tuple[int, int],
        graph: str,
        degree: float,
        mechanism: str,
        noise_kind: str,
        noise: tuple[float, float],
        weight_scale: tuple[float, float],
        query_scale: float,
    ) -> TaskSampler: ...
    @staticmethod
    def tabular(
        seed: int,
        *,
        dim: tuple[int, int],
        classes: tuple[int, int],
        noise: tuple[float, float],
        node_noise: tuple[float, float],
        hidden: tuple[float, float],
        layers: tuple[int, int],
        parents: tuple[int, int],
        trees: tuple[float, float],
        categorical: tuple[float, float],
        levels: tuple[int, int],
        redundant: tuple[float, float],
        irrelevant: tuple[float, float],
        warped: tuple[float, float],
        outliers: tuple[float, float],
        missing: tuple[float, float],
        imbalance: tuple[float, float],
        query_scale: float,
    ) -> TaskSampler: ...
    @property
    def features(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def classes(self) -> int: ...
    def context_into(
        self,
        tasks: NDArray[np.int64],
        steps: NDArray[np.int64],
        x: NDArray[np.float32],
        y: NDArray[np.float32],
    ) -> None: ...
    def query_into(
        self,
        tasks: NDArray[np.int64],
        draw: int,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        signal: NDArray[np.float32],
    ) -> None: ...
    def dims(self, tasks: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def n_classes(self, tasks: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def noise(self, tasks: NDArray[np.int64]) -> NDArray[np.float32]: ...
    def columns(self, tasks: NDArray[np.int64]) -> list[list[tuple[str, int, float, float, bool]]]: ...
    def weights(self, tasks: NDArray[np.int64]) -> NDArray[np.float32]: ...
    def parameters(self, tasks: NDArray[np.int64]) -> NDArray[np.float32]: ...

def normals_into(seed: int, out: NDArray[np.float32]) -> None: ...
def context_merge_into(
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    values: NDArray[np.float32],
    relevance: NDArray[np.float32],
    distance: NDArray[np.float32],
    kept_x: NDArray[np.float32],
    kept_y: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
) -> None: ...
def local_solve_backward_into(
    query: NDArray[np.float32],
    kept_x: NDArray[np.float32],
    residual: NDArray[np.float32],
    distance: NDArray[np.float32],
    relevance: NDArray[np.float32],
    signal: NDArray[np.float32],
    stretch: NDArray[np.float32],
    noise: NDArray[np.float32],
    jitter: float,
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    query_slope: NDArray[np.float32],
    kept_x_slope: NDArray[np.float32],
    residual_slope: NDArray[np.float32],
    relevance_slope: NDArray[np.float32],
    signal_slope: NDArray[np.float32],
    stretch_slope: NDArray[np.float32],
    noise_slope: NDArray[np.float32],
) -> None: ...
def curvature_solve_into(
    second: NDArray[np.float32],
    damping: NDArray[np.float32],
    gradient: NDArray[np.float32],
    direction: NDArray[np.float32],
) -> None: ...
def curvature_step_into(
    second: NDArray[np.float32],
    count: NDArray[np.float32],
    jacobian: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
    damping: NDArray[np.float32],
    gradient: NDArray[np.float32],
    out_second: NDArray[np.float32],
    out_count: NDArray[np.float32],
    direction: NDArray[np.float32],
) -> None: ...
def curvature_update_into(
    second: NDArray[np.float32],
    count: NDArray[np.float32],
    jacobian: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
    out_second: NDArray[np.float32],
    out_count: NDArray[np.float32],
) -> None: ...
def learned_update_into(
    parameters: Sequence[NDArray[np.float32]],
    gradients: Sequence[NDArray[np.float32]],
    momentum: Sequence[NDArray[np.float32]],
    square: Sequence[NDArray[np.float32]],
    row: Sequence[NDArray[np.float32]],
    column: Sequence[NDArray[np.float32]],
    step: NDArray[np.float32],
    network: Sequence[NDArray[np.float32]],
    rate: float,
    weight_decay: float,
) -> None: ...
def local_solve_into(
    query: NDArray[np.float32],
    kept_x: NDArray[np.float32],
    residual: NDArray[np.float32],
    distance: NDArray[np.float32],
    relevance: NDArray[np.float32],
    signal: NDArray[np.float32],
    stretch: NDArray[np.float32],
    noise: NDArray[np.float32],
    jitter: float,
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None: ...
def log_evidence_into(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    weight: NDArray[np.float32],
    log_relevance: NDArray[np.float32],
    log_signal: NDArray[np.float32],
    log_stretch: NDArray[np.float32],
    log_linear: NDArray[np.float32],
    log_noise: NDArray[np.float32],
    jitter: float,
    value: NDArray[np.float32],
    relevance_slope: NDArray[np.float32],
    signal_slope: NDArray[np.float32],
    stretch_slope: NDArray[np.float32],
    linear_slope: NDArray[np.float32],
    noise_slope: NDArray[np.float32],
) -> None: ...

@final
class Order:
    def __new__(
        cls,
        groups: NDArray[np.int64],
        *,
        seed: int,
        shuffle: bool,
        window: int | None,
        shard: tuple[int, int],
        holdout: float,
        part: str,
    ) -> Order: ...
    def fill_table(self, epoch: int, ordinal: int, offset: int, rows: NDArray[np.int64]) -> tuple[int, int, int]: ...
    def count(self) -> int: ...

@final
class Table:
    @staticmethod
    def open(paths: list[str | PathLike[str]], folders: list[list[str]]) -> Table: ...
    @staticmethod
    def from_arrow(data: object) -> Table: ...
    @property
    def columns(self) -> list[str]: ...
    @property
    def kinds(self) -> list[Literal["numeric", "integer", "boolean", "label", "time", "other"]]: ...
    @property
    def groups(self) -> list[int]: ...
    def check_feature(self, column: int) -> None: ...
    def distinct_labels(self, column: int, limit: int) -> list[str]: ...
    def engine(
        self,
        order: Order,
        place: tuple[int, int, int],
        *,
        features: list[int],
        codes: list[Code] | None,
        target: int | None,
        classes: list[str] | None,
        weight: int | None,
        epochs: int,
        memory: int | None,
    ) -> Engine: ...

@final
class Engine:
    @property
    def shape(self) -> tuple[int, bool, bool]: ...
    def next_into(
        self, x: NDArray[np.float32], y: NDArray[np.float32] | None, weight: NDArray[np.float32] | None
    ) -> tuple[int, int, int, int]: ...

def gather_into(
    x: NDArray[np.generic], columns: NDArray[np.int64], rows: NDArray[np.int64], out: NDArray[np.float32]
) -> tuple[int, int] | None: ...

@final
class Summaries:
    def __new__(cls, kinds: list[str], *, seed: int, shard: int) -> Summaries: ...
    @staticmethod
    def from_parts(parts: list[tuple[str, list[float], list[int], list[str]]]) -> Summaries: ...
    def parts(self) -> list[tuple[str, list[float], list[int], list[str]]]: ...
    def merge(self, other: Summaries) -> None: ...
    def see_array(
        self, first: int, columns: list[int], x: NDArray[np.generic], weights: NDArray[np.float64] | None
    ) -> tuple[int, int, float] | None: ...
    def see_group(
        self, table: Table, group: int, columns: list[int], weight: int | None
    ) -> tuple[int, int, float] | None: ...
    def see_counts(self, place: int, texts: list[str], counts: list[int]) -> None: ...
    def facts(self, place: int) -> tuple[int, int, float, float, float, float]: ...
    def quantiles(self, place: int, shares: list[float]) -> list[float]: ...
    def rank_error(self, place: int, risk: float) -> float: ...
    def normal_map(self, place: int) -> tuple[list[float], list[float]]: ...
    def concentrations(self, place: int) -> list[tuple[str, float, float]]: ...
    def labels(self, place: int) -> tuple[list[tuple[str, int]], int]: ...

@final
class Code:
    @staticmethod
    def nothing(missing: bool) -> Code: ...
    @staticmethod
    def scaled(mean: float, scale: float, missing: bool) -> Code: ...
    @staticmethod
    def scored(knots: list[float], scores: list[float], missing: bool) -> Code: ...
    @staticmethod
    def levels(levels: list[str], other: bool, missing: bool) -> Code: ...
    @staticmethod
    def times(mean: float, scale: float, cycles: list[str], missing: bool) -> Code: ...
    @property
    def width(self) -> int: ...

def encode_into(codes: list[Code], x: NDArray[np.generic], out: NDArray[np.float32]) -> None: ...
def pool_draw_into(seed: int, draw: int, slots: int, out: NDArray[np.int64]) -> None: ...
def pool_draw_by_age_into(seed: int, draw: int, ages: NDArray[np.int64], out: NDArray[np.int64]) -> None: ...
def pool_advance_into(
    slots: NDArray[np.int64],
    steps: int,
    tasks: NDArray[np.int64],
    ages: NDArray[np.int64],
    finished: NDArray[np.bool_],
    *,
    seed: int,
    horizon: tuple[int, int] | None,
    next_task: int,
) -> int: ...
def pool_reset_into(
    slots: NDArray[np.int64], tasks: NDArray[np.int64], ages: NDArray[np.int64], *, next_task: int
) -> int: ...
def pool_gather_into(
    fields: list[NDArray[np.uint8]], slots: NDArray[np.int64], out: list[NDArray[np.uint8]]
) -> None: ...
def pool_scatter_into(
    values: list[NDArray[np.uint8]], slots: NDArray[np.int64], fields: list[NDArray[np.uint8]]
) -> None: ...
def store_offer_into(
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    places: NDArray[np.int64],
    *,
    seed: int,
    keys: NDArray[np.float64],
    kept_rows: NDArray[np.int64],
    kept_weights: NDArray[np.float32],
    heap: NDArray[np.uint32],
    taken: int,
) -> int: ...
def store_adopt_into(
    *,
    seed: int,
    keys: NDArray[np.float64],
    kept_rows: NDArray[np.int64],
    kept_weights: NDArray[np.float32],
    heap: NDArray[np.uint32],
    taken: int,
) -> None: ...
def episode_index(
    labels: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
def episode_draw_into(
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    eligible: NDArray[np.int64],
    classes: NDArray[np.int64],
    support: NDArray[np.int64],
    query: NDArray[np.int64],
    *,
    seed: int,
    first: int,
) -> None: ...
def episode_gather_into(
    source: NDArray[np.uint8 | np.float32], rows: NDArray[np.int64], scale: float, out: NDArray[np.float32]
) -> None: ...
def image_rows_into(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    mean: NDArray[np.float32],
    among: NDArray[np.int64],
    tasks: NDArray[np.int64],
    steps: NDArray[np.int64],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    *,
    classes: int,
    scale: float,
    seed: int,
    purpose: int,
) -> None: ...
def prefix_gradient_into(
    theta: NDArray[np.float32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
    out: NDArray[np.float32],
) -> None: ...
def prefix_gradient_backward_into(
    upstream: NDArray[np.float32],
    theta: NDArray[np.float32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
    out: NDArray[np.float32],
) -> None: ...
def two_term_update_into(
    theta: NDArray[np.float32],
    memory: NDArray[np.float32],
    average: NDArray[np.float32],
    proposal: NDArray[np.float32],
    gate: NDArray[np.float32],
    gradient: NDArray[np.float32],
    diagonal: NDArray[np.float32],
    factors: NDArray[np.float32],
    decay: NDArray[np.float32],
    delay: NDArray[np.float32],
    age: NDArray[np.float32],
    out_theta: NDArray[np.float32],
    out_memory: NDArray[np.float32],
    out_average: NDArray[np.float32],
) -> None: ...
def two_term_update_backward_into(
    upstream_theta: NDArray[np.float32],
    upstream_memory: NDArray[np.float32],
    upstream_average: NDArray[np.float32],
    theta: NDArray[np.float32],
    memory: NDArray[np.float32],
    average: NDArray[np.float32],
    proposal: NDArray[np.float32],
    gate: NDArray[np.float32],
    gradient: NDArray[np.float32],
    diagonal: NDArray[np.float32],
    factors: NDArray[np.float32],
    decay: NDArray[np.float32],
    delay: NDArray[np.float32],
    age: NDArray[np.float32],
    out_theta: NDArray[np.float32],
    out_memory: NDArray[np.float32],
    out_average: NDArray[np.float32],
    out_proposal: NDArray[np.float32],
    out_gate: NDArray[np.float32],
    out_gradient: NDArray[np.float32],
    out_diagonal: NDArray[np.float32],
    out_factors: NDArray[np.float32],
    out_decay: NDArray[np.float32],
    out_delay: NDArray[np.float32],
) -> None: ...
