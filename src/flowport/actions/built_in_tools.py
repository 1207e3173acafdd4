"""The seven tools that are always there, whatever the catalogue holds."""

from collections.abc import Mapping
from typing import Final

from flowport.actions.cancel_run import CANCEL_RUN
from flowport.actions.find_apps import FIND_APPS
from flowport.actions.get_balance import GET_BALANCE
from flowport.actions.get_run import GET_RUN
from flowport.actions.list_runs import LIST_RUNS
from flowport.actions.request_upload import REQUEST_UPLOAD
from flowport.actions.run_app import RUN_APP
from flowport.actions.run_batch import RUN_BATCH
from flowport.actions.tool import BuiltInTool
from flowport.domain.principal import Principal

BUILT_IN_TOOLS: Final = {
    tool.name: tool for tool in (FIND_APPS, RUN_APP, RUN_BATCH, GET_RUN, LIST_RUNS, CANCEL_RUN, GET_BALANCE)
}
"""By name, in the order of the tool list."""

_ELSEWHERE: Final = {**BUILT_IN_TOOLS, REQUEST_UPLOAD.name: REQUEST_UPLOAD}


def get_built_in_tools(principal: Principal) -> Mapping[str, BuiltInTool]:
    """Return the tools that a person may call: at another computer also the one for uploads."""
    return BUILT_IN_TOOLS if principal.is_local else _ELSEWHERE
