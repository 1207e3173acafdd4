"""How long a sound is, by its header, or by its last page where only that tells."""

from typing import BinaryIO, Final, cast

from flowport.media.file_parts import MAX_STEPS, Measures, Part, View, build_measures, count_file_bytes, read_at
from flowport.media.sniff import find_mp3_frame

_MAX_TAGS: Final = 8
_TAG_BYTES: Final = 10
_MAX_PADDING_BYTES: Final = 4096
_LAST_PAGE_BYTES: Final = 65_307
"""The longest page of Ogg (RFC 3533)."""
_OPUS_HERTZ: Final = 48_000
_UNKNOWN_BYTES: Final = 0xFFFFFFFF


def skip_tags(file: BinaryIO) -> int:
    """Return where the sound begins behind tags (ID3v2) and the zeros that may fill them up."""
    place = 0
    for _ in range(_MAX_TAGS):
        tag = read_at(file, place, _TAG_BYTES)
        if tag[:3] != b"ID3" or len(tag) < _TAG_BYTES or max(tag[6:]) >= 0x80:  # noqa: PLR2004 - seven bits each
            break
        has_footer = bool(tag[5] & 0x10)
        place += _TAG_BYTES * (1 + has_footer) + sum(part << 7 * (3 - n) for n, part in enumerate(tag[6:]))
        place += _count_padding(read_at(file, place, _MAX_PADDING_BYTES))
    return place


def view_untagged(file: BinaryIO) -> BinaryIO:
    """Return the file as it is behind its tags; the file itself when it has none."""
    place = skip_tags(file)
    return cast("BinaryIO", View(file, [Part(place, max(0, count_file_bytes(file) - place))])) if place else file


def _count_padding(data: bytes) -> int:
    """Return how many zeros fill a tag up; those with which the length of a box begins do not."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    box = data.find(b"ftyp", zeros, zeros + 8)
    return min(zeros, box - 4) if box >= 4 else zeros  # noqa: PLR2004 - bytes of the length


def measure_wav(file: BinaryIO) -> Measures:
    """Return the extent of a RIFF/WAVE file: the length of its data at the rate that its format tells."""
    end, place, rate = count_file_bytes(file), skip_tags(file) + 12, 0
    for _ in range(MAX_STEPS):
        header = read_at(file, place, 8)
        if len(header) < 8:  # noqa: PLR2004 - a chunk's name and length
            break
        length, place = int.from_bytes(header[4:], "little"), place + 8
        if header[:4] == b"fmt ":
            rate = int.from_bytes(read_at(file, place, 12)[8:], "little")
        if header[:4] == b"data":
            # A recorder that streams does not know the length when it writes the header.
            sound_bytes = min(length if length != _UNKNOWN_BYTES else end, end - place)
            return build_measures(seconds=sound_bytes / rate if rate else 0.0)
        place += length + length % 2
    return build_measures()


def measure_flac(file: BinaryIO) -> Measures:
    """Return the extent that the first block of a FLAC file tells (RFC 9639, 8.2)."""
    block = read_at(file, skip_tags(file) + 8, 18)
    hertz = int.from_bytes(block[10:13], "big") >> 4
    samples = int.from_bytes(block[13:18], "big") & 0xFFFFFFFFF
    return build_measures(seconds=samples / hertz if hertz else 0.0)


def measure_ogg(file: BinaryIO) -> Measures:
    """Return the extent of Vorbis or Opus in Ogg: the instant of the last page at the rate of the first."""
    head, end = read_at(file, skip_tags(file), 128), count_file_bytes(file)
    vorbis, opus = head.find(b"\x01vorbis"), head.find(b"OpusHead")
    hertz = int.from_bytes(head[vorbis + 12 : vorbis + 16], "little") if vorbis >= 0 else 0
    skipped = int.from_bytes(head[opus + 10 : opus + 12], "little") if opus >= 0 else 0
    hertz = _OPUS_HERTZ if opus >= 0 else hertz
    tail = read_at(file, max(0, end - _LAST_PAGE_BYTES), _LAST_PAGE_BYTES)
    page = tail[tail.rfind(b"OggS") :]
    instant = int.from_bytes(page[6:14], "little", signed=True) if len(page) >= 14 else 0  # noqa: PLR2004
    return build_measures(seconds=(instant - skipped) / hertz if hertz else 0.0)


def measure_mp3(file: BinaryIO) -> Measures:
    """Return the extent of an MP3: what its first frame tells of all, else its length at the rate of that frame."""
    start = skip_tags(file)
    head, end = read_at(file, start, 4096), count_file_bytes(file)
    frame = find_mp3_frame(head)
    if frame is None:
        return build_measures()
    frames = _parse_frame_count(head) or (end - start) / frame.size_bytes
    return build_measures(seconds=frames * frame.samples / frame.hertz)


def _parse_frame_count(head: bytes) -> int:
    """Return how many frames follow, which encoders of varying rate write into the first; 0 when they did not."""
    # Where the words stand depends on version and channels; nothing but silence comes before them.
    for word, skipped in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        place = head.find(word, 0, 64)
        field = head[place + skipped : place + skipped + 4]
        # The first two say by a flag whether they count the frames.
        if place >= 0 and (word == b"VBRI" or int.from_bytes(head[place + 4 : place + 8], "big") & 1):
            return int.from_bytes(field, "big")
    return 0
