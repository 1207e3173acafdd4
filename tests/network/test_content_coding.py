"""Content codings of downloads that no one asked for."""

import gzip
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.network.causes import FetchError
from flowport.network.content_coding import MAX_IDLE_BYTES, PIECE_BYTES, BrokenCoding, Unpacker, find_unreadable_coding
from flowport.network.file_transfer import FetchRules
from tests.support.fetching import build_answer, fetch, serving

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
    """Whatever a store writes into the header; the type is read from the bytes."""
    async with serving({"/": build_answer(PACKED[coding], f"Content-Encoding: {coding}")}) as server:
        _, written = await fetch(server)
    assert written == DATA


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "BR", "gzip, br", "dcz"])
async def test_another_coding_is_named(coding: str) -> None:
    """It is known to be one, and the file is not available from behind it."""
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


EMPTY = gzip.compress(b"")
MANY_MEMBERS = {
    "empty": (EMPTY * 3000, b""),
    "empty before data": (EMPTY * 3000 + gzip.compress(DATA), DATA),
    "empty after data": (gzip.compress(DATA) + EMPTY * 3000, DATA),
    "empty between data": ((EMPTY * 1000 + gzip.compress(DATA)) * 3, DATA * 3),
    "one byte each": (gzip.compress(b"x") * 3000, b"x" * 3000),
}


@pytest.mark.parametrize(("packed", "data"), MANY_MEMBERS.values(), ids=MANY_MEMBERS)
@pytest.mark.parametrize("layers", [1, 2])
def test_any_number_of_members_is_unpacked(packed: bytes, data: bytes, layers: int) -> None:
    """Members are unpacked one after the other, not one inside the other."""
    body = packed if layers == 1 else gzip.compress(packed)
    unpacker = Unpacker(", ".join(["gzip"] * layers))
    assert (b"".join(unpacker.feed(body)), unpacker.is_whole) == (data, True)


async def test_a_file_behind_many_members_is_saved() -> None:
    """The body arrives in the pieces that the network makes."""
    packed, data = MANY_MEMBERS["empty between data"]
    async with serving({"/": build_answer(packed, "Content-Encoding: gzip")}) as server:
        _, written = await fetch(server)
    assert written == data


IDLE = {
    "members": ("gzip", EMPTY * (MAX_IDLE_BYTES // len(EMPTY) + 2)),
    "blocks": ("deflate", b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * (MAX_IDLE_BYTES // 5 + PIECE_BYTES)),
    "trailing": ("gzip", gzip.compress(DATA) + bytes(MAX_IDLE_BYTES + 1)),
    "trailing deflate": ("deflate", deflate(DATA, is_bare=False) + bytes(MAX_IDLE_BYTES + 1)),
}


@pytest.mark.parametrize(("coding", "body"), IDLE.values(), ids=IDLE)
@pytest.mark.parametrize("layers", [1, 2])
def test_bytes_that_stand_for_nothing_stop_at_a_limit(coding: str, body: bytes, layers: int) -> None:
    """No limit on the size of the file would ever be reached, and an outer layer makes them from a few bytes."""
    unpacker = Unpacker(coding if layers == 1 else f"{coding}, gzip")
    with pytest.raises(BrokenCoding):
        list(unpacker.feed(body if layers == 1 else gzip.compress(body)))


@pytest.mark.parametrize("cut", [1, 7, 4096])
def test_what_follows_the_last_member_is_not_read(cut: int) -> None:
    """Padding stays padding, wherever the network cuts it."""
    packed = gzip.compress(DATA) + bytes(8) + gzip.compress(b"x")
    unpacker = Unpacker("gzip")
    out = [piece for start in range(0, len(packed), cut) for piece in unpacker.feed(packed[start : start + cut])]
    assert (b"".join(out), unpacker.is_whole) == (DATA, True)


@given(st.binary(max_size=500))
def test_no_bytes_break_the_unpacker(data: bytes) -> None:
    """They are unpacked, or said to be broken."""
    for coding in ("gzip", "deflate"):
        try:
            list(Unpacker(coding).feed(data))
        except BrokenCoding:
            continue
