"""The compiled part: checked borrows of NumPy memory around the Rust crate. Use it through `amortix.data`.

Arrays are lent for the length of one call. Each must have exactly the stated dtype and shape, be C-contiguous
and, where it is written (``*_into``), writable and apart from the others; anything else raises
`amortix.errors.ArrayError`.
"""

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["TaskSampler", "__version__", "context_merge_into", "local_solve_into"]

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
    def weights(self, tasks: NDArray[np.int64]) -> NDArray[np.float32]: ...
