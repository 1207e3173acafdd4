"""Write the reference parts of `docs/` from the program. With `--check`, only compare them."""

import sys
import tomllib
from pathlib import Path
from typing import Final

from client_pages import build_client_pages, build_client_table, build_limit_table
from error_examples import build_sections
from error_templates import find_templates
from example_records import Section, format_sentence, get_class_name
from publishing import build_server_json
from reference_pages import build_commands, build_settings, build_tools

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
OTHER_EXAMPLES: Final = ROOT / "scripts" / "other_examples.toml"


def main() -> int:
    """Write the pages, or with `--check` return 1 if one of them is out of date."""
    pages = build_pages()
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`.")
        return int(bool(stale))
    for path, text in pages.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def build_pages() -> dict[Path, str]:
    """Return the text of each page that is generated in whole or in part."""
    parts = {"settings": build_settings(), "tools": build_tools(), "commands": build_commands()}
    pages = {DOCS / f"{name}.md": text for name, text in parts.items()}
    clients = fill((DOCS / "clients.md").read_text(encoding="utf-8"), "clients", build_client_table())
    return {
        DOCS / "clients.md": fill(clients, "limits", build_limit_table()),
        **{DOCS / "clients" / f"{name}.md": text for name, text in build_client_pages().items()},
        **{path: fill(path.read_text(encoding="utf-8"), path.stem, text) for path, text in pages.items()},
        DOCS / "errors.md": build_errors(build_sections()),
        ROOT / "server.json": build_server_json(),
    }


def fill(page: str, name: str, text: str) -> str:
    """Return a page with the text between its marks `begin NAME` and `end NAME` replaced.

    Raises:
        SystemExit: The page lacks one of the marks.
    """
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    head, is_begun, rest = page.partition(begin)
    _, is_ended, tail = rest.partition(end)
    if not is_begun or not is_ended:
        raise SystemExit(f"A page lacks the marks of its generated part {name!r}.")
    return f"{head}{begin}{text}\n{end}{tail}"


def build_errors(sections: list[Section]) -> str:
    """Return the page of all error messages."""
    lines = [
        "# Error messages",
        "",
        "Written by `scripts/write_docs.py`, which gives the program each example and records its answer. Each message names",
        "the cause first, then the value, then what to do.",
    ]
    for section in sections:
        lines += [
            "",
            f"## {section.title}",
            "",
            section.reader,
            "",
            "| given | answer | error |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {_escape(one.given)} | {_escape(format_sentence(one.error))} | `{get_class_name(one.error)}` |"
            for one in section.examples
        ]
    lines += _build_rest([format_sentence(one.error) for section in sections for one in section.examples])
    return "\n".join(lines) + "\n"


def _build_rest(answers: list[str]) -> list[str]:
    """Return the lines for the messages that no example above contains, each with its entry of `other_examples.toml`.

    Raises:
        SystemExit: A message has no entry, or an entry has no message.
    """
    found = sorted({one.text for one in find_templates() if not any(one.matches(answer) for answer in answers)})
    given: dict[str, str] = tomllib.loads(OTHER_EXAMPLES.read_text(encoding="utf-8"))
    unmatched = set(found) ^ set(given)
    if unmatched:
        message = "\n".join(sorted(unmatched))
        raise SystemExit(
            f"{OTHER_EXAMPLES.name} lacks an entry for these messages, or the program lost them:\n{message}"
        )
    return [
        "",
        "## All other messages",
        "",
        "Found in the source, so the list is complete. `{…}` is filled in while the program runs. The problem of an argument or",
        "a setting follows its name.",
        "",
        "| given, or what happened | message |",
        "| --- | --- |",
        *(f"| {_escape(given[text])} | {_escape(text)} |" for text in found),
    ]


def _escape(text: str) -> str:
    """Escape what Markdown would format inside a table."""
    for mark in ("\\", "|", "<", ">", "*", "_", "`", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return text


if __name__ == "__main__":
    sys.exit(main())
