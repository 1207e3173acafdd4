"""Content codings of downloads. None is asked for, but servers send some, and name others that are none."""

import zlib
from collections.abc import Iterator
from typing import Final

MAX_LAYERS: Final = 3
"""Codings on top of each other."""
PIECE_BYTES: Final = 256 * 1024
"""How much is unpacked at once: a few packed bytes may unpack to gigabytes."""

MAX_IDLE_BYTES: Final = 1024**2
"""How many bytes in a row may unpack to nothing: empty members, empty blocks, and what follows the end."""

_FIRST_SLICE_BYTES: Final = 512
"""Of a member's beginning. The decoder copies what follows a member in the same slice, so slices grow with the member."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_UNREADABLE: Final = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip"})
"""The registered codings that are not unpacked here; https://www.iana.org/assignments/http-parameters."""


def find_unreadable_coding(header: str) -> str:
    """Return a coding that cannot be unpacked here; empty when all can.

    An unregistered name does not count: stores write `aws-chunked` or a character set there, over plain bytes.
    """
    codings = _parse(header)
    known = [coding for coding in codings if coding in _GZIP or coding == "deflate"]
    unreadable = [coding for coding in codings if coding in _UNREADABLE]
    return unreadable[0] if unreadable else ", ".join(known) if len(known) > MAX_LAYERS else ""


class BrokenCoding(ValueError):
    """A body is not what its coding says."""


class Unpacker:
    """Unpacks one body. Mutable."""

    def __init__(self, header: str) -> None:
        """Begin a body with this `Content-Encoding`."""
        # The last one that was applied is taken off first.
        self._decoders = [
            _Inflating(is_gzip=coding in _GZIP) for coding in reversed(_parse(header)) if _is_packed(coding)
        ]

    @property
    def is_whole(self) -> bool:
        """Whether each coding came to its end."""
        return all(decoder.is_whole for decoder in self._decoders)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what can be unpacked by now, in bounded pieces.

        Raises:
            BrokenCoding: It is not what it is said to be.
        """
        return self._feed(data, 0)

    def _feed(self, data: bytes, layer: int) -> Iterator[bytes]:
        if layer == len(self._decoders):
            yield data
            return
        for piece in self._decoders[layer].feed(data):
            yield from self._feed(piece, layer + 1)


class _Inflating:
    """One layer of gzip or deflate."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._head = b""
        """What is too short to determine the kind."""
        self._inflator: zlib._Decompress | None = None
        self._slice_bytes = _FIRST_SLICE_BYTES
        self._idle_bytes = 0
        """What was read since something came out."""
        self._is_over = False
        """Whether what follows the last member has begun."""

    @property
    def is_whole(self) -> bool:
        return not self._head if self._inflator is None else self._inflator.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        rest, self._head = memoryview(self._head + data), b""
        while rest:
            inflator, begin = self._inflator, bytes(rest[:2])
            if inflator is None or inflator.eof:
                if not self._is_over and len(begin) < 2:  # noqa: PLR2004 - enough to determine the kind
                    self._head = begin
                    return
                if self._is_over or (inflator is not None and not (self._is_gzip and begin == _GZIP_MAGIC)):
                    self._is_over = True
                    self._count_idle(len(rest))
                    return
                # The first member, or the next one of several.
                inflator = self._inflator = zlib.decompressobj(self._find_window(begin))
                self._slice_bytes = _FIRST_SLICE_BYTES
            part = rest[: self._slice_bytes]
            is_idle = True
            for piece in self._inflate(part, inflator):
                is_idle = False
                yield piece
            used_bytes = len(part) - len(inflator.unused_data)
            if is_idle:
                self._count_idle(used_bytes)
            else:
                self._idle_bytes = 0
            self._slice_bytes = min(2 * self._slice_bytes, PIECE_BYTES)
            rest = rest[used_bytes:]

    def _count_idle(self, size_bytes: int) -> None:
        self._idle_bytes += size_bytes
        if self._idle_bytes > MAX_IDLE_BYTES:
            raise BrokenCoding("too much of the compressed data stands for nothing")

    def _find_window(self, data: bytes) -> int:
        if self._is_gzip:
            return zlib.MAX_WBITS | 16
        # `deflate` means zlib's frame; some servers send it bare.
        has_frame = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
        return zlib.MAX_WBITS if has_frame else -zlib.MAX_WBITS

    def _inflate(self, data: bytes | memoryview, inflator: "zlib._Decompress") -> Iterator[bytes]:
        while True:
            try:
                piece = inflator.decompress(data, PIECE_BYTES)
            except zlib.error as exc:
                raise BrokenCoding("the compressed data is broken") from exc
            if piece:
                yield piece
            if inflator.eof:
                return
            data = inflator.unconsumed_tail
            # A full piece may leave more behind, for which no input is missing.
            if not data and len(piece) < PIECE_BYTES:
                return


def _is_packed(coding: str) -> bool:
    return coding in _GZIP or coding == "deflate"


def _parse(header: str) -> list[str]:
    return [part for part in (one.strip().lower() for one in header.split(",")) if part]
