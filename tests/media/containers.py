"""Files of pictures that move and of sound, made of the few parts that their parsers look at."""

import struct

SQUARE_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
TURNED_MATRIX = struct.pack(">9I", 0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)


def box(name: bytes, *parts: bytes) -> bytes:
    """Return a box of MP4 with these parts inside."""
    data = b"".join(parts)
    return (len(data) + 8).to_bytes(4, "big") + name + data


def long_box(name: bytes, *parts: bytes) -> bytes:
    """Return a box that reports its length in eight bytes."""
    data = b"".join(parts)
    return b"\0\0\0\1" + name + (len(data) + 16).to_bytes(8, "big") + data


def movie_header(*, scale: int, ticks: int, version: int = 0) -> bytes:
    """Return the box with a movie's length."""
    if version:
        return box(b"mvhd", b"\1\0\0\0", bytes(16), struct.pack(">IQ", scale, ticks), bytes(80))
    return box(b"mvhd", bytes(4), bytes(8), struct.pack(">II", scale, ticks), bytes(80))


def track(width: float, height: float, *, matrix: bytes = SQUARE_MATRIX, version: int = 0) -> bytes:
    """Return a track with a picture of a size."""
    times = bytes(32 if version else 20)
    sides = struct.pack(">II", round(width * 65536), round(height * 65536))
    return box(b"trak", box(b"tkhd", bytes([version, 0, 0, 7]), times, bytes(16), matrix, sides))


def cover(picture: bytes, *, is_quicktime: bool = False) -> bytes:
    """Return the box in which a movie's makers put a picture for its cover."""
    items = box(b"ilst", box(b"covr", box(b"data", b"\0\0\0\x0e", bytes(4), picture)))
    return box(b"udta", box(b"meta", b"" if is_quicktime else bytes(4), box(b"hdlr", bytes(25)), items))


def mp4(*parts: bytes) -> bytes:
    """Return an MP4 with these parts in its movie box, which comes after the pictures."""
    return box(b"ftyp", b"isom", bytes(4), b"isommp41") + box(b"mdat", bytes(500)) + box(b"moov", *parts)


def element(name: int, data: bytes) -> bytes:
    """Return an element of Matroska."""
    length = (len(data) | 1 << 28).to_bytes(4, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + length + data


def webm(*, ticks: float | None, width: int, height: int, scale: int | None = 1_000_000) -> bytes:
    """Return a WebM with one picture track, whose segment does not report its length."""
    info = element(0x2AD7B1, scale.to_bytes(4, "big")) if scale else b""
    info += element(0x4489, struct.pack(">d", ticks)) if ticks is not None else b""
    video = element(0xE0, element(0xB0, width.to_bytes(2, "big")) + element(0xBA, height.to_bytes(2, "big")))
    head = element(0x1A45DFA3, b"\x42\x82\x84webm")
    body = element(0x1549A966, info) + element(0x1654AE6B, element(0xAE, element(0xD7, b"\1") + video))
    return head + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + body + element(0x1F43B675, bytes(500))


def wav(*, seconds: float, rate: int = 16_000, reported: int | None = None, between: bytes = b"") -> bytes:
    """Return a WAV of silence; a length of its own makes its header lie."""
    data = bytes(int(seconds * rate))
    length = struct.pack("<I", len(data) if reported is None else reported)
    chunks = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8) + between + b"data" + length + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def mp3(*, frames: int, first: bytes = b"", tag: bytes = b"") -> bytes:
    """Return an MP3 of 128 kbit/s and 44.1 kHz; its first frame may hold words of an encoder."""
    frame = b"\xff\xfb\x90\x00"
    return tag + frame + bytes(32) + first.ljust(381, b"\0") + (frame + bytes(413)) * (frames - 1)


def flac(*, hertz: int, samples: int) -> bytes:
    """Return the beginning of a FLAC file."""
    numbers = (hertz << 44 | 1 << 41 | 15 << 36 | samples).to_bytes(8, "big")
    return b"fLaC\x80\0\0\x22" + bytes(10) + numbers + bytes(16)


def ogg(first: bytes, *, instant: int) -> bytes:
    """Return Ogg with a first and a last page."""
    page = b"OggS\0\2" + bytes(8) + bytes(12) + bytes([1, len(first)]) + first
    return page + bytes(200) + b"OggS\0\4" + struct.pack("<q", instant) + bytes(14) + b"end"
