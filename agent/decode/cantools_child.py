# SPDX-License-Identifier: Apache-2.0
"""The child process that reads a KCD, SYM, ARXML or CDD file with cantools; it imports nothing of the agent.

    python -I cantools_child.py KIND MEMORY_BYTES WORK PATH...

The file's text comes on standard input, the paths are where modules are imported from. The answer is one JSON object on
standard output: what the file says of each message and signal (`read`), or `error` and `line`.

Limits: `MEMORY_BYTES` above what the interpreter takes; of processor time `WORK` times what a fixed loop takes, so that
a slow processor is allowed as much work as a fast one. SIGPROF ends the process at this limit.

What cantools makes of a message is taken before cantools judges it: the agent judges all databases alike. A message or
signal that cantools cannot read costs itself. For that, functions of cantools are called that are not in its
documentation; the tests run with the versions that pyproject.toml allows.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import signal
import sys
import time
from functools import partial
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DECLARED_MAX = 100_000
"""Messages and signals of a file."""
IDS_MAX = 10_000
"""Of one message of a SYM file, which may name a range."""
ENTRIES_MAX = 500_000
"""In the value tables of a file."""
WARNINGS_MAX = 1_000
RAW_CATEGORIES = ("IDENTICAL", "BITFIELD_TEXTTABLE")
"""Of an ARXML file's conversions that cantools does not read: those whose numbers are the raw values."""
TEXT_CHARS_MAX = 1_000
NAME_CHARS_MAX = 255
REASON_CHARS_MAX = 200
EXTENDED_MASK = 0x1FFF_FFFF


class _RefusedError(Exception):
    """Why nothing of the file is read."""


class _LeftOutError(Exception):
    """Why a message or signal is not read."""


