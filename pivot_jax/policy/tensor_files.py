"""safetensors files, read by slices and written tensor by tensor: neither holds more than one tensor on the host."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
WRITTEN = {DTYPES["float32"]: "F32", DTYPES["bfloat16"]: "BF16"}
READ = ("F32", "BF16", "F16")


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """One tensor in a file; nothing of it is read yet."""

    file: Path
    name: str
    stored: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, from the file's header."""
        return tuple(self.stored.get_shape())

    def read(self, index: tuple[slice, ...]) -> np.ndarray:
        """A slice of it, in its own dtype."""
        return self.stored[index]


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A tensor that is about to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def open_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a directory, by name.

    Raises:
        ValueError: a file that is missing or broken, or a tensor that is not in the file that the index names, or of
            a dtype that is not read.
    """
    index = directory / INDEX
    if index.exists():
        file_of = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(file_of.values()))
    elif (directory / SINGLE).exists():
        file_of, files = {}, [SINGLE]
    else:
        raise ValueError(f"{directory}: neither {SINGLE} nor {INDEX} is there")
    tensors = {tensor.name: tensor for file in files for tensor in _open_file(directory / file)}
    for name, file in file_of.items():
        if name not in tensors:
            raise ValueError(f"{directory / file}: tensor {name!r} is missing; {INDEX} says that it is here")
    return tensors


def write_tensors(
    directory: Path, specs: Sequence[TensorSpec], arrays: Iterator[np.ndarray], max_file_bytes: int
) -> None:
    """Write tensors, in the order of `specs`, to one file, or to several with an index where one would be too large."""
    parts: list[list[TensorSpec]] = [[]]
    for spec in specs:
        if parts[-1] and sum(other.nbytes for other in parts[-1]) + spec.nbytes > max_file_bytes:
            parts.append([])
        parts[-1].append(spec)
    if len(parts) == 1:
        write_file(directory / SINGLE, specs, arrays)
        return
    weight_map: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        write_file(directory / file, part, islice(arrays, len(part)))
        weight_map.update({spec.name: file for spec in part})
    index = {"metadata": {"total_size": sum(spec.nbytes for spec in specs)}, "weight_map": weight_map}
    (directory / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_file(path: Path, specs: Sequence[TensorSpec], arrays: Iterable[np.ndarray]) -> None:
    """One safetensors file: the header's length, the header as JSON, the tensors' bytes in order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for spec in specs:
        place = {"shape": spec.shape, "data_offsets": [begin, begin + spec.nbytes]}
        header[spec.name] = {"dtype": WRITTEN[spec.dtype], **place}
        begin += spec.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants the data aligned to 8 bytes
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for spec, array in zip(specs, arrays, strict=True):
            if array.shape != spec.shape:
                raise ValueError(f"{path}: {spec.name!r} is {array.shape}, not {spec.shape}")
            file.write(np.ascontiguousarray(array.astype(spec.dtype, copy=False)).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def _open_file(path: Path) -> Iterator[StoredTensor]:
    if not path.exists():
        raise ValueError(f"{path}: the file is missing; {INDEX} names it")
    try:
        reader = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from error
    for name in reader.keys():  # noqa: SIM118  (safe_open is no dict)
        stored = reader.get_slice(name)
        if stored.get_dtype() not in READ:
            raise ValueError(f"{path}: tensor {name!r} is {stored.get_dtype()}; one of {', '.join(READ)} is read")
        yield StoredTensor(path, name, stored)
