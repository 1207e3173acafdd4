"""The web addresses of saved files, for people who cannot read the paths of this computer.

A web server provides them when it listens. The links outlive those of a provider: what is shown of a run names them as soon
as its files are saved. The record of the run keeps paths and the provider's own links.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from flowport.domain.models import Output, Run
from flowport.domain.principal import Principal
from flowport.store.received_files import ReceivedFile
from flowport.store.records import BatchProgress, RowStatus


@dataclass(frozen=True, slots=True)
class WebLink:
    """An address that works without other proof until it expires."""

    url: str
    expires_at: float


class WebLinks(Protocol):
    """Builds the addresses of a web server and reads them again."""

    def build_output_link(self, run_id: str, n: int) -> WebLink:
        """Return the link of a saved output."""

    def build_table_link(self, batch_id: str) -> WebLink:
        """Return the link of a batch's table."""

    def build_upload_link(self, ticket: ReceivedFile) -> WebLink:
        """Return the link under which a file can be uploaded once."""

    def parse_output_link(self, url: str) -> tuple[str, int] | None:
        """Return the run id and number of the output that an address of this server names; None for any other address."""

    def parse_upload_link(self, url: str) -> str:
        """Return the id of the file that was or may be uploaded at an address of this server; empty for any other address."""


class GalleryLinks(Protocol):
    """Builds the addresses under which people open their galleries."""

    def build_gallery_link(self, principal: Principal) -> WebLink:
        """Return an address that signs a person in, once and soon."""


@dataclass(slots=True)
class FileLinks:
    """What people see of saved files."""

    web: WebLinks | None = None
    """None until a web server listens; then people elsewhere have no links but the provider's."""
    gallery: GalleryLinks | None = None
    """None until a web server listens."""

    def parse_output_link(self, url: str) -> tuple[str, int] | None:
        """Return what a link of ours names; None for any other address."""
        return None if self.web is None else self.web.parse_output_link(url)

    def find_gallery(self, principal: Principal) -> WebLink | None:
        """Return where a person at another computer opens the gallery; None where no web server shows it."""
        return None if principal.is_local or self.gallery is None else self.gallery.build_gallery_link(principal)

    def parse_upload_link(self, url: str) -> str:
        """Return which upload a link of ours is for; empty for any other address."""
        return "" if self.web is None else self.web.parse_upload_link(url)

    def show_run(self, run: Run, principal: Principal) -> Run:
        """Return a run as a person may see it: with the paths of this computer, or with links instead."""
        if principal.is_local or not any(output.saved_path for output in run.outputs):
            return run
        return replace(run, outputs=tuple(self._show_output(run.id, output) for output in run.outputs))

    def show_rows(self, rows: Sequence[RowStatus], principal: Principal) -> tuple[RowStatus, ...]:
        """Return the rows of a batch as a person may see them."""
        return tuple(row if row.run is None else replace(row, run=self.show_run(row.run, principal)) for row in rows)

    def show_progress(self, batch: Run, progress: BatchProgress, principal: Principal) -> BatchProgress:
        """Return the progress of a batch with the path of its table, or the link of it."""
        if principal.is_local or not progress.csv_path:
            return progress
        return replace(progress, csv_path="" if self.web is None else self.web.build_table_link(batch.id).url)

    def _show_output(self, run_id: str, output: Output) -> Output:
        if not output.saved_path:
            return output
        if self.web is None:
            return replace(output, saved_path="")
        link = self.web.build_output_link(run_id, output.n)
        return replace(output, url=link.url, expires_at=link.expires_at, saved_path="")
