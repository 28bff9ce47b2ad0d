"""The modules that are compiled into the bootloader, as a C table: those of our packages, and the encodings."""

import ast
import encodings
import encodings.aliases
import marshal
from collections.abc import Iterator
from pathlib import Path

from errors import BuildError
from layout import ENCODINGS, PACKAGES


def table(root: Path) -> str:
    """Compile every module that is frozen, and return the text of frozen_modules.h."""
    arrays, rows = [], []
    for number, (name, source, is_package) in enumerate(_modules(root)):
        filename = f"{name.replace('.', '/')}{'/__init__' if is_package else ''}.py"
        code = marshal.dumps(compile(_without_types(source), filename, "exec", dont_inherit=True, optimize=2))
        arrays.append(f"static const unsigned char module_{number}[] = {{{','.join(map(str, code))}}};")
        fields = f'.name = "{name}", .code = module_{number}, .size = sizeof module_{number}, .is_package = {int(is_package)}'
        rows.append(f"    {{{fields}}},")
    rows.append("    {.name = NULL},")
    return "\n".join([*arrays, "static const struct _frozen frozen_modules[] = {", *rows, "};", ""])


def _modules(root: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield the name and source of each module, and whether it is a package."""
    directory = Path(encodings.__path__[0])
    for name in ENCODINGS:
        yield f"encodings.{name}".removesuffix(".__init__"), (directory / f"{name}.py").read_text(), name == "__init__"
    aliases = {alias: name for alias, name in encodings.aliases.aliases.items() if name in ENCODINGS}
    yield "encodings.aliases", f"aliases = {aliases!r}\n", False
    for package in PACKAGES:
        _refuse_data(root / package)
        for file in sorted((root / package).rglob("*.py")):
            dotted = ".".join(file.relative_to(root).with_suffix("").parts)
            yield dotted.removesuffix(".__init__"), file.read_text(), file.name == "__init__.py"


class _TypeRemover(ast.NodeTransformer):
    """Removes annotations of functions and imports for types: no program reads them, and an ADD takes 1.1 million
    instructions to load them. Annotations in a class stay, because a NamedTuple is made of them."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        for argument in arguments:
            if argument is not None:
                argument.annotation = None
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node


def _without_types(source: str) -> ast.Module:
    tree: ast.Module = _TypeRemover().visit(ast.parse(source))
    return tree


def _refuse_data(package: Path) -> None:
    """Raise BuildError for a package with data files: a frozen package has no directory from which to read them."""
    data = [file for file in package.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc", ".typed")]
    if data:
        raise BuildError(f"{data[0]} cannot be read from a frozen package: make it a literal in a Python module")
