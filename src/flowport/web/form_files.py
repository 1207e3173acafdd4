"""Read the file of a web form piece by piece, without keeping the form in memory or in another file."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_HEADER_BYTES: Final = 16_384


class FormBroken(Exception):
    """The body is not a form with one file; the text is a sentence safe to show."""


class _FilePart:
    """Collects the pieces of the one part that has a file name."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.files = 0
        self.is_over = False
        self._is_file = False
        self._name = b""
        self._value = b""
        self._header_bytes = 0

    def build_callbacks(self) -> "MultipartCallbacks":
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._is_file, self._header_bytes = False, 0

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._count(end - start)

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count(end - start)

    def _count(self, size_bytes: int) -> None:
        self._header_bytes += size_bytes
        if self._header_bytes > MAX_HEADER_BYTES:
            raise FormBroken("The form is not one of this page.")

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if b"filename" in options:
                self._is_file = True
                self.files += 1
        self._name = self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.pieces.append(data[start:end])

    def _end(self) -> None:
        self.is_over = True


async def iterate_form_file(content_type: str, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Give the pieces of the only file in a form.

    Raises:
        FormBroken: The body is not such a form, is cut off, or holds no file or several.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise FormBroken("The request holds no form.")
    part = _FilePart()
    parser = MultipartParser(boundary, part.build_callbacks())
    async for data in body:
        try:
            parser.write(data)
        except MultipartParseError:
            raise FormBroken("The form is broken.") from None
        if part.files > 1:
            raise FormBroken("The form holds several files.")
        for piece in part.pieces:
            yield piece
        part.pieces.clear()
    if not part.is_over:
        raise FormBroken("The form is cut off.")
    if not part.files:
        raise FormBroken("The form holds no file.")
