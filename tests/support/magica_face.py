"""The Magica fake as a world of the contract tests, and arguments for its apps."""

from tests.providers.contract.worlds import WORLDS

MAGICA = next(world for world in WORLDS if world.name == "magica")
PROMPT = {"prompt": "a quiet harbour"}
