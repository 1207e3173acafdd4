"""Word everything for people at other computers: their paths mean nothing here, and those of this computer are not theirs.

Instructions, descriptions, prompts and refusals are written for the person at this computer. One middleware rewrites them in
what leaves for anyone else, and takes out the folders of the server wherever a sentence names one.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult
from mcp.shared.exceptions import MCPError

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.actions.request_upload import REQUEST_UPLOAD
from flowport.media.refusals import GIVE, GIVE_ELSEWHERE
from flowport.providers.registry import get_key_advice
from flowport.server.clients import Context, get_principal
from flowport.server.results import build_wire_tool
from flowport.settings.settings import Settings

HIDDEN: Final = "[a folder of the server]"

_UPLOADED: Final = "a data URI or upload:ID, for which request_upload gives the person a link"
_NO_KEY: Final = "the operator of this server stores the key of a provider"
_WORDS: Final = (
    # Instructions and descriptions.
    (
        "A picture is named by its full path on this computer, an https URL or a data URI; a result",
        f"Flowport runs on another computer and reads no paths: a picture is named by an https URL, {_UPLOADED}; a result",
    ),
    ("Show the person the links of the results and where they are saved.", "Show the person the links of the results."),
    (" path, URL, run:ID#1 or last", " URL, upload:ID, run:ID#1 or last"),
    (" path, run:ID#1 or last", " as upload:ID, data URI, run:ID#1 or last"),
    (
        "Instead of rows: full path of a .csv; its first row names the inputs",
        "Instead of rows: the text of a CSV table, or upload:ID; its first row names the inputs",
    ),
    ("with their links and saved files;", "with their links;"),
    # Prompts.
    (": their links and where they are saved.", ": their links."),
    ("with its links and where it is saved.", "with its links."),
    ("the links of the results and where they are saved.", "the links of the results."),
    # Refusals.
    (GIVE, GIVE_ELSEWHERE),
    ("Give an https URL, or the full path of a file on this computer.", GIVE_ELSEWHERE),
    ("Give the full path of a file on this computer.", GIVE_ELSEWHERE),
    ("Give the full path of one file.", GIVE_ELSEWHERE),
    ("Copy the file to this computer and give its full path.", GIVE_ELSEWHERE),
    (
        "Give the full path of a file, a data URI, or an earlier result (run:ID#1 or last).",
        "Give a data URI, an earlier result (run:ID#1 or last), or a file that the person uploads (request_upload).",
    ),
    ("the sandbox takes files of this computer alone", "the sandbox fetches nothing from the web"),
    ("is a file of this computer; ", "is a file; "),
    ("Give paths or https URLs of the files instead.", "Give https URLs of the files instead, or upload:ID."),
    ("Give paths or https URLs of files, or make", "Give https URLs of files or upload:ID, or make"),
    ("Give the rows, or the path of a table.", "Give the rows, or the table as text or upload:ID."),
    (
        "Give the path of a .csv file, or rows.",
        "Give the text with its line breaks, upload:ID of a .csv file, or rows.",
    ),
    (
        "Give the full path of a .csv file of at most 20 MB on this computer.",
        "Give the text of the table, or upload a .csv file of at most 20 MB: request_upload gives the link.",
    ),
    (
        "Save the table as CSV in UTF-8 and give its full path.",
        "Save the table as CSV in UTF-8 and upload it: request_upload gives the link.",
    ),
    ("Write the whole text there, or a file's path.", "Write the whole text there."),
)
"""What is said to the person at this computer, and what is said to others instead. A test finds sentences that are missing."""

_MAX_TOOLS: Final = 2_000
"""Tools whose words are remembered."""
_TEXT_TYPES: Final = frozenset({"application/json"})
"""Of resources whose text is ours."""
_SEPARATORS: Final = ("/", "\\")
_MIN_PARTS: Final = 2
"""The root of a file system is in every path; only deeper folders are hidden."""


class ElsewhereWords:
    """A middleware that words the answers to people at other computers."""

    def __init__(self, settings: Settings) -> None:
        """Prepare for a server with these folders."""
        self.word = _build_replacer(settings)
        """Words one text."""
        self._tools: OrderedDict[str, tuple[Mapping[str, Any], dict[str, Any]]] = OrderedDict()
        """The last form of each tool and what it became, by name."""
        self._upload = build_wire_tool(REQUEST_UPLOAD)

    def word_facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Return facts with every text worded."""
        worded: dict[str, Any] = _map_texts(facts, self.word)
        return worded

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer a request."""
        if get_principal(ctx).is_local:
            return await call_next(ctx)
        try:
            result = await call_next(ctx)
        except MCPError as exc:
            raise MCPError(exc.error.code, self.word(exc.error.message), exc.error.data) from exc
        return self._word(ctx.method, result) if isinstance(result, dict) else result

    def _word(self, method: str, result: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "initialize" | "server/discover":
                return self._word_parts(result, ("instructions",))
            case "tools/list":
                return {**result, "tools": self._word_tools(result.get("tools", ()))}
            case "tools/call":
                return self._word_parts(result, ("content", "structuredContent"))
            case "prompts/get":
                return self._word_parts(result, ("messages",))
            case "resources/read":
                contents = [self._word_content(one) for one in result.get("contents", ())]
                return {**result, "contents": contents}
            case _:
                return result

    def _word_parts(self, result: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        return {**result, **{name: _map_texts(result[name], self.word) for name in names if name in result}}

    def _word_content(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        is_ours = "text" in content and content.get("mimeType") in _TEXT_TYPES
        return {**content, "text": self.word(content["text"])} if is_ours else content

    def _word_tools(self, tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        worded = [self._word_tool(tool) for tool in tools]
        place = sum(tool.get("name") in BUILT_IN_TOOLS for tool in tools)
        return [*worded[:place], self._upload, *worded[place:]]

    def _word_tool(self, tool: Mapping[str, Any]) -> Mapping[str, Any]:
        name = str(tool.get("name"))
        known = self._tools.get(name)
        if known is None or known[0] != tool:
            known = self._tools[name] = (tool, _map_texts(dict(tool), self.word))
            # The apps of people's own keys come and go.
            while len(self._tools) > _MAX_TOOLS:
                self._tools.popitem(last=False)
        return known[1]


def _build_replacer(settings: Settings) -> Callable[[str], str]:
    """Return a function that words one text."""
    advice = get_key_advice()
    words = {**dict(_WORDS), f"{advice}, in the client's configuration": _NO_KEY, advice: _NO_KEY}
    # The longest first: some are parts of others.
    spelled = "|".join(re.escape(one) for one in sorted(words, key=len, reverse=True))
    folders = "|".join(sorted(map(re.escape, _find_folders(settings)), key=len, reverse=True))
    # Not inside a longer path or an address. What follows belongs to the path up to a space or quote.
    paths = rf"(?<![\w/.:~-])(?:{folders})(?![\w-])(?:/[^\s\"'<>,;)\]]*)?" if folders else r"(?!)"
    pattern = re.compile(rf"(?P<words>{spelled})|(?P<path>{paths})")

    marks = ("path", "Give", "saved", *_SEPARATORS)
    unmarked = [one for one in words if not any(mark in one for mark in marks)]

    def replace(text: str) -> str:
        # Most texts hold none of these words, and looking for all of them at every letter takes long.
        if not any(mark in text for mark in marks) and not any(one in text for one in unmarked):
            return text
        return pattern.sub(lambda found: words.get(found[0], HIDDEN), text)

    return replace


def _find_folders(settings: Settings) -> set[str]:
    """Return the folders of the server that a sentence may name."""
    folders = {settings.home, settings.output_dir, *settings.file_roots, Path(gettempdir())}
    with suppress(RuntimeError):  # this user has none
        folders.add(Path.home())
    known = {one for folder in folders for one in (folder, folder.absolute(), Path(os.path.realpath(folder)))}
    return {str(folder) for folder in known if folder.is_absolute() and len(folder.parts) >= _MIN_PARTS}


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {
            name: one if name in {"data", "blob", "uri"} else _map_texts(one, change) for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_map_texts(one, change) for one in value]
    return value
