"""The fake answers as the demo does: the same tests, on the fake."""

from tests.sandbox.test_access import *  # noqa: F403
from tests.sandbox.test_api import *  # noqa: F403
from tests.sandbox.test_file_origin import *  # noqa: F403
from tests.sandbox.test_uploads import *  # noqa: F403
