"""The files origin, and links that expire."""

from urllib.parse import urlsplit

import pytest

from flowport.sandbox.apps import Product, ProductKind
from flowport.sandbox.web import Refused
from tests.fakes.client import Client
from tests.fakes.magnific.files import FileStore

PRODUCT = Product(ProductKind.IMAGES, "tool", "image/png", b"bytes", 1, 1)


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def make_link(sandbox: Client) -> str:
    """Make a file and return its link."""
    run = await sandbox.finish("Text to Picture", prompt="hills")
    return str(run["result"]["images"][0]["url"])


async def test_links_can_be_made_to_expire(sandbox: Client) -> None:
    """Reading the run again then gives a fresh link to the same file."""
    run_id = await sandbox.start("Text to Picture", prompt="hills")
    item = (await sandbox.end(run_id))["result"]["images"][0]
    await sandbox.switch(f"runs/{run_id}", expire_links=True)
    assert (await sandbox.http.get(item["url"])).status_code == 403
    fresh = (await sandbox.read(run_id))["result"]["images"][0]
    assert fresh["id"] == item["id"]
    assert (await sandbox.http.get(fresh["url"])).status_code == 200


def test_a_link_stays_the_same_until_it_expires() -> None:
    """Two looks at a run must not look like two results."""
    clock = Clock()
    files = FileStore("http://127.0.0.1:1", 60, clock)
    file = files.add("app", PRODUCT)
    first = files.get_url(file.id)
    assert files.get_url(file.id) == first
    clock.now += 60
    assert files.get_url(file.id) != first


def test_a_link_is_refused_from_its_last_second_on() -> None:
    """The second stands in the link's token."""
    clock = Clock()
    files = FileStore("http://127.0.0.1:1", 60, clock)
    url = files.get_url(files.add("app", PRODUCT).id)
    assert "token=exp_1060~hmac_" in url
    assert files.open_url(url).product is PRODUCT
    clock.now = 1060
    with pytest.raises(Refused, match="403"):
        files.open_url(url)


def test_a_link_opens_its_own_path_only() -> None:
    """A token is good for one name of one file."""
    files = FileStore("http://127.0.0.1:1", 60, Clock())
    parts = urlsplit(files.get_url(files.add("app", PRODUCT).id))
    with pytest.raises(Refused, match="404"):
        files.open_link(parts.path + "x", parts.query.removeprefix("token="))
