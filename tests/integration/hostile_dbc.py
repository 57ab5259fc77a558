# SPDX-License-Identifier: Apache-2.0
"""DBC texts of about so many characters that would cost far more than their size, unless reading them is bounded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEAD = 'BO_ 1 A: 64 ECU\n SG_ m M : 0|16@1+ (1,0) [0|0] "" ECU\n'
SIGNALS = 9_000
"""As many as one message may have."""


def _signal(name: str, mark: str = "", start: int = 16) -> str:
    return f' SG_ {name} {mark}: {start}|8@1+ (1,0) [0|0] "" ECU'


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _fill(line: str, size: int) -> str:
    return HEAD + line * (size // len(line))


def _messages_of(text: str, size: int) -> str:
    """The text over and over, each time of another id."""
    named = r"(?m)^((?:BO_|VAL_|SG_MUL_VAL_|SIG_VALTYPE_) )1 "
    return _lines(re.sub(named, rf"\g<1>{number + 1} ", text) for number in range(max(1, size // len(text))))


def ordinary(size: int) -> str:
    """What all others are compared with."""
    return _lines(
        f'BO_ {n} M{n}: 8 ECU\n{_signal("a")}\nVAL_ {n} a 0 "off" 1 "on" ;\nCM_ SG_ {n} a "{"what it means " * 8}";'
        for n in range(size // 220)
    )


def nested(size: int) -> str:
    signals = [_signal(f"s{n}", "m0M ") for n in range(1, SIGNALS)]
    ranges = [f"SG_MUL_VAL_ 1 s{n} {f's{n - 1}' if n > 1 else 'm'} 0-1;" for n in range(1, SIGNALS)]
    return _messages_of(HEAD + _lines([*signals, *ranges, ""]), size)


def wide_tree(size: int) -> str:
    signals = [_signal(f"s{n}", "m0M ") for n in range(SIGNALS)]
    ranges = [f"SG_MUL_VAL_ 1 s{n} {f's{(n - 1) // 2}' if n else 'm'} {n % 7}-{n % 7};" for n in range(SIGNALS)]
    return _messages_of(HEAD + _lines([*signals, *ranges, ""]), size)


def multiplexor_values(size: int) -> str:
    return _messages_of(HEAD + _lines([*(_signal(f"s{n}", f"m{n} ") for n in range(SIGNALS)), ""]), size)


def one_name(size: int) -> str:
    signals = [_signal("s", f"m{n} ") for n in range(SIGNALS // 2)]
    about = [f'VAL_ 1 s {n} "a" ;\nSIG_VALTYPE_ 1 s : 0;' for n in range(SIGNALS // 2)]
    return _messages_of(HEAD + _lines([*signals, *about, ""]), size)


def one_table_for_all(size: int) -> str:
    signals = _lines(_signal("s", f"m{n} ") for n in range(SIGNALS // 2))
    entries = " ".join(f'{n} ""' for n in range((size - len(signals)) // 10))
    return f"{HEAD}{signals}\nVAL_ 1 s {entries};"


def overlapping(size: int) -> str:
    return _messages_of(HEAD + _lines([*(_signal(f"s{n}") for n in range(SIGNALS)), ""]), size)


def one_message(size: int) -> str:
    return HEAD + _lines(_signal(f"s{n}", "", n % 500) for n in range(size // 43))


def one_id(size: int) -> str:
    return HEAD + _lines(_signal(f"s{n}") for n in range(SIGNALS)) + "\nBO_ 1 B: 64 ECU" * (size // 20)


def messages(size: int) -> str:
    return _lines(f"BO_ {n} M{n}:8 E" for n in range(size // 18))


def ranges(size: int) -> str:
    count = max(2, size // 3000)
    signals = _lines(_signal(f"a{n}", "m0 ") for n in range(count))
    spelled = ", ".join(f"{4 * n}-{4 * n}" for n in range(210))
    second = ' SG_ k M : 0|8@1+ (1,0) [0|0] "" ECU'
    return f"{HEAD}{second}\n{signals}\n" + _lines(f"SG_MUL_VAL_ 1 a{n} m {spelled};" for n in range(count))


def enumeration(size: int) -> str:
    names = ",".join(f'"a{n}"' for n in range(size // 30))
    return f'{HEAD}BA_DEF_ BO_ "VFrameFormat" ENUM {names};\n' + _lines(
        f'BO_ {n} M{n}: 8 E\nBA_ "VFrameFormat" BO_ {n} "b{n}";' for n in range(2, size // 60)
    )


def send_type(size: int) -> str:
    return f'BA_DEF_DEF_ "GenMsgSendType" "{"x" * 60_000}";\n{messages(size)}'


def long_message_name(size: int) -> str:
    head = f"BO_ 1 {'A' * 60_000}: 8 ECU\n"
    return head + _lines(f'VAL_ 1 x{n} 1 "";' for n in range((size - len(head)) // 17))


def comment_that_never_ends(size: int) -> str:
    return _fill('CM_ "\n', size)


def comments_full_of_quotes(size: int) -> str:
    return _fill('CM_ "a"b\n', size) + '";'


def one_line_of_statements(size: int) -> str:
    return _fill('BA_ "a" 1;;', size)


def wide_text(size: int) -> str:
    return f'{HEAD}CM_ "\N{AUTOMOBILE}{"x" * size}";\n'


REPEATED = {
    "a long unit": (' SG_ a : 0|8@1+ (1,0) [0|0] "', "x", '" ECU'),
    "a unit of backslashes": (' SG_ a : 0|8@1+ (1,0) [0|0] "', "\\", ""),
    "a long name": (" SG_ ", "x", ' : 0|8@1+ (1,0) [0|0] "" ECU'),
    "a long scale": (" SG_ a : 0|8@1+ (", "1", 'x,0) [0|0] "" ECU'),
    "a long start": (" SG_ a : ", "1", '|8@1+ (1,0) [0|0] "" ECU'),
    "blanks for a minimum": (" SG_ a : 0|8@1+ (1,0) [", " ", 'x] "" ECU'),
    "many receivers": (' SG_ a : 0|8@1+ (1,0) [0|0] "" ', "E,", "E"),
    "a long attribute": ('BA_ "GenMsgCycleTime" BO_ 1 "', "x", '";'),
    "attributes that never end": ("", 'BA_ "x" "\n', ""),
    "values that never end": ("", "VAL_ 1 m\n", ""),
    "many values": ("VAL_ 1 m ", '1 "" ', ";"),
    "a long value": ('VAL_ 1 m 1 "', "x", '";'),
    "a long range": ("SG_MUL_VAL_ 1 m m 0-0", ", 1-1", ";"),
    "lines that mean nothing": ("", "x\n", ""),
    "empty lines": ("", "\n", ""),
    "semicolons": ("", ";", ""),
    "symbols without end": ("NS_ :", "\n", ""),
    "blanks behind a symbol": ("NS_ :\n", " ", "x\n"),
    "nodes without end": ("BU_:", "\n A", "\n"),
    "keywords": ("", "SG_ ", ""),
}
"""What comes before, what is repeated, what comes behind."""


def _repeated(begin: str, line: str, end: str) -> Callable[[int], str]:
    return lambda size: f"{HEAD}{begin}{line * (size // len(line))}{end}"


HOSTILE: dict[str, Callable[[int], str]] = {
    function.__name__: function
    for function in (
        nested,
        wide_tree,
        multiplexor_values,
        one_name,
        one_table_for_all,
        overlapping,
        one_message,
        one_id,
        messages,
        ranges,
        enumeration,
        send_type,
        long_message_name,
        comment_that_never_ends,
        comments_full_of_quotes,
        one_line_of_statements,
        wide_text,
    )
} | {name: _repeated(*parts) for name, parts in REPEATED.items()}

TOML: dict[str, Callable[[int], str]] = {
    "dots": lambda size: "a" + ".a" * (size // 2) + " = 1\n",
    "dots behind an escaped quote": lambda size: '"\\"".a' + ".a" * (size // 2) + " = 1\n",
    "dots of a section": lambda size: "[" + "a." * (size // 2) + "a]\n",
    "sections one below the other": lambda size: "".join(f"[{'a.' * n}a]\n" for n in range(1, int(size**0.5))),
    "digits": lambda size: "a = " + "1" * size + "\n",
    "unknown keys": lambda size: "".join(f"k{n}=1\n" for n in range(size // 9)),
    "empty sections": lambda size: "[[bus]]\n" * (size // 8),
    "buses": lambda size: "".join(f'[[bus]]\nname="a{n}"\ninterface="b"\nchannel="c"\n' for n in range(size // 50)),
}
"""Configuration files; they may have a mebibyte."""
