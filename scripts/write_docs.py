"""Write what the program knows better: the README's table of variables, and `docs/errors.md`. `--check` only compares."""

import sys
import tomllib
from pathlib import Path

from error_examples import build_sections
from error_templates import find_templates
from example_records import Section, format_sentence, get_class_name

from flowport.settings.variables import get_variables

ROOT = Path(__file__).resolve().parent.parent
OTHER_EXAMPLES = ROOT / "scripts" / "other_examples.toml"
README, ERRORS = ROOT / "README.md", ROOT / "docs" / "errors.md"
BEGIN, END = "<!-- variables -->", "<!-- /variables -->"


def main() -> int:
    """Write the documents, or with `--check` tell by the exit code whether they are up to date."""
    wanted = {README: build_readme(README.read_text(encoding="utf-8")), ERRORS: build_errors(build_sections())}
    if "--check" in sys.argv[1:]:
        stale = [
            path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
        ]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`.")
        return int(bool(stale))
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def build_errors(sections: list[Section]) -> str:
    """Return the document of all error sentences."""
    lines = [
        "# Error sentences",
        "",
        "Written by `scripts/write_docs.py`, which gives the program each example and writes down what it answers. Each",
        "sentence names the cause first, then the value, then what to do.",
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
    """Return the lines about the sentences of which no answer above is an example, each with one that is written down.

    Raises:
        SystemExit: A sentence has no example, or an example no sentence.
    """
    rest = [one for one in find_templates() if not any(one.matches(answer) for answer in answers)]
    given: dict[str, str] = tomllib.loads(OTHER_EXAMPLES.read_text(encoding="utf-8"))
    unfit = {one.text for one in rest} ^ set(given)
    if unfit:
        message = "\n".join(sorted(unfit))
        raise SystemExit(
            f"{OTHER_EXAMPLES.name} lacks an example of these sentences, or they are said no more:\n{message}"
        )
    return [
        "",
        "## All other sentences",
        "",
        "Found in the source, so that none is missing: `{…}` is filled in while the program runs. What is wrong with an",
        "argument or a setting follows its name.",
        "",
        "| module | given, or what happened | sentence |",
        "| --- | --- | --- |",
        *(f"| `{one.module}` | {_escape(given[one.text])} | {_escape(one.text)} |" for one in rest),
    ]


def _escape(text: str) -> str:
    """Return a text that shows in a table as it is."""
    for mark in ("\\", "|", "<", ">", "*", "_", "`", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return text


def build_readme(text: str) -> str:
    """Return the README with its table made anew."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{build_variables_table()}\n{END}{tail}"


def build_variables_table() -> str:
    """Return the table of all variables."""
    rows = ["| variable | meaning | default |", "| --- | --- | --- |"]
    for variable in get_variables():
        state = "" if variable.parse else " **Not yet built: refused.**"
        rows.append(f"| `{variable.name}` | {variable.meaning}{state} | {variable.default} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
