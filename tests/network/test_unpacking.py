"""Content codings of downloads that nobody asked for."""

import gzip
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.fetch import FetchRules
from flowport.network.errors import FetchError
from flowport.network.unpacking import PIECE_BYTES, BrokenCoding, Unpacker, find_unreadable_coding
from tests.fetching import build_answer, fetch, serving

DATA = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


def deflate(data: bytes, *, is_bare: bool) -> bytes:
    """Return data as `deflate` writes it, or as some servers do."""
    packer = zlib.compressobj(wbits=-15 if is_bare else 15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "aws-chunked": DATA,
    "AWS-Chunked": DATA,
    "utf-8": DATA,
    "none": DATA,
    "binary": DATA,
    "": DATA,
    "identity": DATA,
    "gzip": gzip.compress(DATA),
    "X-GZip": gzip.compress(DATA),
    "deflate": deflate(DATA, is_bare=False),
    " deflate ": deflate(DATA, is_bare=True),
    "aws-chunked, gzip": gzip.compress(DATA),
    "gzip,aws-chunked": gzip.compress(DATA),
    "gzip, gzip": gzip.compress(gzip.compress(DATA)),
    "deflate, gzip": gzip.compress(deflate(DATA, is_bare=False)),
}


@pytest.mark.parametrize("coding", PACKED, ids=repr)
async def test_what_came_is_the_file(coding: str) -> None:
    """Whatever a store writes into the header; the type is told by the bytes."""
    async with serving({"/": build_answer(PACKED[coding], f"Content-Encoding: {coding}")}) as server:
        _, written = await fetch(server)
    assert written == DATA


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "BR", "gzip, br", "dcz"])
async def test_another_coding_is_named(coding: str) -> None:
    """It is known to be one, and the file cannot be had from behind it."""
    async with serving({"/": build_answer(DATA, f"Content-Encoding: {coding}")}) as server:
        with pytest.raises(FetchError, match=rf"compressed \({coding.rpartition(' ')[2].lower()}\)"):
            await fetch(server)


BROKEN = [gzip.compress(DATA)[:-9], gzip.compress(DATA)[:40], b"\x1f", DATA, b"\x1f\x8b" + DATA]


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
async def test_what_cannot_be_unpacked_is_not_saved(body: bytes) -> None:
    """Half a file is a lost result."""
    async with serving({"/": build_answer(body, "Content-Encoding: gzip")}) as server:
        with pytest.raises(FetchError, match="cannot be unpacked"):
            await fetch(server)


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
async def test_a_few_bytes_that_stand_for_gigabytes_stop_at_the_limit(coding: str) -> None:
    """Neither the disk nor the memory is filled."""
    bomb = gzip.compress(bytes(64 * 1024**2))
    body = gzip.compress(bomb) if "," in coding else bomb
    async with serving({"/": build_answer(body, f"Content-Encoding: {coding}")}) as server:
        rules = FetchRules(max_bytes=1024**2, trusted_origins=frozenset({server.origin}))
        with pytest.raises(FetchError, match="larger than 1 MB"):
            await fetch(server, rules=rules)


def test_no_more_layers_than_a_few() -> None:
    """Each one multiplies."""
    assert find_unreadable_coding("gzip, " * 3) == ""
    assert find_unreadable_coding("gzip, " * 4) != ""


@given(data=st.binary(max_size=3000), cut=st.integers(1, 50), members=st.integers(1, 3))
def test_the_same_comes_out_however_it_is_cut(data: bytes, cut: int, members: int) -> None:
    """The network decides where pieces end; a file may have several members."""
    packed = gzip.compress(data) * members
    unpacker, out = Unpacker("gzip"), io.BytesIO()
    for start in range(0, len(packed), cut):
        for piece in unpacker.feed(packed[start : start + cut]):
            assert len(piece) <= PIECE_BYTES
            out.write(piece)
    assert (out.getvalue(), unpacker.is_whole) == (data * members, True)


@given(st.binary(max_size=500))
def test_no_bytes_break_the_unpacker(data: bytes) -> None:
    """They are unpacked, or said to be broken."""
    for coding in ("gzip", "deflate"):
        try:
            list(Unpacker(coding).feed(data))
        except BrokenCoding:
            continue
