"""The bodies of switches: what is misspelt is refused with a sentence."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from flowport.sandbox.web import Refused, read_object


class Switch(BaseModel):
    """One switch's body."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


_AnySwitch = TypeVar("_AnySwitch", bound=Switch)


async def read_switch(request: Request, model: type[_AnySwitch]) -> _AnySwitch:
    """Read a switch's body; raises `Refused` with 400 and a sentence about the first thing that is wrong."""
    body = await read_object(request)
    try:
        return model.model_validate(body)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(400, f"{where}: {first['msg']}") from exc
