"""A refusal says what is true of the operation that was refused."""

import pytest

from flowport.domain.errors import Operation, ProviderRejected

OF_APPS = {Operation.DESCRIBE_APP, Operation.START_RUN, Operation.ESTIMATE_PRICE}
OF_RUNS = {Operation.READ_RUN, Operation.READ_RUNS, Operation.CANCEL_RUN}


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 415, 422])
@pytest.mark.parametrize("operation", Operation)
def test_a_cause_fits_its_operation(operation: Operation, status: int) -> None:
    """An app, a run, inputs or a file are named only where the request was about one."""
    cause = ProviderRejected("Magnific", operation, status).cause
    assert ("no such app" in cause) == (operation in OF_APPS and status == 404)
    assert ("no such run" in cause) == (operation in OF_RUNS and status == 404)
    assert ("these inputs" in cause) == (operation is Operation.START_RUN and status == 422)
    assert ("this kind of file" in cause) <= (operation in {Operation.START_RUN, Operation.REQUEST_UPLOAD})
    assert ("no place for uploads" in cause) == (operation is Operation.REQUEST_UPLOAD and status in {404, 405, 410})
