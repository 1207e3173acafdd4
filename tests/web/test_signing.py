"""Signatures of addresses: one purpose each, verified by every secret of the home, made by the first."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.web.signing import SECRETS_NAME, Purpose, Signer, load_signer


def test_a_signature_fits_its_purpose_and_text_alone(tmp_path: Path) -> None:
    """A signature for one purpose or text never proves another."""
    signer = load_signer(tmp_path)
    signature = signer.sign(Purpose.OUTPUT, "run_1/1")
    assert signer.is_valid(Purpose.OUTPUT, "run_1/1", signature)
    assert not signer.is_valid(Purpose.UPLOAD, "run_1/1", signature)
    assert not signer.is_valid(Purpose.OUTPUT, "run_1/2", signature)
    assert not any(
        signer.is_valid(Purpose.OUTPUT, "run_1/1", text) for text in ("", "é", signature[:-1], signature.upper())
    )


def test_the_secret_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    """A second start uses the secret of the first, in a file that other users cannot read."""
    signature = load_signer(tmp_path).sign(Purpose.WEBHOOK, "x")
    assert load_signer(tmp_path).is_valid(Purpose.WEBHOOK, "x", signature)
    assert stat.S_IMODE((tmp_path / SECRETS_NAME).stat().st_mode) == 0o600


def test_a_new_secret_on_top_keeps_older_signatures(tmp_path: Path) -> None:
    """After a rotation the new secret signs, and what the old one signed is accepted until its line is removed."""
    old = load_signer(tmp_path).sign(Purpose.OUTPUT, "x")
    path = tmp_path / SECRETS_NAME
    path.write_text("a" * 64 + "\n" + path.read_text())
    signer = load_signer(tmp_path)
    assert signer.sign(Purpose.OUTPUT, "x") != old
    assert signer.is_valid(Purpose.OUTPUT, "x", old)
    path.write_text("a" * 64)
    assert not load_signer(tmp_path).is_valid(Purpose.OUTPUT, "x", old)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty, short or unreadable secret stops the server; the message does not quote it."""
    (tmp_path / SECRETS_NAME).write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"FLOWPORT_HOME holds a file web-secrets"):
        load_signer(tmp_path)


def test_replicas_that_start_together_have_one_secret(tmp_path: Path) -> None:
    """The address that one replica signs is opened by every other one, also of the first start."""
    with ThreadPoolExecutor(8) as pool:
        for home in (tmp_path / str(number) for number in range(20)):
            together = Barrier(8)

            def load(home: Path = home, together: Barrier = together) -> Signer:
                """Load it when all do."""
                together.wait()
                return load_signer(home)

            signatures = {one.result().sign(Purpose.OUTPUT, "x") for one in [pool.submit(load) for _ in range(8)]}

            assert len(signatures) == 1
            assert [path.name for path in home.iterdir()] == [SECRETS_NAME]