class _Reader:
    """What is read of one file, as it is answered."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.left_out: list[tuple[str, str, str]] = []
        self.warnings: list[tuple[str, str]] = []
        self.tables: list[list[tuple[str, str]]] = []
        self._table_numbers: dict[int, tuple[int, Any]] = {}  # the tables themselves keep their ids from being reused
        self._declared = self._entries = 0
        self._reading = ""
        self.doubt = ""

    def answer(self) -> dict[str, Any]:
        """The answer."""
        return {
            "messages": self.messages,
            "left_out": self.left_out,
            "warnings": self.warnings,
            "tables": self.tables,
        }

    def read(self, name: object, load: Callable[[], Any]) -> None:
        """Load a message and add it, or add why it cannot be loaded."""
        self._reading = _text(name)
        self._count(1)
        try:
            message = load()
            if message is not None:
                self.messages.append(self._message(message))
        except (MemoryError, _RefusedError):
            raise
        except Exception as error:  # noqa: BLE001 (whatever cantools stumbles over costs this message)
            self.left_out.append((self._reading, "", _reason(error)))
        self._reading = ""

    def warn(self, record: logging.LogRecord) -> None:
        """Add what cantools warns of; a scaling that it does not know is kept in `doubt`."""
        text = " ".join(record.getMessage().split())[:REASON_CHARS_MAX]
        category = text.removeprefix("Compu method category ")
        if category != text:
            self.doubt = "" if category.split()[0] in RAW_CATEGORIES else text
        elif text.startswith("Signal scaling featuring multiple segments"):
            self.doubt = "its scaling has several segments"
        elif record.levelno >= logging.WARNING and len(self.warnings) < WARNINGS_MAX:
            self.warnings.append((self._reading, text))

    def refuse_doubt(self) -> None:
        """Raise where the signal that has been loaded has a scaling that cantools does not know."""
        if self.doubt:
            raise _LeftOutError(self.doubt)

    def signal_left_out(self, name: str, error: Exception) -> None:
        """Add why a signal of the message cannot be loaded."""
        self.left_out.append((self._reading, name, _reason(error)))

    def _message(self, message: Any) -> dict[str, Any]:
        name = _name(message.name)
        self._reading = name
        self._count(len(message.signals))
        if not 0 <= _whole(message.frame_id, "id") <= EXTENDED_MASK:
            raise _LeftOutError(f"its id 0x{message.frame_id:x} has more than 29 bits")
        signals = []
        for each in message.signals:
            try:
                signals.append(self._signal(each))
            except _LeftOutError as error:
                self.signal_left_out(_text(each.name), error)
        return {
            "name": name,
            "id": message.frame_id,
            "extended": bool(message.is_extended_frame),
            "length": _whole(message.length, "length"),
            "bus": _text(message.bus_name),
            "cycle_ms": str(message.cycle_time or 0),
            "j1939": any(each.spn for each in message.signals),
            "contained": len(getattr(message, "contained_messages", None) or ()),
            "signals": signals,
        }

    def _signal(self, each: Any) -> dict[str, Any]:
        conversion = each.conversion
        if each.byte_order not in ("little_endian", "big_endian"):
            raise _LeftOutError(f"its byte order is {_text(each.byte_order)!r}")
        return {
            "name": _name(each.name),
            "start": _whole(each.start, "start bit"),
            "length": _whole(each.length, "length"),
            "little_endian": each.byte_order == "little_endian",
            "signed": bool(each.is_signed),
            "is_float": bool(conversion.is_float),
            "scale": str(conversion.scale),
            "offset": str(conversion.offset),
            "minimum": None if each.minimum is None else str(each.minimum),
            "maximum": None if each.maximum is None else str(each.maximum),
            "unit": _text(each.unit),
            "table": self._table(conversion.choices) if conversion.choices else -1,
            "multiplexor": bool(each.is_multiplexer),
            "selected_by": None if each.multiplexer_signal is None else _text(each.multiplexer_signal),
            "selected_when": [int(value) for value in each.multiplexer_ids or ()],
        }

    def _table(self, choices: dict[Any, Any]) -> int:
        """The number of a value table; tables that signals share are answered once."""
        found = self._table_numbers.get(id(choices))
        if found is None:
            self._entries += len(choices)
            if self._entries > ENTRIES_MAX:
                raise _RefusedError(f"more than {ENTRIES_MAX:,} entries in value tables")
            found = self._table_numbers[id(choices)] = (len(self.tables), choices)
            self.tables.append([(_integer(raw), _text(getattr(name, "name", name))) for raw, name in choices.items()])
        return found[0]

    def _count(self, declared: int) -> None:
        self._declared += declared
        if self._declared > DECLARED_MAX:
            raise _RefusedError(f"more than {DECLARED_MAX:,} messages and signals")


# The kinds ------------------------------------------------------------------------------------------------------


def _read_kcd(reader: _Reader, text: str) -> None:
    kcd: Any = import_module("cantools.database.can.formats.kcd")
    _refuse_entities(text)
    root = kcd.ElementTree.fromstring(text)
    if root.tag != kcd.ROOT_TAG:
        raise _RefusedError(f"its root element is {_text(root.tag)}, not {kcd.ROOT_TAG}")
    kcd.Message = _as_given
    for bus in root.iterfind("ns:Bus", kcd.NAMESPACES):
        name = bus.get("name", "")
        for message in bus.iterfind("ns:Message", kcd.NAMESPACES):
            load = kcd._load_message_element  # noqa: SLF001
            reader.read(message.get("name"), partial(load, message, name, [], False, None))


def _read_sym(reader: _Reader, text: str) -> None:
    sym: Any = import_module("cantools.database.can.formats.sym")

    def load_signals(tokens: Any, enums: Any) -> dict[str, Any]:
        signals = {}
        for each in sym._get_section_tokens(tokens, "{SIGNALS}"):  # noqa: SLF001
            try:
                loaded = sym._load_signal(each, enums)  # noqa: SLF001
            except Exception as error:  # noqa: BLE001 (the messages that name it cost themselves)
                reader.signal_left_out(_text(each[2]), error)
            else:
                signals[loaded.name] = loaded
        return signals

    def load_section(section: str, tokens: Any, signals: Any, enums: Any, *_: Any) -> list[Any]:
        rows = sym._get_section_tokens(tokens, section)  # noqa: SLF001
        for row in rows:
            if "ID" in row[3]:
                for frame_id, extended in _ids_of(reader, sym, row):
                    arguments = (frame_id, extended, row, rows, signals, enums, False, None, section)
                    load = sym._load_message  # noqa: SLF001
                    reader.read(row[1], partial(load, *arguments))
        return []

    sym.Message = _as_given
    sym._load_signals = load_signals  # noqa: SLF001
    sym._load_message_section = load_section  # noqa: SLF001
    sym.load_string(text, strict=False)


def _ids_of(reader: _Reader, sym: Any, row: Any) -> Iterator[tuple[int, bool]]:
    found: list[tuple[int, bool]] = []

    def load() -> None:
        ids, extended = sym._parse_message_frame_ids(row)  # noqa: SLF001
        if len(ids) > IDS_MAX:
            raise _LeftOutError(f"it has more than {IDS_MAX:,} ids")
        found.extend((each, extended) for each in ids)

    reader.read(row[1], load)
    yield from found


def _read_arxml(reader: _Reader, text: str) -> None:
    arxml: Any = import_module("cantools.database.can.formats.arxml")
    system_loader: Any = import_module("cantools.database.can.formats.arxml.system_loader")
    ecu_extract_loader: Any = import_module("cantools.database.can.formats.arxml.ecu_extract_loader")

    class SystemLoader(system_loader.SystemLoader):  # type: ignore[misc]
        def _named(self, *elements: Any) -> str:
            """The name of the first of these elements that is there and has one."""
            for element in elements:
                named = None if element is None else self._get_unique_arxml_child(element, "SHORT-NAME")
                if named is not None:
                    return _text(named.text)
            return ""

        def _load_message(self, bus_name: str, triggering: Any) -> None:
            load = super()._load_message
            name = self._named(self._get_can_frame(triggering), triggering)
            reader.read(name, lambda: load(bus_name, triggering))

        def _load_signal(self, mapping: Any) -> Any:
            reader.doubt = ""
            try:
                loaded = super()._load_signal(mapping)
                reader.refuse_doubt()
            except (MemoryError, _RefusedError):
                raise
            except Exception as error:  # noqa: BLE001 (costs this signal)
                reader.signal_left_out(self._named(self._get_i_signal(mapping), mapping), error)
                return None
            return loaded

        def load(self) -> None:
            packages = "AR-PACKAGES" if self.autosar_version_newer(4) else "TOP-LEVEL-PACKAGES"
            root = self._root.find(f"./ns:{packages}", self._xml_namespaces)
            if root is None:
                raise _RefusedError(f"it has no {packages}")
            self._load_messages(root)

    class EcuExtractLoader(ecu_extract_loader.EcuExtractLoader):  # type: ignore[misc]
        def load_message(self, pdu: Any) -> None:
            named = pdu.find(ecu_extract_loader.SHORT_NAME_XPATH, ecu_extract_loader.NAMESPACES)
            load = super().load_message
            reader.read(getattr(named, "text", ""), lambda: load(pdu))

    system_loader.Message = ecu_extract_loader.Message = _as_given
    arxml.SystemLoader, arxml.EcuExtractLoader = SystemLoader, EcuExtractLoader
    _refuse_entities(text)
    arxml.load_string(text, strict=False)


def _read_cdd(_: _Reader, text: str) -> None:
    cdd: Any = import_module("cantools.database.diagnostics.formats.cdd")
    _refuse_entities(text)
    count = len(cdd.load_string(text).dids)
    raise _RefusedError(f"a CDD file describes diagnostics ({count:,} data identifiers), no CAN frames")


_KINDS = {"kcd": _read_kcd, "sym": _read_sym, "arxml": _read_arxml, "cdd": _read_cdd}


def _refuse_entities(text: str) -> None:
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", text):
        raise _RefusedError("it declares a document type or entities, as no such file does")


# Values ---------------------------------------------------------------------------------------------------------


def _as_given(**message: Any) -> SimpleNamespace:
    """In place of cantools' class of messages, which checks and compiles them."""
    return SimpleNamespace(**message)


