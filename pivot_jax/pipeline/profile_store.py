"""The profile store: every sampled action of the frozen policy and every verdict on it, in TensorStore (zarr3).

Arrays `[C, K]` and `[C, K, T]`, chunked over candidates and by single draws, so that a chunk is whole or absent, K can
grow without sampling anything again, and a new verifier adds its arrays to what is stored. `lengths` is written last:
-1 there means that the draw is not stored yet, or was never asked for: candidates may hold different numbers of draws.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from pivot_jax.hosts.exchange import first_says
from pivot_jax.hosts.processes import is_first
from pivot_jax.pipeline.artifacts import read_json, write_json

ABSENT, JUDGED, ERROR = 0, 1, 2
"""Status of a verdict."""


UNFINISHED = ".unfinished"
"""Ending of the name of an array that is still being written."""


class StoreMismatch(ValueError):
    """The store was made from other prompts, weights, template or sampler settings."""


class ProfileStore:
    """Sampled actions and verdicts of C candidates.

    Args:
        path: folder of the store, made if absent.
        key: digests that the stored samples depend on; a store made under another key is refused.
        candidates: C.
        draws: K; may be larger than when the store was made, never smaller.
        tokens: T, most tokens of an action.
        chunk: candidates a chunk.

    Raises:
        StoreMismatch: naming each part of the key that differs.
    """

    def __init__(
        self, path: Path, key: Mapping[str, Any], *, candidates: int, draws: int, tokens: int, chunk: int
    ) -> None:
        self.path = path
        self._shape = (candidates, draws, tokens)
        self._chunk = chunk
        header = {**key, "candidates": candidates, "tokens": tokens, "chunk": chunk}
        file = path / "store.json"
        if first_says("profile store", file.exists()):
            old = read_json(file)
            changed = [f"{name}: was {old.get(name)!r}, now {header.get(name)!r}"
                       for name in sorted(old.keys() | header.keys()) if old.get(name) != header.get(name)]  # fmt: skip
            if changed:
                raise StoreMismatch(f"{path}: made with other settings:\n  " + "\n  ".join(changed))
        else:
            write_json(file, header)
        self._arrays: dict[str, Any] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """C candidates and K draws."""
        return self._shape[:2]

    def stored(self) -> NDArray[np.bool_]:
        """`[C, K]`: whether the draw is stored."""
        return self.read("lengths") >= 0

    def write_draw(self, begin: int, draw: int, arrays: Mapping[str, NDArray[Any]], rows: Sequence[int]) -> None:
        """Store one draw of some candidates of one chunk, `lengths` last; its other candidates stay as they are.

        Of several processes the first one writes; the others must wait for it before they read.

        Args:
            begin: first candidate of the chunk.
            draw: which draw.
            arrays: `[c]` or `[c, T]` by name, `lengths` among them.
            rows: the c candidates within the chunk.
        """
        assert "lengths" in arrays
        if not is_first():
            return
        end = min(begin + self._chunk, self._shape[0])
        for name in sorted(arrays, key=lambda name: name == "lengths"):
            part = self._open(name, arrays[name].dtype, arrays[name].ndim + 1)[begin:end, draw]
            # one whole chunk, so that the file appears at once; what was absent reads as the fill value
            values = np.array(part.read().result())
            values[list(rows)] = arrays[name]
            part.write(values).result()

    def write(self, name: str, values: NDArray[Any]) -> None:
        """Store a whole `[C, K]` array."""
        self._open(name, values.dtype, values.ndim).write(values).result()

    def write_verdicts(
        self, name: str, rewards: NDArray[np.float32], status: NDArray[np.int8], settings: Mapping[str, Any]
    ) -> None:
        """Store what a verifier says of every stored draw, in place of what is stored under its name.

        The verdicts appear at once, with `status` as the last of their three parts: a call that is killed leaves the
        old ones, or none.

        Args:
            name: of the verifier.
            rewards: `[C, K]`.
            status: `[C, K]`.
            settings: what they follow from, as `settings_of` gives it back.
        """
        finals = {kind: self.path / kind / name for kind in ("rewards", "status")}
        for kind, values in (("rewards", rewards), ("status", status)):
            _remove(finals[kind].with_name(f"{name}{UNFINISHED}"))
            self.write(f"{kind}/{name}{UNFINISHED}", values)
            del self._arrays[f"{kind}/{name}{UNFINISHED}"]
            self._arrays.pop(f"{kind}/{name}", None)
        _remove(finals["status"])
        _remove(finals["rewards"])
        write_json(self.settings_file(name), dict(settings))
        for final in finals.values():
            os.rename(final.with_name(f"{name}{UNFINISHED}"), final)

    def verdict_names(self) -> list[str]:
        """Names of the verifiers whose verdicts are stored, in alphabetical order."""
        folders = [path.parent for path in (self.path / "status").glob("*/zarr.json")]
        return sorted(folder.name for folder in folders if not folder.name.endswith(UNFINISHED))

    def settings_of(self, name: str) -> dict[str, Any] | None:
        """The settings that `write_verdicts` stored; None for verdicts that profiling wrote, or none at all."""
        file = self.settings_file(name)
        return read_json(file) if self.has(f"status/{name}") and file.exists() else None

    def settings_file(self, name: str) -> Path:
        """Where `write_verdicts` stores the settings of this name."""
        return self.path / "settings" / f"{name}.json"

    def has(self, name: str) -> bool:
        """Whether an array of this name is stored."""
        return (self.path / name / "zarr.json").exists()

    def read(self, name: str) -> NDArray[Any]:
        """A whole array, `[C, K]` or `[C, K, T]`; draws that are not stored hold the fill value."""
        if not self.has(name):
            if name == "lengths":
                return np.full(self.shape, -1, np.int32)
            raise KeyError(f"{self.path}: no array {name!r} is stored")
        array = ts.open({"driver": "zarr3", "kvstore": self._kvstore(name)}, open=True).result()
        held = min(self.shape[1], array.shape[1])
        room = [(0, 0), (0, self.shape[1] - held), (0, 0)][: array.rank]
        return np.pad(array[:, :held].read().result(), room, constant_values=-1 if name == "lengths" else 0)

    def _kvstore(self, name: str) -> str:
        return f"file://{self.path.absolute()}/{name}/"

    def _grown(self, store: Any) -> Any:
        """The first K draws of an array, which is made as long as that if it is shorter."""
        if store.shape[1] < self._shape[1]:
            store = store.resize(exclusive_max=[None, self._shape[1], None][: store.rank], expand_only=True).result()
        return store[:, : self._shape[1]]

    def _open(self, name: str, dtype: np.dtype[Any], rank: int) -> Any:
        """The array, made or grown along K as needed."""
        if name not in self._arrays:
            shape = self._shape[:rank]
            chunk = (self._chunk, 1, self._shape[2])[:rank]
            store = ts.open(
                {
                    "driver": "zarr3",
                    "kvstore": self._kvstore(name),
                    "metadata": {
                        "data_type": np.dtype(dtype).name,
                        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
                        "fill_value": -1 if name == "lengths" else np.zeros((), dtype).item(),
                    },
                },
                open=True,
                create=not self.has(name),
                shape=None if self.has(name) else list(shape),
            ).result()
            self._arrays[name] = self._grown(store)
        return self._arrays[name]


def _remove(folder: Path) -> None:
    """Remove the folder of an array, its metadata first: what is left of it if this is killed reads as absent."""
    (folder / "zarr.json").unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
