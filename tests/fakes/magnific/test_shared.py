"""The fake answers as the demo does: the same tests, on the fake."""

from tests.sandbox.test_access import *  # noqa: F403
from tests.sandbox.test_api import *  # noqa: F403
from tests.sandbox.test_file_origin import *  # noqa: F403
from tests.sandbox.test_official_schemas import (  # noqa: F401
    test_errors_are_as_documented,
    test_films_and_sounds_are_as_documented,
    test_the_lists_are_as_documented,
)
from tests.sandbox.test_uploads import *  # noqa: F403
