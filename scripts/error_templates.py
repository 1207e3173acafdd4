"""Find every message with which the program refuses something, by reading its source.

A message consists of the arguments that a call passes for parameters such as `problem`, `expected`, `remedy` and `reason` of a
class or function of Flowport. Literals are followed through conditions, local variables, constants, tables and helpers
that return them; values known only at run time are written as `{…}`.
"""

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).resolve().parent.parent / "src" / "flowport"
GAP: Final = "{…}"
"""Replaces a value that is known only at run time."""

_PARTS: Final = ("problem", "reason", "failure", "message", "words", "note", "remedy", "expected", "advice")
"""The parameters that take a part of a message, in its order."""
_SANDBOX: Final = "sandbox"
"""The package that imitates a provider, so its messages are not Flowport's."""
_MAX_DEPTH: Final = 4
_MAX_FORMS: Final = 48
"""The most variants of one part."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Template:
    """One message with gaps."""

    module: str
    """Below `flowport`, with dots."""
    text: str

    def matches(self, sentence: str) -> bool:
        """Return whether an answer contains this message with its gaps filled in."""
        parts = (re.escape(" ".join(part.split())) for part in self.text.split(GAP))
        return re.search(".*?".join(parts), sentence, re.DOTALL) is not None


@dataclass(slots=True)
class _Module:
    """One file and its top-level definitions."""

    name: str
    tree: ast.Module
    constants: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, _Function] = field(default_factory=dict)
    parameters: dict[str, list[str]] = field(default_factory=dict)
    """The positional parameters of each function or record."""
    imports: dict[str, str] = field(default_factory=dict)
    """The module of each name that is imported from Flowport."""


def find_templates(source: Path = SOURCE) -> list[Template]:
    """Return every message of the modules in a folder, by module, each once."""
    modules = {module.name: module for module in (_parse(path, source) for path in sorted(source.rglob("*.py")))}
    _inherit(modules)
    found: dict[Template, None] = {}
    for module in modules.values():
        if not module.name.startswith(_SANDBOX):
            found |= dict.fromkeys(_Reader(module, modules).iterate())
    return list(found)


def _parse(path: Path, source: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = _Module(".".join(path.relative_to(source).with_suffix("").parts), tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flowport"):
            origin = (node.module or "").partition(".")[2]
            module.imports |= {alias.asname or alias.name: origin for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
            module.functions[node.name] = node
            module.parameters[node.name] = names[1:] if names[:1] in (["self"], ["cls"]) else names
    for statement in tree.body:
        match statement:
            case (
                ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(name)], value=value)
            ):
                module.constants[name] = value
            case ast.ClassDef(name=name, body=body):
                fields = [
                    one.target.id for one in body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
                ]
                module.parameters[name] = fields
    return module


def _inherit(modules: Mapping[str, _Module]) -> None:
    """Add the fields of base classes before those of each class."""
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    known = module.parameters.get(base.id, []) if isinstance(base, ast.Name) else []
                    module.parameters[node.name] = [*known, *module.parameters[node.name]]


class _Reader:
    """Reads the messages of one module."""

    def __init__(self, module: _Module, modules: Mapping[str, _Module]) -> None:
        self._module = module
        self._modules = modules
        self._scopes: list[_Function] = []
        self._line = 0

    def iterate(self) -> Iterator[Template]:
        """Yield the messages in their order."""
        yield from self._visit(self._module.tree)

    def _visit(self, node: ast.AST) -> Iterator[Template]:
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._scopes.append(node)
        if isinstance(node, ast.Call):
            self._line = node.lineno
            for text in self._read_call(node):
                yield Template(self._module.name, text)
        for child in ast.iter_child_nodes(node):
            yield from self._visit(child)
        if is_function:
            self._scopes.pop()

    def _read_call(self, call: ast.Call) -> Iterator[str]:
        names = self._get_parameters(call.func)
        given = dict(zip(names, call.args, strict=False)) | {one.arg: one.value for one in call.keywords if one.arg}
        parts = [list(self.read(given[name], 0)) for name in _PARTS if name in given]
        texts = [[text for text in part if re.search(r"\w", text.replace(GAP, ""))] for part in parts]
        for forms in itertools.islice(itertools.product(*filter(None, texts)), _MAX_FORMS):
            if forms:
                yield " ".join(_end(form) for form in forms)

    def _get_parameters(self, function: ast.expr) -> Sequence[str]:
        name = (
            function.id
            if isinstance(function, ast.Name)
            else function.attr
            if isinstance(function, ast.Attribute)
            else ""
        )
        if name in self._module.parameters:
            return self._module.parameters[name]
        origins = [self._module.imports.get(name, "")]
        if isinstance(function, ast.Attribute) and name.startswith("build_"):
            # A method: its class is in a module that is imported, or that such a module imports.
            near = [one for name in self._module.imports.values() if (one := self._modules.get(name))]
            origins += [*self._module.imports.values(), *(name for one in near for name in one.imports.values())]
        found = (module.parameters.get(name) for one in origins if (module := self._modules.get(one)))
        return next(filter(None, found), [])

    def read(self, node: ast.expr, depth: int) -> Iterator[str]:  # noqa: C901 (one case for each form of an expression)
        """Yield the variants of a text; nothing if it is known only at run time."""
        if depth > _MAX_DEPTH:
            return
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=values):
                yield from self._join([self._read_piece(one, depth) for one in values])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                yield from self._join([list(self.read(one, depth)) or [GAP] for one in (left, right)])
            case ast.IfExp(body=body, orelse=other):
                yield from self.read(body, depth)
                yield from self.read(other, depth)
            case ast.BoolOp(values=values) | ast.Tuple(elts=values) | ast.Dict(values=values):
                for one in values:
                    yield from self.read(one, depth)
            case ast.Subscript(value=value) | ast.Call(func=ast.Attribute(value=value, attr="get" | "format")):
                yield from self.read(value, depth + 1)
            case ast.Call(func=ast.Name(name)):
                yield from self._read_returned(name, depth + 1)
            case ast.Name(name):
                yield from self._read_name(name, depth + 1)
            case _:
                return

    def _read_piece(self, node: ast.expr, depth: int) -> list[str]:
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        # A choice between words is written in full, anything else is a gap.
        value = node.value if isinstance(node, ast.FormattedValue) else node
        is_choice = isinstance(value, ast.IfExp) or (isinstance(value, ast.Name) and value.id.lstrip("_").isupper())
        forms = list(self.read(value, depth + 1)) if is_choice else []
        return forms if 0 < len(forms) < _MAX_DEPTH else [GAP]

    @staticmethod
    def _join(pieces: Sequence[Sequence[str]]) -> Iterator[str]:
        for forms in itertools.islice(itertools.product(*pieces), _MAX_FORMS):
            yield "".join(forms)

    def _read_name(self, name: str, depth: int) -> Iterator[str]:
        local = [value for scope in self._scopes for value in _find_reaching(scope.body, name, self._line)]
        for value in local:
            yield from self.read(value, depth)
        if not local and name in self._module.constants:
            yield from self.read(self._module.constants[name], depth)
        origin = self._modules.get(self._module.imports.get(name, ""))
        if not local and origin is not None and name in origin.constants:
            yield from _Reader(origin, self._modules).read(origin.constants[name], depth)

    def _read_returned(self, name: str, depth: int) -> Iterator[str]:
        home = self._module if name in self._module.functions else self._modules.get(self._module.imports.get(name, ""))
        if home is not None and name in home.functions:
            yield from _Reader(home, self._modules).read_function(home.functions[name], depth)

    def read_function(self, function: _Function, depth: int) -> Iterator[str]:
        """Yield the variants of the texts that a function returns."""
        self._scopes = [function]
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                self._line = node.lineno
                yield from self.read(node.value, depth)


def _find_reaching(body: Sequence[ast.stmt], name: str, line: int) -> list[ast.expr]:
    """Return the values that a name may have at a line, in a block and the blocks inside it."""
    found: list[ast.expr] = []
    for statement in body:
        if statement.lineno > line:
            break
        is_inside = statement.lineno <= line <= (statement.end_lineno or line)
        found = list(_get_assigned(statement, name)) or found
        for block in _iterate_blocks(statement):
            if is_inside and block[0].lineno <= line <= (block[-1].end_lineno or line):
                return _find_reaching(block, name, line) or found
            if not is_inside and not isinstance(block[-1], ast.Raise | ast.Return | ast.Continue):
                found = [*found, *_find_reaching(block, name, line)]
    return found


def _iterate_blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for holder in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        blocks = (getattr(holder, name, None) for name in ("body", "orelse", "finalbody"))
        yield from (block for block in blocks if isinstance(block, list) and block)


def _get_assigned(statement: ast.stmt, name: str) -> Iterator[ast.expr]:
    """Yield the values that one statement assigns to a name."""
    match statement:
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=value):
            choices = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
            for choice in choices:
                values = choice.elts if isinstance(choice, ast.Tuple) else []
                yield from (each for one, each in zip(names, values, strict=False) if _is_name(one, name))
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
            if _is_name(target, name):
                yield value
        case _:
            return


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _end(text: str) -> str:
    """Return a part of a message with its full stop."""
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!", GAP)) and not text.endswith(f" {GAP}") else f"{text}."
