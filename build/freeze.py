"""Modules as a C table for the bootloader: those of our packages, and the encodings."""

import encodings
import encodings.aliases
import marshal
from collections.abc import Iterator
from pathlib import Path

from layout import ENCODINGS, PACKAGES


def table(root: Path) -> str:
    """Compile every module that is frozen and give the text of frozen_modules.h."""
    arrays, rows = [], []
    for number, (name, source, is_package) in enumerate(_modules(root)):
        filename = f"{name.replace('.', '/')}{'/__init__' if is_package else ''}.py"
        code = marshal.dumps(compile(source, filename, "exec", dont_inherit=True, optimize=2))
        arrays.append(f"static const unsigned char module_{number}[] = {{{','.join(map(str, code))}}};")
        rows.append(f'    {{"{name}", module_{number}, sizeof module_{number}, {int(is_package)}, NULL}},')
    rows.append("    {NULL, NULL, 0, 0, NULL},")
    return "\n".join([*arrays, "static const struct _frozen frozen_modules[] = {", *rows, "};", ""])


def _modules(root: Path) -> Iterator[tuple[str, str, bool]]:
    """Each module's name, source, and whether it is a package."""
    directory = Path(encodings.__path__[0])
    for name in ENCODINGS:
        yield f"encodings.{name}".removesuffix(".__init__"), (directory / f"{name}.py").read_text(), name == "__init__"
    kept = {alias: name for alias, name in encodings.aliases.aliases.items() if name in ENCODINGS}
    yield "encodings.aliases", f"aliases = {kept!r}\n", False
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            dotted = ".".join(file.relative_to(root).with_suffix("").parts)
            yield dotted.removesuffix(".__init__"), file.read_text(), file.name == "__init__.py"
