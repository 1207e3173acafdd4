"""Check that the locks are complete, so that later releases of dependencies cannot break an installation."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"requirements.lock": "build", "requirements-dev.lock": "dev"}
"""Each lock, with the dependency group that it contains besides Flowport's own requirements."""

PLATFORMS = [
    {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": system, "platform_system": name}
    for python in ("3.11", "3.12", "3.13", "3.14")
    for system, name in (("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows"))
]


@dataclass(frozen=True)
class Need:
    """One requirement that is reached from Flowport's own requirements."""

    requirement: Requirement
    of: str


def read_lock(name: str) -> dict[str, list[Requirement]]:
    """Return the pins of a lock by name; a name has several where its version depends on the platform."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [re.sub(r"\s--hash=\S+", "", line).strip() for line in text.splitlines()]
    pins: dict[str, list[Requirement]] = {}
    for pin in (Requirement(line) for line in lines if line and not line.startswith("#")):
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def list_roots(group: str) -> list[Need]:
    """Return the requirements in pyproject.toml: Flowport's own, and a group with the groups that it includes."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    def list_group(name: str) -> Iterator[str]:
        for entry in project["dependency-groups"][name]:
            yield from [entry] if isinstance(entry, str) else list_group(entry["include-group"])

    return [
        Need(Requirement(text), "pyproject.toml") for text in [*project["project"]["dependencies"], *list_group(group)]
    ]


def list_needs(group: str, platform: dict[str, str]) -> Iterator[Need]:
    """Return every requirement that is reached on a platform, with extras; packages that are not installed are not followed."""
    environment: Any = {**default_environment(), **platform}
    waiting = list_roots(group)
    seen: set[tuple[str, str]] = set()
    while waiting:
        need = waiting.pop()
        marker = need.requirement.marker
        if marker is not None and not marker.evaluate({**environment, "extra": ""}):
            continue
        yield need
        for extra in ("", *need.requirement.extras):
            name = canonicalize_name(need.requirement.name)
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += list_requirements(name, extra, environment)


def list_requirements(name: str, extra: str, environment: Any) -> Iterator[Need]:
    """Return what a distribution requires by itself, or for one of its extras."""
    try:
        required = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for text in required:
        requirement = Requirement(text)
        marker, requirement.marker = requirement.marker, None
        if not extra if marker is None else marker.evaluate({**environment, "extra": extra}):
            yield Need(requirement, f"{name}[{extra}]" if extra else name)


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize(
    "platform", PLATFORMS, ids=lambda platform: f"{platform['sys_platform']}-{platform['python_version']}"
)
def test_a_lock_pins_whatever_is_required_with_the_extras_that_it_is_required_with(
    lock: str, platform: dict[str, str]
) -> None:
    """pip uses a pin for `name[extra]` only if the pin has the extra; otherwise it takes the newest release and rejects its hash."""
    environment: Any = {**default_environment(), **platform, "extra": ""}
    pins = {
        name: pin
        for name, several in read_lock(lock).items()
        for pin in several
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    open_ends = [
        f"{need.requirement} of {need.of}: {pins.get(canonicalize_name(need.requirement.name), 'not locked')}"
        for need in list_needs(LOCKS[lock], platform)
        if (pin := pins.get(canonicalize_name(need.requirement.name))) is None
        or not need.requirement.extras <= pin.extras
        or not need.requirement.specifier.contains(get_version(pin), prereleases=True)
    ]

    assert open_ends == []


def test_the_test_above_meets_requirements_with_extras() -> None:
    """Without such requirements that test would prove nothing; these two were once missing from the locks."""
    reached = {str(need.requirement) for need in list_needs("dev", PLATFORMS[0]) if need.requirement.extras}

    assert {re.split(r"[<>=~!]", text)[0].casefold() for text in reached} >= {
        "pyjwt[crypto]",
        "coverage[toml]",
        "httpx2[socks]",
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_release_by_hash_and_names_no_address(lock: str) -> None:
    """A file is identified by its hash, not by its address."""
    text = (ROOT / lock).read_text(encoding="utf-8")

    assert [str(pin) for several in read_lock(lock).values() for pin in several if not get_version(pin)] == []
    assert [entry for entry in re.split(r"\n(?=\S)", text) if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert re.findall(r"^\s*-(?!-hash)\S*", text, re.MULTILINE) == []


def test_the_development_lock_holds_the_same_releases_as_the_other() -> None:
    """The tested releases are those that users run, and the development tools include all of them."""
    development = read_lock("requirements-dev.lock")
    differing = [
        name
        for name, pins in read_lock("requirements.lock").items()
        if [(str(pin.specifier), pin.marker, pin.extras) for pin in pins]
        != [(str(pin.specifier), pin.marker, pin.extras) for pin in development.get(name, [])]
    ]

    assert differing == []


def get_version(pin: Requirement) -> str:
    """Return the single version of a pin; empty if it allows several."""
    (specifier, *more) = pin.specifier
    return specifier.version if specifier.operator == "==" and not more and "*" not in specifier.version else ""
