from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Batch(_message.Message):
    __slots__ = ["base", "catalog", "clock", "column_first", "column_kind", "events", "frames", "gaps", "group_begin", "group_bus", "group_id", "group_message", "group_period", "group_rows", "group_shapes", "linear_step", "opened_ns", "partial_defect", "partial_frames", "partial_group", "pool0", "pool1", "pool2", "pool3", "pool4", "sealed_ns", "sequence", "shape_signal", "shape_signals", "sparse_changes", "sparse_delta", "sparse_gap", "stream", "time_unit_ns", "unknown_bus", "unknown_frames", "unknown_id", "vehicle", "version"]
    BASE_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIRST_FIELD_NUMBER: _ClassVar[int]
    COLUMN_KIND_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    GROUP_BEGIN_FIELD_NUMBER: _ClassVar[int]
    GROUP_BUS_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GROUP_PERIOD_FIELD_NUMBER: _ClassVar[int]
    GROUP_ROWS_FIELD_NUMBER: _ClassVar[int]
    GROUP_SHAPES_FIELD_NUMBER: _ClassVar[int]
    LINEAR_STEP_FIELD_NUMBER: _ClassVar[int]
    OPENED_NS_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_DEFECT_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FRAMES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_GROUP_FIELD_NUMBER: _ClassVar[int]
    POOL0_FIELD_NUMBER: _ClassVar[int]
    POOL1_FIELD_NUMBER: _ClassVar[int]
    POOL2_FIELD_NUMBER: _ClassVar[int]
    POOL3_FIELD_NUMBER: _ClassVar[int]
    POOL4_FIELD_NUMBER: _ClassVar[int]
    SEALED_NS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    SHAPE_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SPARSE_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SPARSE_DELTA_FIELD_NUMBER: _ClassVar[int]
    SPARSE_GAP_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIT_NS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_BUS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FRAMES_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ID_FIELD_NUMBER: _ClassVar[int]
    VEHICLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    base: int
    catalog: bytes
    clock: Clock
    column_first: _containers.RepeatedScalarFieldContainer[int]
    column_kind: bytes
    events: _containers.RepeatedCompositeFieldContainer[Event]
    frames: int
    gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    group_begin: _containers.RepeatedScalarFieldContainer[int]
    group_bus: _containers.RepeatedScalarFieldContainer[int]
    group_id: _containers.RepeatedScalarFieldContainer[int]
    group_message: _containers.RepeatedScalarFieldContainer[int]
    group_period: _containers.RepeatedScalarFieldContainer[int]
    group_rows: _containers.RepeatedScalarFieldContainer[int]
    group_shapes: _containers.RepeatedScalarFieldContainer[int]
    linear_step: _containers.RepeatedScalarFieldContainer[int]
    opened_ns: int
    partial_defect: _containers.RepeatedScalarFieldContainer[int]
    partial_frames: _containers.RepeatedScalarFieldContainer[int]
    partial_group: _containers.RepeatedScalarFieldContainer[int]
    pool0: bytes
    pool1: bytes
    pool2: bytes
    pool3: bytes
    pool4: _containers.RepeatedScalarFieldContainer[int]
    sealed_ns: int
    sequence: int
    shape_signal: _containers.RepeatedScalarFieldContainer[int]
    shape_signals: _containers.RepeatedScalarFieldContainer[int]
    sparse_changes: _containers.RepeatedScalarFieldContainer[int]
    sparse_delta: _containers.RepeatedScalarFieldContainer[int]
    sparse_gap: _containers.RepeatedScalarFieldContainer[int]
    stream: str
    time_unit_ns: int
    unknown_bus: _containers.RepeatedScalarFieldContainer[int]
    unknown_frames: _containers.RepeatedScalarFieldContainer[int]
    unknown_id: _containers.RepeatedScalarFieldContainer[int]
    vehicle: str
    version: int
    def __init__(self, version: _Optional[int] = ..., vehicle: _Optional[str] = ..., stream: _Optional[str] = ..., sequence: _Optional[int] = ..., catalog: _Optional[bytes] = ..., time_unit_ns: _Optional[int] = ..., base: _Optional[int] = ..., opened_ns: _Optional[int] = ..., sealed_ns: _Optional[int] = ..., frames: _Optional[int] = ..., clock: _Optional[_Union[Clock, _Mapping]] = ..., gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ..., unknown_bus: _Optional[_Iterable[int]] = ..., unknown_id: _Optional[_Iterable[int]] = ..., unknown_frames: _Optional[_Iterable[int]] = ..., partial_group: _Optional[_Iterable[int]] = ..., partial_defect: _Optional[_Iterable[int]] = ..., partial_frames: _Optional[_Iterable[int]] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., group_message: _Optional[_Iterable[int]] = ..., group_bus: _Optional[_Iterable[int]] = ..., group_id: _Optional[_Iterable[int]] = ..., group_rows: _Optional[_Iterable[int]] = ..., group_begin: _Optional[_Iterable[int]] = ..., group_period: _Optional[_Iterable[int]] = ..., group_shapes: _Optional[_Iterable[int]] = ..., shape_signals: _Optional[_Iterable[int]] = ..., shape_signal: _Optional[_Iterable[int]] = ..., column_kind: _Optional[bytes] = ..., column_first: _Optional[_Iterable[int]] = ..., linear_step: _Optional[_Iterable[int]] = ..., sparse_changes: _Optional[_Iterable[int]] = ..., sparse_gap: _Optional[_Iterable[int]] = ..., sparse_delta: _Optional[_Iterable[int]] = ..., pool0: _Optional[bytes] = ..., pool1: _Optional[bytes] = ..., pool2: _Optional[bytes] = ..., pool3: _Optional[bytes] = ..., pool4: _Optional[_Iterable[int]] = ...) -> None: ...

