"""The tune."""

import io
import wave

from flowport.sandbox.engine import SAMPLE_RATE, TUNE_SECONDS, compose_tune


def test_a_tune_is_a_wav_of_the_promised_length() -> None:
    """And it is not silence."""
    with wave.open(io.BytesIO(compose_tune("merry"))) as tune:
        assert tune.getnframes() == round(SAMPLE_RATE * TUNE_SECONDS)
        assert len(set(tune.readframes(SAMPLE_RATE))) > 100


def test_a_tune_belongs_to_its_text() -> None:
    """The same words give the same tune, others another one."""
    assert compose_tune("merry") == compose_tune("merry") != compose_tune("sad")
