# SPDX-License-Identifier: Apache-2.0
"""KCD, SYM and ARXML texts of about so many characters that would cost far more than their size, unless bounded."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KCD = '<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0"><Bus name="b">'
KCD_END = "</Bus></NetworkDefinition>"
SYM = 'FormatVersion=6.0 // Do not edit this line!\nTitle="t"\n'
ARXML = '<AUTOSAR xmlns="http://autosar.org/schema/r4.0"><AR-PACKAGES>'
ARXML_END = "</AR-PACKAGES></AUTOSAR>"


def _filled(begin: str, line: str, end: str, size: int) -> str:
    return begin + "".join(line.replace("#", f"{n:x}") for n in range(size // len(line))) + end


def entity_bomb(size: int) -> str:
    names = [f"e{n}" for n in range(30)]
    entities = "".join(f'<!ENTITY {b} "&{a};&{a};">' for a, b in pairwise(names))
    bomb = f'<!DOCTYPE d [<!ENTITY e0 "{"x" * 100}">{entities}]>'
    return bomb + KCD + f"<Message name='&e29;'/>{' ' * (size - 2000)}" + KCD_END


def deep(size: int) -> str:
    return KCD + "<a>" * (size // 7) + "</a>" * (size // 7) + KCD_END


def deep_packages(size: int) -> str:
    one = "<AR-PACKAGE><AR-PACKAGES>"
    count = size // (2 * len(one) + 2)
    return ARXML + one * count + "</AR-PACKAGES></AR-PACKAGE>" * count + ARXML_END


def empty_elements(size: int) -> str:
    return _filled(KCD, "<Message/>", KCD_END, size)


def short_messages(size: int) -> str:
    return _filled(KCD, '<Message id="0x#" name="#"/>', KCD_END, size)


def long_signals(size: int) -> str:
    signal = '<Signal name="#" offset="0" length="900000000"/>'
    return _filled(KCD + '<Message id="1" name="m">', signal, "</Message>" + KCD_END, size)


def attributes(size: int) -> str:
    return KCD + "<Message " + " ".join(f'a{n}=""' for n in range(size // 10)) + "/>" + KCD_END


def labels(size: int) -> str:
    signal = '<Signal name="s" offset="0" length="8"><LabelSet>'
    return _filled(
        f'{KCD}<Message id="1" name="m">{signal}',
        '<Label name="#" value="1"/>',
        "</LabelSet></Signal></Message>" + KCD_END,
        size,
    )


def commented(size: int) -> str:
    return _filled(KCD + "<!--", "<Message ", "-->" + KCD_END, size)


def enum_of_all(size: int) -> str:
    """Each signal has a table of half the file."""
    entries = ",".join(f'{n}=""' for n in range(size // 18))
    signals = _filled("{SIGNALS}\n", "Sig=s# unsigned 8 /e:E\n", "", size // 4)
    used = _filled("{SEND}\n[m]\nID=001h\nLen=8\n", "Sig=s# 0\n", "", size // 4)
    return f"{SYM}{{ENUMS}}\nEnum=E({entries})\n{signals}\n{used}"


def multiplexed(size: int) -> str:
    """Each message looks through all others for its branches."""
    return _filled(SYM + "{SEND}\n", "[m#]\nID=1h\nMux=a 0,8 1\n", "", size)


def ids(size: int) -> str:
    return _filled(SYM + "{SEND}\n", "[m#]\nID=000h-270Fh\n", "", size)


def brackets(size: int) -> str:
    return SYM + "[" * size


def quotes(size: int) -> str:
    return SYM + 'Title="' + '\\"' * (size // 2)


def parentheses(size: int) -> str:
    return SYM + "{ENUMS}\n" + "Enum=a(" * (size // 7)


def names(size: int) -> str:
    return _filled(ARXML, "<AR-PACKAGE><SHORT-NAME>#</SHORT-NAME></AR-PACKAGE>", ARXML_END, size)


def clusters(size: int) -> str:
    """Frames that all refer to one another's elements."""
    triggering = (
        '<CAN-FRAME-TRIGGERING><SHORT-NAME>t#</SHORT-NAME><FRAME-REF DEST="CAN-FRAME">/p/f</FRAME-REF>'
        "<IDENTIFIER>#</IDENTIFIER></CAN-FRAME-TRIGGERING>"
    )
    head = (
        "<AR-PACKAGE><SHORT-NAME>p</SHORT-NAME><ELEMENTS><CAN-FRAME><SHORT-NAME>f</SHORT-NAME>"
        "<FRAME-LENGTH>8</FRAME-LENGTH></CAN-FRAME><CAN-CLUSTER><SHORT-NAME>c</SHORT-NAME><CAN-CLUSTER-VARIANTS>"
        "<CAN-CLUSTER-CONDITIONAL><PHYSICAL-CHANNELS><CAN-PHYSICAL-CHANNEL><FRAME-TRIGGERINGS>"
    )
    tail = (
        "</FRAME-TRIGGERINGS></CAN-PHYSICAL-CHANNEL></PHYSICAL-CHANNELS></CAN-CLUSTER-CONDITIONAL>"
        "</CAN-CLUSTER-VARIANTS></CAN-CLUSTER></ELEMENTS></AR-PACKAGE>"
    )
    return _filled(ARXML + head, triggering, tail + ARXML_END, size)


HOSTILE: dict[str, tuple[str, Callable[[int], str]]] = {
    **{
        make.__name__: ("kcd", make)
        for make in (
            entity_bomb,
            deep,
            empty_elements,
            short_messages,
            long_signals,
            attributes,
            labels,
            commented,
        )
    },
    **{make.__name__: ("sym", make) for make in (enum_of_all, multiplexed, ids, brackets, quotes, parentheses)},
    **{make.__name__: ("arxml", make) for make in (deep_packages, names, clusters)},
}
