"""gzip (`.gz`) and zstd (`.zst`) streams, chosen by the file's ending; any other ending is plain bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from pivot_jax.data.formats.extras import optional

ENDINGS = (".gz", ".zst")
EXTRA = "zstd"
_CHUNK = 1 << 18


class CorruptStream(OSError):
    """A zstd stream that cannot be unpacked."""


FAULTS = (EOFError, zlib.error, gzip.BadGzipFile, CorruptStream)
"""What reading a packed file raises when it is cut short or damaged."""


def open_unpacked(file: Path) -> BinaryIO:
    """The file's bytes, unpacked as they are read. Reading raises one of FAULTS where the packed stream is damaged."""
    if file.suffix == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    if file.suffix == ".zst":
        zstandard = optional("zstandard", EXTRA, file)
        return cast(BinaryIO, io.BufferedReader(_ZstdReader(file.open("rb"), zstandard), _CHUNK))
    return file.open("rb")


@contextmanager
def packing(file: Path, raw: BinaryIO) -> Iterator[BinaryIO]:
    """Where to write what `raw` is to hold packed, by the ending of `file`; equal bytes in give equal bytes out."""
    if file.suffix == ".gz":
        # no time or file name in the header
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)
    elif file.suffix == ".zst":
        with optional("zstandard", EXTRA, file).ZstdCompressor().stream_writer(raw, closefd=False) as packed:
            yield packed
    else:
        yield raw


class _ZstdReader(io.RawIOBase):
    """Frames one after the other. The library's own reader takes a stream that is cut short for one that has ended."""

    def __init__(self, packed: BinaryIO, zstandard: Any) -> None:
        self._packed, self._zstandard = packed, zstandard
        self._frame: Any = None
        self._input, self._output = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._output:
            if not self._input:
                self._input = self._packed.read(_CHUNK)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("the zstd stream ends inside a frame")
                return 0
            if self._frame is None:
                self._frame = self._zstandard.ZstdDecompressor().decompressobj()
            try:
                self._output = self._frame.decompress(self._input)
            except self._zstandard.ZstdError as error:
                raise CorruptStream(str(error)) from error
            self._input = b""
            if self._frame.eof:
                self._input, self._frame = self._frame.unused_data, None
        size = min(len(into), len(self._output))
        into[:size], self._output = self._output[:size], self._output[size:]
        return size

    def close(self) -> None:
        self._packed.close()
        super().close()
