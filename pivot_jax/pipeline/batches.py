"""Shuffled, endless, resumable batches of indices (Grain)."""

from __future__ import annotations

from typing import Any

import grain


def index_batches(count: int, batch: int, seed: int) -> grain.DatasetIterator[Any]:
    """Endless batches of `batch` indices below `count`, reshuffled at each pass; `get_state` / `set_state` resume it.

    A batch may span two passes; a batch larger than the data is filled by further passes.
    """
    dataset = grain.MapDataset.range(count).seed(seed).shuffle().repeat().batch(batch)
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return iter(dataset.to_iter_dataset(options))
