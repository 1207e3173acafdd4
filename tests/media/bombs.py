"""Pictures that a decoder must not be given, or must give up, as bytes."""

import io
import zlib
from typing import Final

from PIL import Image


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def build_stuffed_png(*, name: bytes, data: bytes) -> bytes:
    """Return a good picture with a chunk more behind its header."""
    buffer = io.BytesIO()
    Image.new("RGB", (900, 900)).save(buffer, "PNG")
    png = buffer.getvalue()
    return png[:33] + chunk(name, data) + png[33:]


def build_large_webp_header() -> bytes:
    """Return a WebP that claims 16,383 pixels a side."""
    frame = b"\x00\x00\x00\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(60)
    return b"RIFF" + (len(frame) + 12).to_bytes(4, "little") + b"WEBPVP8 " + len(frame).to_bytes(4, "little") + frame


def build_cut_jpeg() -> bytes:
    """Return the first half of a photograph."""
    buffer = io.BytesIO()
    Image.effect_noise((900, 900), 90).save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


PACKED: Final = zlib.compress(bytes(80_000_000))
