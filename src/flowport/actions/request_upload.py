"""Ask the person for a file: a link that takes one upload, and the name under which the file is used afterwards."""

import shlex
from typing import Final

from flowport.actions.tool import Arguments, BuiltInTool, build_input
from flowport.actions.views.view import View, format_instant
from flowport.actions.workspace import Workspace
from flowport.domain.call_errors import build_refusal
from flowport.domain.models import InputKind
from flowport.domain.uris import format_upload_name
from flowport.runs.delivery import Caller
from flowport.runs.received_files import KEPT_SECONDS, MAX_FILE_BYTES

_DAY_SECONDS: Final = 24 * 3600.0


async def request_upload(workspace: Workspace, caller: Caller, arguments: Arguments) -> View:
    """Return a link for one upload of the caller's owner."""
    given = REQUEST_UPLOAD.parse(arguments)
    web = workspace.file_links.web
    if web is None:
        problem = "needs a web server, and none listens here"
        raise build_refusal("request_upload", problem, "Start `flowport serve --http`.", is_for_run=False)
    ticket = await workspace.received.request(caller.owner, str(given.get("purpose", "")))
    link, name = web.build_upload_link(ticket), format_upload_name(ticket.id)
    return View(
        {
            "summary": f"Give the person this link, where one file can be uploaded; then use {name} in the place of a path.",
            "link": link.url,
            "use_as": name,
            "link_expires_at": format_instant(link.expires_at),
            "max_megabytes": MAX_FILE_BYTES // 1_000_000,
            "kept_days": int(KEPT_SECONDS / _DAY_SECONDS),
            "next_step": (
                "Wait until the person says that it is uploaded. If you have the file yourself, send it: "
                f"curl --upload-file FILE {shlex.quote(link.url)}"
            ),
        }
    )


REQUEST_UPLOAD: Final = BuiltInTool(
    "request_upload",
    "Request an upload",
    "Get a link where the person can upload one file from their device: an image, video, sound or CSV table. The answer "
    "names it, upload:ID, for use as an input afterwards. Free.",
    request_upload,
    (build_input("purpose", InputKind.TEXT, "Which file is needed, in a few words that the person reads there"),),
    is_read_only=False,
)
