"""What inputs may name."""

import pytest

from flowport.sandbox.apps import Product, ProductKind
from flowport.sandbox.web import Refused
from tests.fakes.magica.library import Library
from tests.fakes.magnific.creations import Creations
from tests.fakes.magnific.files import FileStore
from tests.fakes.magnific.uploads import UploadStore

ORIGIN = "http://127.0.0.1:1"
PICTURE = Product(ProductKind.IMAGES, "x", "image/png", b"png")


@pytest.fixture
def creations() -> Creations:
    """Return both stores, empty."""
    return Creations(FileStore(ORIGIN, 60), UploadStore(ORIGIN), Library(ORIGIN))


def test_a_result_is_named_by_its_id_or_its_link(creations: Creations) -> None:
    """Magnific API 1.0.0, run-flow."""
    file = creations.files.add("app", PICTURE)
    assert creations.find(file.id) is PICTURE
    assert creations.find(creations.files.get_url(file.id)) is PICTURE


def test_what_is_neither_id_nor_link_is_left_to_others(creations: Creations) -> None:
    """It may be base64."""
    assert creations.find("iVBORw0KGgo=") is None


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a.png", f"{ORIGIN}/uploads/x/asset?token=y", f"{ORIGIN}/uploads/x", f"{ORIGIN}/private/x"],
)
def test_a_link_that_leads_nowhere_is_a_422(creations: Creations, url: str) -> None:
    """A run whose picture is not available is not started."""
    with pytest.raises(Refused) as caught:
        creations.find(url)
    assert caught.value.status == 422
