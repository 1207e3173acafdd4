"""Write the parts of the README that the program knows better: the table of variables. `--check` only compares."""

import sys
from pathlib import Path

from flowport.variables import VARIABLES

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- variables -->", "<!-- /variables -->"


def main() -> int:
    """Write the README, or with `--check` tell by the exit code whether it is up to date."""
    text = README.read_text(encoding="utf-8")
    wanted = build_readme(text)
    if "--check" in sys.argv[1:]:
        if text != wanted:
            print("README.md is out of date: run `make docs`.")
        return int(text != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


def build_readme(text: str) -> str:
    """Return the README with its table made anew."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{build_variables_table()}\n{END}{tail}"


def build_variables_table() -> str:
    """Return the table of all variables."""
    rows = ["| variable | meaning | default |", "| --- | --- | --- |"]
    for variable in VARIABLES:
        state = "" if variable.is_built else " **Not yet built: refused.**"
        rows.append(f"| `{variable.name}` | {variable.meaning}{state} | {variable.default} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