def _text(value: object) -> str:
    return "" if value is None else str(value)[:TEXT_CHARS_MAX]


def _name(value: object) -> str:
    name = _text(value).strip()
    if not name:
        raise _LeftOutError("it has no name")
    if len(name) > NAME_CHARS_MAX:
        raise _LeftOutError(f"its name has more than {NAME_CHARS_MAX} characters")
    return name


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int):
        raise _LeftOutError(f"it has no {what}" if value is None else f"its {what} is {_text(value)}")
    return value


def _integer(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _reason(error: BaseException) -> str:
    if isinstance(error, _LeftOutError | _RefusedError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"{_text(error.args[0] if error.args else '')} is not there"
    if isinstance(error, AttributeError | TypeError):  # of a None where cantools expects an element or a text
        return "something that it needs is missing"
    return " ".join(_text(error).split())[:REASON_CHARS_MAX] or type(error).__name__


# The process ----------------------------------------------------------------------------------------------------


def _serve(kind: str, memory_bytes: int, work: float) -> str:
    """The answer, as JSON."""
    _leave_out_python_can()
    import cantools.database  # noqa: F401 (before the limits: it takes the same for each file)

    reader = _Reader()
    handler = logging.Handler()
    handler.emit = reader.warn  # type: ignore[method-assign]
    logging.getLogger("cantools").addHandler(handler)
    logging.getLogger("cantools").setLevel(logging.DEBUG)
    _limit(memory_bytes, work)
    try:
        _KINDS[kind](reader, sys.stdin.buffer.read().decode("utf-8"))
        return json.dumps(reader.answer(), separators=(",", ":"))
    except MemoryError:
        _limit_memory(resource.RLIM_INFINITY)
        return json.dumps({"error": f"reading it takes more than {memory_bytes >> 20} MB of memory"})
    except Exception as error:  # noqa: BLE001 (whatever it is, the file cannot be read)
        line = re.search(r"line (\d+)", str(error)) if "ParseError" in type(error).__name__ else None
        return json.dumps({"error": _reason(error), "line": int(line[1]) if line else 0})


def _leave_out_python_can() -> None:
    """Import cantools' databases without the rest of it: 30 ms and 7 MB instead of a second and 140 MB."""
    package = ModuleType("cantools")
    package.__path__ = [os.path.join(path, "cantools") for path in sys.path]  # noqa: PTH118 (pathlib costs 10 ms)
    sys.modules["cantools"] = package


def _limit(memory_bytes: int, work: float) -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    _limit_memory(mapped + memory_bytes)
    signal.setitimer(signal.ITIMER_PROF, work * min(_loop_s() for _ in range(3)))


def _limit_memory(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _loop_s() -> float:
    """The processor time of a fixed loop: 3 ms on the machine that `WORK` was chosen on."""
    begin = time.process_time()
    for _ in range(300_000):
        pass
    return time.process_time() - begin


if __name__ == "__main__":
    sys.path[:] = sys.argv[4:]
    sys.stdout.buffer.write(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])).encode())
    sys.stdout.buffer.flush()
    os._exit(0)  # what is left need not be taken apart