class Catalog(_message.Message):
    __slots__ = ["buses", "messages", "version"]
    BUSES_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    buses: _containers.RepeatedScalarFieldContainer[str]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    version: int
    def __init__(self, version: _Optional[int] = ..., buses: _Optional[_Iterable[str]] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class Clock(_message.Message):
    __slots__ = ["boot_id", "holds", "monotonic_ns", "trusted", "wall_ns"]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_NS_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    WALL_NS_FIELD_NUMBER: _ClassVar[int]
    boot_id: bytes
    holds: bool
    monotonic_ns: int
    trusted: bool
    wall_ns: int
    def __init__(self, boot_id: _Optional[bytes] = ..., wall_ns: _Optional[int] = ..., monotonic_ns: _Optional[int] = ..., trusted: bool = ..., holds: bool = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ["detail", "id", "kind", "subject", "time_ns"]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    detail: str
    id: int
    kind: str
    subject: str
    time_ns: int
    def __init__(self, kind: _Optional[str] = ..., time_ns: _Optional[int] = ..., subject: _Optional[str] = ..., id: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ["begin_ns", "detail", "end_ns", "first_sequence", "frames", "kind", "last_sequence", "stream"]
    BEGIN_NS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    begin_ns: int
    detail: str
    end_ns: int
    first_sequence: int
    frames: int
    kind: str
    last_sequence: int
    stream: str
    def __init__(self, kind: _Optional[str] = ..., begin_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., frames: _Optional[int] = ..., stream: _Optional[str] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ["bus", "cycle_ms", "id", "j1939", "length", "name", "signals"]
    BUS_FIELD_NUMBER: _ClassVar[int]
    CYCLE_MS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    J1939_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    bus: int
    cycle_ms: int
    id: int
    j1939: bool
    length: int
    name: str
    signals: _containers.RepeatedCompositeFieldContainer[Signal]
    def __init__(self, name: _Optional[str] = ..., bus: _Optional[int] = ..., id: _Optional[int] = ..., length: _Optional[int] = ..., j1939: bool = ..., cycle_ms: _Optional[int] = ..., signals: _Optional[_Iterable[_Union[Signal, _Mapping]]] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ["choice_name", "choice_value", "ieee_float", "integer_offset", "integer_scale", "length", "maximum", "minimum", "motorola", "multiplexor", "name", "offset", "scale", "selected_by", "selected_high", "selected_low", "signed", "start", "unit"]
    CHOICE_NAME_FIELD_NUMBER: _ClassVar[int]
    CHOICE_VALUE_FIELD_NUMBER: _ClassVar[int]
    IEEE_FLOAT_FIELD_NUMBER: _ClassVar[int]
    INTEGER_OFFSET_FIELD_NUMBER: _ClassVar[int]
    INTEGER_SCALE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MOTOROLA_FIELD_NUMBER: _ClassVar[int]
    MULTIPLEXOR_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    SELECTED_BY_FIELD_NUMBER: _ClassVar[int]
    SELECTED_HIGH_FIELD_NUMBER: _ClassVar[int]
    SELECTED_LOW_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    choice_name: _containers.RepeatedScalarFieldContainer[str]
    choice_value: _containers.RepeatedScalarFieldContainer[int]
    ieee_float: bool
    integer_offset: bool
    integer_scale: bool
    length: int
    maximum: float
    minimum: float
    motorola: bool
    multiplexor: bool
    name: str
    offset: float
    scale: float
    selected_by: str
    selected_high: _containers.RepeatedScalarFieldContainer[int]
    selected_low: _containers.RepeatedScalarFieldContainer[int]
    signed: bool
    start: int
    unit: str
    def __init__(self, name: _Optional[str] = ..., start: _Optional[int] = ..., length: _Optional[int] = ..., motorola: bool = ..., signed: bool = ..., ieee_float: bool = ..., scale: _Optional[float] = ..., offset: _Optional[float] = ..., integer_scale: bool = ..., integer_offset: bool = ..., unit: _Optional[str] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., choice_value: _Optional[_Iterable[int]] = ..., choice_name: _Optional[_Iterable[str]] = ..., multiplexor: bool = ..., selected_by: _Optional[str] = ..., selected_low: _Optional[_Iterable[int]] = ..., selected_high: _Optional[_Iterable[int]] = ...) -> None: ...
