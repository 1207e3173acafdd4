"""A short tune made from nothing but a text: the same text gives the same tune."""

import hashlib
import io
import math
import random
import struct
import wave
from typing import Final

SAMPLE_RATE: Final = 16_000
TUNE_SECONDS: Final = 2.8

# Major and minor pentatonics, in semitones: no two of their notes clash, so any order of them sounds meant.
_SCALES: Final = ((0, 2, 4, 7, 9, 12), (0, 3, 5, 7, 10, 12))
_LOWEST_HERTZ: Final = 220.0
_NOTES: Final = 10
_OVERTONES: Final = ((1, 1.0), (2, 0.38), (3, 0.16), (4, 0.07))
"""Multiple of the pitch and loudness: roughly a plucked music box."""

_TABLE_SIZE: Final = 512
_NOTE_SECONDS: Final = 1.1
_DECAY_PER_SECOND: Final = 0.012  # what is left of a note's loudness after a second


def compose_tune(text: str) -> bytes:
    """Compose the tune that belongs to a text, as a mono WAV file of `TUNE_SECONDS`."""
    dice = random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - a tune, not a secret
    scale, root = dice.choice(_SCALES), _LOWEST_HERTZ * 2 ** (dice.randrange(12) / 12)
    samples = [0.0] * round(SAMPLE_RATE * TUNE_SECONDS)
    period, step = _build_period(), dice.randrange(len(scale))
    for beat in range(_NOTES):
        step = max(0, min(len(scale) - 1, step + dice.choice((-2, -1, -1, 1, 1, 2))))
        _pluck(samples, period, beat * 0.22, root * 2 ** (scale[step] / 12))
    _pluck(samples, period, (_NOTES - 1) * 0.22, root)
    return _encode_wav(samples)


def _build_period() -> list[float]:
    """Build one period of the tone, so that a note costs one look-up for each sample."""
    turns = [math.tau * index / _TABLE_SIZE for index in range(_TABLE_SIZE)]
    return [sum(loud * math.sin(times * turn) for times, loud in _OVERTONES) for turn in turns]


def _pluck(samples: list[float], period: list[float], start_seconds: float, hertz: float) -> None:
    """Add one dying note to what is there."""
    first = round(start_seconds * SAMPLE_RATE)
    last = min(len(samples), first + round(_NOTE_SECONDS * SAMPLE_RATE))
    step, decay = hertz * _TABLE_SIZE / SAMPLE_RATE, _DECAY_PER_SECOND ** (1 / SAMPLE_RATE)
    phase, loud = 0.0, 1.0
    for index in range(first, last):
        samples[index] += loud * period[int(phase) % _TABLE_SIZE]
        phase += step
        loud *= decay


def _encode_wav(samples: list[float]) -> bytes:
    loudest = max(abs(sample) for sample in samples)
    fade = round(SAMPLE_RATE * 0.15)
    count = len(samples)
    levels = [round(26_000 / loudest * s * min(1.0, (count - i) / fade)) for i, s in enumerate(samples)]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as tune:
        tune.setnchannels(1)
        tune.setsampwidth(2)
        tune.setframerate(SAMPLE_RATE)
        tune.writeframes(struct.pack(f"<{count}h", *levels))
    return buffer.getvalue()
