"""The fakes as a process."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.provider_process import open_provider


def get_status(url: str, key: str) -> int:
    """Ask with the key and return the status."""
    request = urllib.request.Request(url, headers={"x-freepik-api-key": key, "authorization": f"Bearer gx_{key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


@pytest.mark.parametrize(("style", "statuses"), [("flows", [200, 404]), ("apps", [404, 200]), ("both", [200, 200])])
def test_the_paths_that_exist_are_chosen_by_a_flag(tmp_path: Path, style: str, statuses: list[int]) -> None:
    """A client of either time can be tried."""
    with open_provider(tmp_path, "--style", style, "--key", "abc") as provider:
        url = provider.variables["MAGNIFIC_BASE_URL"]
        assert [get_status(f"{url}/v1/ai/{family}", "abc") for family in ("flows", "apps")] == statuses


def test_it_speaks_both_apis_and_announces_them(tmp_path: Path) -> None:
    """Three variables for each provider; a limit is the real one unless it is lifted."""
    with open_provider(tmp_path, "--key", "abc", requests_per_minute=50) as provider:
        reported = provider.variables
        request = urllib.request.Request(
            f"{reported['MAGICA_BASE_URL']}/v1/workflows",
            headers={"authorization": f"Bearer {reported['MAGICA_API_KEY']}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            remaining = answer.headers["x-ratelimit-remaining"]
    assert (reported["MAGICA_API_KEY"], remaining) == ("gx_abc", "59")
    assert reported["MAGICA_FILE_ORIGINS"] == reported["MAGNIFIC_FILE_ORIGINS"]
