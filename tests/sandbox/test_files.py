"""The files origin, and links that expire."""

from urllib.parse import urlsplit

import pytest

from flowport.sandbox.apps import Product, ProductKind
from flowport.sandbox.files import Files
from flowport.sandbox.storage import Storage
from flowport.sandbox.web import Refused
from tests.sandbox.client import Client

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


async def test_a_file_comes_with_its_type_and_length(sandbox: Client) -> None:
    """And from another origin than the interface, without a key."""
    url = await make_link(sandbox)
    answer = await sandbox.http.get(url, headers={"x-magnific-api-key": ""})
    assert url.startswith(sandbox.addresses.files_url + "/")
    assert (answer.headers["content-type"], answer.headers["content-length"]) == ("image/png", str(len(answer.content)))


async def test_head_reports_the_length_alone(sandbox: Client) -> None:
    """Some clients ask before they fetch."""
    url = await make_link(sandbox)
    head, full = await sandbox.http.head(url), await sandbox.http.get(url)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(full.content)))


@pytest.mark.parametrize("change", ["x", "?token=", "?token=%C3%A9"])
async def test_a_wrong_token_is_forbidden(sandbox: Client, change: str) -> None:
    """Only the whole link opens the file."""
    url = await make_link(sandbox)
    bad = url + change if change == "x" else url.partition("?")[0] + change
    assert (await sandbox.http.get(bad)).status_code == 403


async def test_an_unknown_file_is_not_found(sandbox: Client) -> None:
    """Whatever the token."""
    url = f"{sandbox.addresses.files_url}/private/production/none/render.png"
    assert (await sandbox.http.get(url)).status_code == 404


def build_files(clock: Clock) -> Files:
    """Return a store whose links live a minute, with one file."""
    files = Files("http://127.0.0.1:1", Storage(), 60, clock)
    files.add("run", PRODUCT)
    return files


def get_url(files: Files) -> str:
    """Return the link of the file."""
    return str(files.describe_run("run")["images"][0]["url"])


def test_a_link_stays_the_same_until_it_expires() -> None:
    """Two looks at a run must not look like two results."""
    clock = Clock()
    files = build_files(clock)
    first = get_url(files)
    assert get_url(files) == first
    clock.now += 60
    assert get_url(files) != first


def test_a_link_is_refused_from_its_last_second_on() -> None:
    """The second stands in the link's token."""
    clock = Clock()
    files = build_files(clock)
    url = get_url(files)
    assert "token=exp_1060~hmac_" in url
    assert files.find(url) == PRODUCT
    clock.now = 1060
    with pytest.raises(Refused, match="422"):
        files.find(url)


def test_a_link_opens_its_own_path_only() -> None:
    """A token is good for one name of one file."""
    files = build_files(Clock())
    parts = urlsplit(get_url(files))
    with pytest.raises(Refused, match="404"):
        files.open_link(parts.path + "x", parts.query.removeprefix("token="))


@pytest.mark.parametrize("value", ["none", "aGVsbG8=", "data:image/png;base64,aGVsbG8="])
def test_what_is_neither_an_id_nor_a_link_is_not_a_file(value: str) -> None:
    """It may be base64."""
    assert build_files(Clock()).find(value) is None
