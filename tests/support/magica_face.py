"""Magica's face of the sandbox as a world of its own, and what its apps are asked for."""

from tests.providers.contract.worlds import WORLDS

MAGICA = next(world for world in WORLDS if world.name == "magica")
PROMPT = {"prompt": "a quiet harbour"}
