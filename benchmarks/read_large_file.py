"""What reading a large file costs: megabytes a second of the clock and of the processor, and the most memory held.

    python benchmarks/read_large_file.py
    python benchmarks/read_large_file.py --gb 0.5 --format pivot_rows --ending .jsonl.gz

Makes a file of generated trajectories in a folder of its own, reads it as `pivot-jax` does, and removes it. Memory is
printed before and after reading: the difference is what reading took (one row, and 64 bits of every id with its line;
for pivot rows the index). Megabytes are those of the file, 10**6 bytes; packed ones where it is packed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pivot_jax.data.formats.registry import READERS, read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, Tool, ToolCall, Trajectory

TURNS = 8
RESULT_BYTES = 2400


def episode(number: int) -> Trajectory:
    """A trajectory of TURNS calls, about 21 kB as a chat row."""
    said = [Message(role="system", content="You look things up. " * 40), Message(role="user", content=f"Task {number}")]
    for turn in range(TURNS):
        call = ToolCall(name="look", arguments=json.dumps({"at": number, "turn": turn}), id=f"call_{number}_{turn}")
        said.append(Message(role="assistant", content=f"Looking, turn {turn}.", tool_calls=(call,)))
        said.append(Message(role="tool", content=f"{number}/{turn} é " * (RESULT_BYTES // 10), tool_call_id=call.id))
    said.append(Message(role="assistant", content="Done."))
    return Trajectory(id=f"run/{number}", domain="d", task_id=str(number), messages=tuple(said), tools=TOOLS)


TOOLS = (Tool(name="look", description="Look something up."),)


def episodes(file: Path, size: float) -> Iterator[Trajectory]:
    """Trajectories until the file being written has reached `size` bytes."""
    number = 0
    while sum(path.stat().st_size for path in file.parent.iterdir()) < size:
        for _ in range(20):
            yield episode(number)
            number += 1


def peak_megabytes() -> float:
    """The most memory that this process has held (resident set), in 10**6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2.0, help="size of the file, 10**9 bytes (default 2)")
    parser.add_argument("--format", choices=(*READERS, "parquet"), default="chat")
    parser.add_argument("--ending", default=".jsonl", help="of the file (default .jsonl)")
    parser.add_argument("--folder", type=Path, help="where to make the file (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / f"large{options.ending}"
        began = time.monotonic()
        written = write(file, episodes(file, options.gb * 1e9), options.format)
        megabytes = file.stat().st_size / 1e6
        taken = time.monotonic() - began
        print(f"written  {written:>9,} trajectories  {megabytes:>9,.0f} MB  {megabytes / taken:6.1f} MB/s")
        before = peak_megabytes()
        began, used = time.monotonic(), time.process_time()
        found = sum(1 for _ in read(file, "auto"))
        taken, used = time.monotonic() - began, time.process_time() - used
        if found != written:
            raise SystemExit(f"{written} were written and {found} read")
        speeds = f"{megabytes / taken:6.1f} MB/s, {megabytes / used:.1f} MB a processor second"
        print(f"read     {found:>9,} trajectories  {megabytes:>9,.0f} MB  {speeds}")
        print(f"peak memory {peak_megabytes():,.0f} MB, of which before reading {before:,.0f} MB")


if __name__ == "__main__":
    main()
