"""What reading and writing a checkpoint costs: seconds, and how much memory of the host beside the parameters.

    python benchmarks/load_weights.py [--layers 12]

Makes a random bfloat16 checkpoint of the shape of Qwen3-0.6B (and of a small mixture of experts) with that many
layers, in shards of 256 MiB, then reads it onto one and onto eight CPU devices and writes it again, each in a process
of its own. On a CPU the parameters themselves are host memory: `peak` is anonymous memory above what the process had
before, so 1.00 x means nothing but the parameters, as often as the mesh holds them (`held`: what it does not split
over an axis, it repeats along it). Pages of the mapped files are not in it: the kernel drops them when it needs room.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROWS = [("dense", 1), ("dense", 8), ("moe", 1), ("moe", 8)]
GIB = 2**30


def architecture(kind: str, layers: int):
    """Qwen3-0.6B with fewer layers and words, dense or with 32 experts of which a token meets 4."""
    from pivot_jax.config import Architecture

    experts = {"experts": 32, "experts_per_token": 4, "expert_mlp": 384} if kind == "moe" else {}
    return Architecture(
        vocab_size=32_768, embed=1024, layers=layers, heads=16, kv_heads=8, head_dim=128, mlp=3072, rope_theta=1e6,
        tie_embeddings=False, **experts,
    )  # fmt: skip


def make_checkpoint(directory: Path, kind: str, layers: int) -> None:
    """Random tensors, one at a time."""
    import numpy as np

    from pivot_jax.policy.hf_config import hf_config
    from pivot_jax.policy.hf_layout import layout_leaves
    from pivot_jax.policy.tensor_files import DTYPES, TensorSpec, write_tensors

    arch, draw = architecture(kind, layers), np.random.default_rng(0)
    directory.mkdir()
    hf_config(arch, 0, "bfloat16").save_pretrained(directory)
    names = [(str(name), entry.hf_shape) for entry in layout_leaves(arch) for name in entry.names.reshape(-1)]
    specs = [TensorSpec(name, shape, DTYPES["bfloat16"]) for name, shape in names]
    write_tensors(directory, specs, (draw.random(shape, np.float32) for _, shape in names), 256 * 2**20)


class Peak:
    """Largest anonymous memory of this process while open, above what it was before, in bytes."""

    def __enter__(self) -> Peak:
        self._before, self.bytes, self._open = _anonymous(), 0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        self._open = False
        self._thread.join()

    def _watch(self) -> None:
        while self._open:
            self.bytes = max(self.bytes, _anonymous() - self._before)
            time.sleep(0.005)


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def measure(directory: Path, kind: str, layers: int, devices: int) -> dict[str, float]:
    """Read and write once, in this process."""
    import jax

    from pivot_jax.config import MeshSection
    from pivot_jax.policy.mesh import Rules, make_mesh
    from pivot_jax.policy.weights import read_architecture, read_weights, write_weights

    jax.config.update("jax_num_cpu_devices", devices)
    arch, rules = read_architecture(directory), Rules.make()
    assert arch == architecture(kind, layers)
    mesh = make_mesh(MeshSection(data=1, fsdp=2, expert=2, tensor=2)) if devices == 8 else make_mesh()
    jax.block_until_ready(jax.numpy.zeros(8))
    with Peak() as reading:
        params = jax.block_until_ready(read_weights(directory, arch, mesh, rules))
    with Peak() as writing:
        write_weights(directory / "again", params, arch, directory, 0, dtype="bfloat16", max_shard_bytes=256 * 2**20)
    held = sum(shard.data.nbytes for leaf in jax.tree.leaves(params) for shard in leaf.addressable_shards)
    for file in sorted((directory / "again").iterdir()):
        if file.suffix == ".safetensors":
            assert file.read_bytes() == (directory / file.name).read_bytes(), file.name
        file.unlink()
    (directory / "again").rmdir()
    return {"held": held, "read": reading.bytes, "read_s": reading.seconds, "write": writing.bytes,
            "write_s": writing.seconds}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--measure", nargs=3, metavar=("DIRECTORY", "KIND", "DEVICES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        directory, kind, devices = options.measure
        print(json.dumps(measure(Path(directory), kind, options.layers, int(devices))))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "policy", "devices", "held GiB", "read: peak GiB", "x", "s", "write: peak GiB", "s",
        title="float32 parameters from and to bfloat16 files",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as root:
        for kind in dict.fromkeys(kind for kind, _ in ROWS):
            make_checkpoint(Path(root) / kind, kind, options.layers)
        for kind, devices in ROWS:
            command = [sys.executable, __file__, "--layers", str(options.layers)]
            command += ["--measure", str(Path(root) / kind), kind, str(devices)]
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            row = json.loads(done.stdout.splitlines()[-1])
            table.add_row(
                kind, str(devices), f"{row['held'] / GIB:.2f}", f"{row['read'] / GIB:.2f}",
                f"{row['read'] / row['held']:.2f}", f"{row['read_s']:.1f}", f"{row['write'] / GIB:.2f}",
                f"{row['write_s']:.1f}",
            )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
