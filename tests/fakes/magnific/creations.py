"""What a run's inputs may name: results of earlier runs and uploaded files, by id or by link."""

import re
from dataclasses import dataclass
from typing import Final

from flowport.sandbox.apps import Product
from flowport.sandbox.web import Refused
from tests.fakes.magica.library import Library
from tests.fakes.magnific.files import FileStore
from tests.fakes.magnific.uploads import UploadStore

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Creations:
    """The stores of finished files."""

    files: FileStore
    uploads: UploadStore
    library: Library

    def find(self, value: str) -> Product | None:
        """Return what an id or a link means, or None when the value is neither.

        Raises:
            Refused: 422 for a link that is no longer good, or leads elsewhere.
        """
        if file := self.files.get(value):
            return file.product
        if not _URL.match(value):
            return None
        try:
            return self.uploads.open_url(value) or self.library.open_url(value) or self.files.open_url(value).product
        except Refused as exc:
            raise Refused(422, exc.message) from exc
