"""Central finite differences, in float64."""

from collections.abc import Callable

import numpy as np


def central_differences(function: Callable[[np.ndarray], float], point: np.ndarray, step: float = 1e-5) -> np.ndarray:
    gradient = np.zeros_like(point)
    for index in range(point.size):
        shift = np.zeros_like(point)
        shift[index] = step
        gradient[index] = (float(function(point + shift)) - float(function(point - shift))) / (2 * step)
    return gradient
