# SPDX-License-Identifier: Apache-2.0
"""The reference of every key, made of the structs in `agent/config`: ``python -m tests.reference`` writes it.

A section's docstring says what it is and, a line a key, what each key means; the annotation says what is accepted, the
struct what holds where a key is not given. The reference stands between two markers; what is around it is left alone.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec

from agent.config import Config
from agent.config.section import Section, Within
from agent.config.values import accepted, bare
from agent.units import Quantity
from tests.support.documents import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN = "<!-- made from agent/config by: python -m tests.reference -->"
END = "<!-- end of what is made -->"
SEE = {
    "[[bus]]": "[Where the car is](#where-the-car-is)",
    "[[integrity]]": "[Counters and checksums](../collect/README.md#counters-and-checksums)",
    "[[collect]]": "[Collect what matters](../collect/README.md)",
    "[[trigger]]": "[Collect what matters](../collect/README.md)",
    "[mqtt]": (
        "[Azure and AWS](../uplink/README.md#azure-and-aws), [Certificates](../../systemd/OPERATION.md#certificates)"
    ),
    "[modem]": "[The cellular network](../uplink/README.md#the-cellular-network)",
    "[data_plan]": "[The data plan](../uplink/README.md#the-data-plan)",
}


def sections() -> list[type[Section]]:
    """Those of the file, in the order of `Config`."""
    found = []
    for annotation in get_type_hints(Config, include_extras=True).values():
        kinds = [bare(annotation), *get_args(bare(annotation))]
        found += [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
    return found


def reference() -> str:
    """All sections, as the document has them."""
    return "\n\n".join("\n".join(_section(section)) for section in sections())


def written(document: str) -> str:
    """The document with the reference that fits the code."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{REFERENCE.name} has not both markers: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def meanings(section: type[Section]) -> tuple[str, dict[str, str]]:
    """What a section's docstring says of it, and of each key."""
    head, _, table = inspect.cleandoc(section.__doc__ or "").partition("\n\n")
    keys: dict[str, str] = {}
    for line in table.splitlines():
        named = re.match(r"([a-z0-9_]+) {2,}(.+)", line)
        if named:
            keys[named[1]] = named[2]
        elif line.startswith("  ") and keys:
            keys[next(reversed(keys))] += f" {line.strip()}"
    return head.replace("\n", " "), keys


def _section(section: type[Section]) -> Iterator[str]:
    head, told = meanings(section)
    fields = {field.encode_name: field for field in msgspec.structs.fields(section)}
    if set(told) != set(fields):
        raise ValueError(f"{section.__name__}'s docstring and keys differ: {sorted(set(told) ^ set(fields))}")
    title, _, what = head.removeprefix("``").partition("``: ")
    see = f" See {SEE[title]}." if title in SEE else ""
    yield f"**`{title}`**: {_marked(what).rstrip('.')}.{see}"
    yield ""
    yield "| key | accepted | default | meaning |"
    yield "|---|---|---|---|"
    hints = get_type_hints(section, include_extras=True)
    for key, field in fields.items():
        meaning = told[key].removesuffix("; required")
        cells = (f"`{key}`", _accepted(hints[field.name]), default(field), _marked(meaning))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default(field: msgspec.structs.FieldInfo) -> str:
    """What holds where the key is not given, as the file would write it."""
    if field.required:
        return "required"
    value: Any = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ((), {}):
        return "`[]`" if value == () else "`{}`"
    return f"`{value}`" if type(value) is int else f'`"{value}"`'


def _accepted(annotation: Any) -> str:
    kind, *extras = get_args(bare(annotation)) or (bare(annotation),)
    within = next((extra for extra in extras if isinstance(extra, Within)), None)
    if isinstance(kind, type) and issubclass(kind, Quantity) and within is not None:
        return f'{kind.noun}, "{within.low}" to "{within.high}"'
    return accepted(annotation)


def _marked(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    REFERENCE.write_text(written(REFERENCE.read_text()))
    sys.exit(0)
