# SPDX-License-Identifier: Apache-2.0
"""What can be configured: one frozen struct a section of the file, its defaults, and what each key means.

The docstring of each struct is the reference: a line ``key   meaning`` for every key, continued by deeper
indented lines. An annotation says what is accepted: `Within` bounds a quantity or a number, `Meta(pattern=…,
description=…)` a text. `reading` turns both into error messages. Attributes carry the names of the file's
keys.

Durations are nanoseconds (`.seconds` for asyncio), sizes bytes, rates bytes per second; all are ints.
Paths are absolute once read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, field

from agent.config.collecting import CollectConfig, TriggerConfig  # noqa: TC001  (msgspec reads the annotations)
from agent.config.integrity import IntegrityConfig  # noqa: TC001  (msgspec reads the annotations)
from agent.config.priorities import HIGHEST_FIRST
from agent.config.section import Section, Within
from agent.errors import ConfigError
from agent.units import Duration, Rate, Size

VehicleId = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.)[A-Za-z0-9_.:-]{1,128}\Z",
        description="1 to 128 letters, digits and - _ . :, the first of them no dot",
    ),
]
BusName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}\Z", description="1 to 64 letters, digits and - _ . :")]
InterfaceName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.-]{1,64}\Z",
        description='"socketcan", "gnss", "replay", "simulator" or the name of a python-can interface',
    ),
]
BrokerUrl = Annotated[
    str,
    Meta(
        pattern=r"^mqtts?://(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?/?\Z",
        description='"mqtts://host:8883" or, without encryption, "mqtt://host:1883"',
    ),
]
Topic = Annotated[
    str,
    Meta(
        pattern=r"^([^+#\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff{}]|\{vehicle\}){1,256}\Z",
        description=(
            "a topic of 1 to 256 characters without +, # and control characters, in which {vehicle} stands for the "
            "vehicle's id"
        ),
    ),
]
BatchTopic = Annotated[
    str,
    Meta(
        pattern=r"^([^+#\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff{}]|\{vehicle\}|\{class\}){1,256}\Z",
        description=(
            "a topic of 1 to 256 characters without +, # and control characters, in which {vehicle} stands for the "
            "vehicle's id and {class} for critical, normal or bulk"
        ),
    ),
]
StatusTopic = Annotated[
    str,
    Meta(
        pattern=r"^([^+#\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff{}]|\{vehicle\}){0,256}\Z",
        description="a topic as the others, or an empty text for no status at all",
    ),
]
ClientId = Annotated[str, Meta(min_length=1, max_length=128, description="1 to 128 characters")]
Congestion = Annotated[
    str, Meta(pattern=r"^[a-z0-9_-]{0,15}\Z", description='the name of one, such as "bbr" or "cubic", or "" for none')
]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]


DbcEncoding = Literal[
    "auto", "utf-8", "utf-16", "cp1250", "cp1251", "cp1252", "gbk", "big5", "shift_jis", "euc_jp", "euc_kr"
]

SocketPath = Annotated[
    str,
    Meta(pattern=r"^(/[^\x00]{1,106})?\Z", description='an absolute path of at most 107 characters, or "" for none'),
]


class VehicleConfig(Section, frozen=True, kw_only=True):
    """``[vehicle]``: whose signals these are.

    id   names the vehicle in topics and batch ids; what waits when it is changed is sent as the earlier one's; required
    """

    id: VehicleId


class BusConfig(Section, frozen=True, kw_only=True):
    """``[[bus]]``: one CAN bus, or a satellite receiver; at least one.

    name           names the bus in batches, logs and exports; each name once; required
    interface      "socketcan", "gnss" (a satellite receiver), "replay" (a recorded log at its own pace),
                   "simulator" (the demo's car), or any interface that python-can knows, such as "slcan",
                   "udp_multicast", "pcan", "vector"; required
    channel        what the interface opens: "can0", a serial device, "gpsd://localhost", a log file; required
                   but for "simulator"
    dbc            the databases that describe the bus: DBC files, or KCD, SYM (6.0) or ARXML files, by their suffix;
                   first match wins; relative to the configuration file; may be empty only with keep_unknown;
                   "gnss" and "simulator" without any have their own
    dbc_encoding   what the text of the bus's databases is written in; "auto": what a file says of itself, else
                   UTF-8 where it is, else cp1252, "gbk" or "shift_jis", whichever it looks like; check says what
                   was taken
    j1939          match 29-bit identifiers by PGN: true, false, or "auto": what each database says of itself
    keep_unknown   keep frames that no database describes as raw bytes, instead of only counting them
    bitrate        bits per second, handed to python-can, or of a satellite receiver's serial device, there
                   9600 unless given; socketcan interfaces are set up by the system
    fd             open the interface for CAN FD; socketcan always is
    options        further options handed to the python-can interface as they are
    """

    name: BusName
    interface: InterfaceName
    channel: str | int = ""
    dbc: tuple[Path, ...] = ()
    dbc_encoding: DbcEncoding = "auto"
    j1939: bool | Literal["auto"] = "auto"
    keep_unknown: bool = False
    bitrate: Annotated[int, Within("1000", "20000000")] | None = None
    fd: bool = False
    options: dict[str, object] = field(default_factory=dict)


class BatchConfig(Section, frozen=True, kw_only=True):
    """``[batch]``: what travels together.

    interval            a batch is sealed after this time; longer ones cost fewer bytes, shorter ones arrive
                        sooner
    silence             a batch is sealed when no bus has been heard for this time: the ignition is off
    time_resolution     the step in which times are sent; 1us takes up to 1.8 times the bytes of 1ms
    max_bytes           a batch is sealed before it would grow larger than this; at most 120KiB, what all
                        brokers take
    compression_level   zstd level, 1 to 22; 16 saves up to three percent more, and takes two to four times as long
    """

    interval: Annotated[Duration, Within("50ms", "1h")] = Duration.parse("10s")
    silence: Annotated[Duration, Within("1s", "1h")] = Duration.parse("5s")
    time_resolution: Annotated[Duration, Within("1us", "1s")] = Duration.parse("1ms")
    max_bytes: Annotated[Size, Within("1KiB", "120KiB")] = Size.parse("48KiB")  # AWS takes 128 KB, headers included
    compression_level: Annotated[int, Within("1", "22")] = 8


class SpoolConfig(Section, frozen=True, kw_only=True):
    """``[spool]``: where batches wait, on disk, until the broker has acknowledged them.

    path               the directory; made where missing; what waits in another one stays there unsent: to change it,
                       stop the agent, move the directory, start the agent; a reload with another one is refused
    limit              the most that waiting batches may take, of all priorities; the oldest are evicted beyond it
    segment            size of the files in it, preallocated
    min_free           what is left free on the disk for others; the oldest are evicted below it
    journal_interval   the open batch is written down this often: the most that a power cut can cost
    erase              "acknowledged": what the broker has acknowledged is overwritten on the disk within a minute,
                       which writes all bytes twice; "never": it stays until its place is written again, or
                       `canferry erase` is run
    """

    path: Path = field(default_factory=lambda: Path("/var/lib/canferry"))
    limit: Annotated[Size, Within("1MiB", "1024GiB")] = Size.parse("512MiB")
    segment: Annotated[Size, Within("256KiB", "256MiB")] = Size.parse("4MiB")
    min_free: Annotated[Size, Within("0B", "1024GiB")] = Size.parse("64MiB")
    journal_interval: Annotated[Duration, Within("50ms", "1m")] = Duration.parse("1s")
    erase: Literal["never", "acknowledged"] = "never"


class MqttConfig(Section, frozen=True, kw_only=True):
    """``[mqtt]``: the broker that takes the batches.

    broker            ``mqtts://host:port`` (8883 unless given) or, not encrypted, ``mqtt://host:port``
                      (1883); required
    profile           the kind of endpoint: "generic", "azure-iot-hub", "azure-event-grid" or "aws-iot-core";
                      sets what that kind wants, and refuses what it does not take
    version           MQTT version: "5", "3.1.1", or "auto": 5, and 3.1.1 where the broker's answer refuses that and
                      it has never spoken 5; in 3.1.1 it cannot tell that it refuses a batch
    client_id         the name of the connection, one a vehicle; the vehicle's id unless given
    username          for brokers that ask for one
    password_file     a file whose first line is the password; read at each connection
    ca                PEM file of the authorities that may vouch for the broker; the system's unless given
    certificate       PEM file of the vehicle's own certificate, with its chain
    key               PEM file of the certificate's private key; readable by the agent alone
    keepalive         a silent link is probed this often; one that gives no answer is given up
    window_batches    how many batches may be on their way at once
    window_bytes      how many bytes may be; at least batch.max_bytes
    backlog_rate      what old batches may use of the link beside the live ones, such as "20KiB/s"; all of it
                      unless given
    topic_batch       where batches are published; {vehicle} stands for the vehicle's id, {class} for the batch's class,
                      critical, normal or bulk, so that a cloud can route by it
    topic_catalog     where the description of the signals is published, retained
    topic_status      where the agent says online and offline, and how it goes; an empty text: nowhere
    retain            the broker keeps description, status and last will for who comes later; false for one that
                      keeps no retained messages
    no_subscribers    what becomes of batches that the broker says nobody subscribes to: "keep": they wait in the spool,
                      and one a minute asks again; "accept": they count as delivered, for brokers that hand them to
                      rules of their own and say so nevertheless
    heartbeat         how often it says how it goes while it is online; "0s": never
    cloud_events      label each message as a CloudEvent, in MQTT 5's properties
    congestion        TCP's congestion control, where the kernel has and allows it, such as "bbr" on a radio that loses;
                      "": the kernel's own choice
    connect_timeout   a connection that takes longer is given up
    backoff_base      the first pause after a failure is up to this long; each one after up to twice the last
    backoff_spread    the first pauses after the broker has closed a working connection are up to this long: it
                      closes those of all vehicles at once; the network loses them one by one
    backoff_max       no pause is longer
    """

    broker: BrokerUrl
    profile: Literal["generic", "azure-iot-hub", "azure-event-grid", "aws-iot-core"] = "generic"
    version: Literal["auto", "5", "3.1.1"] = "auto"
    client_id: ClientId | None = None
    username: Text | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    keepalive: Annotated[Duration, Within("1s", "18h")] = Duration.parse("30s")
    window_batches: Annotated[int, Within("1", "100")] = 8
    window_bytes: Annotated[Size, Within("1KiB", "64MiB")] = Size.parse("256KiB")
    backlog_rate: Annotated[Rate, Within("100B/s", "1GB/s")] | None = None
    topic_batch: BatchTopic = "canferry/{vehicle}/batch"
    topic_catalog: Topic = "canferry/{vehicle}/catalog"
    topic_status: StatusTopic = "canferry/{vehicle}/status"
    retain: bool = True
    no_subscribers: Literal["keep", "accept"] = "keep"
    heartbeat: Annotated[Duration, Within("0s", "24h")] = Duration.parse("15m")
    cloud_events: bool = False
    congestion: Congestion = ""
    connect_timeout: Annotated[Duration, Within("1s", "5m")] = Duration.parse("20s")
    backoff_base: Annotated[Duration, Within("10ms", "1m")] = Duration.parse("1s")
    backoff_spread: Annotated[Duration, Within("0s", "24h")] = Duration.parse("30s")
    backoff_max: Annotated[Duration, Within("10ms", "24h")] = Duration.parse("5m")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.broker.startswith("mqtts:")

    @property
    def host(self) -> str:
        """The broker's name or address, brackets removed."""
        return urlsplit(self.broker).hostname or ""

    @property
    def port(self) -> int:
        """The broker's port, by default the registered one."""
        port = urlsplit(self.broker).port
        return (8883 if self.tls else 1883) if port is None else port


class ModemConfig(Section, frozen=True, kw_only=True):
    """``[modem]``: a modem that is asked how it stands with the network; without the section none is.

    source      "at": it is asked by AT commands; "modemmanager": ModemManager is asked, over D-Bus
    port        the serial device of its AT commands; required by "at"
    baud        bits per second
    poll        it is asked this often; changes that it tells unasked are heard at once
    weak_rate   what old batches of other priorities than critical may use of the link while the signal is about to
                be lost
    """

    source: Literal["at", "modemmanager"] = "at"
    port: Annotated[str, Meta(pattern=r"^/.+\Z", description='a serial device such as "/dev/ttyUSB2"')] | None = None
    baud: Annotated[int, Within("1200", "4000000")] = 115200
    poll: Annotated[Duration, Within("1s", "1h")] = Duration.parse("30s")
    weak_rate: Annotated[Rate, Within("1B/s", "1GiB/s")] = Rate.parse("2KiB/s")


class DataPlanConfig(Section, frozen=True, kw_only=True):
    """``[data_plan]``: what may be sent and received in a month; without the section, as much as there is.

    per_month            of it all, kept to by pacing: a day ahead at most; required
    per_day              of a day (UTC); critical batches are not held to it
    roaming_per_month    abroad, as [modem] tells; likewise
    critical_per_month   kept of per_month for critical batches, which are not held back until they have taken it;
                         a fiftieth unless given
    month_starts_on      the day of the month on which the plan's begins
    interface            the network interface that counts, such as "wwan0"; unless given, what is published is
                         counted, with an estimate of what it takes on the way
    """

    per_month: Annotated[Size, Within("1MiB", "1024GiB")]
    per_day: Annotated[Size, Within("0B", "1024GiB")] | None = None
    roaming_per_month: Annotated[Size, Within("0B", "1024GiB")] | None = None
    critical_per_month: Annotated[Size, Within("0B", "1024GiB")] | None = None
    month_starts_on: Annotated[int, Within("1", "28")] = 1
    interface: (
        Annotated[str, Meta(pattern=r"^[^/\s.][^/\s]{0,14}\Z", description='a network interface such as "wwan0"')]
        | None
    ) = None


class LogConfig(Section, frozen=True, kw_only=True):
    """``[log]``: what the agent says on stderr.

    level    the least that is said
    format   "console" for people, "json" for machines, or "auto": console on a terminal,
             fields in the journal under systemd, else json
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class AgentConfig(Section, frozen=True, kw_only=True):
    """``[agent]``: the process itself.

    shutdown_grace   how long the uplink may go on sending after SIGTERM; what is left stays in the spool
    tick             how long frames wait in the kernel's queue, at most: less where it grants too small a receive
                     buffer for that, and no longer than the journal's interval allows; longer ticks cost less
    receive_buffer   asked of the kernel for queued frames; one classic frame takes 768 bytes of it
    ring             memory for the latest frames, of which triggers record what came before their event; one
                     classic frame takes 31 bytes of it. Without any [[trigger]] none is taken
    socket           where `canferry status`, `tail` and `explain` ask, a UNIX socket for the agent's group; "" for
                     none
    """

    shutdown_grace: Annotated[Duration, Within("0s", "10m")] = Duration.parse("5s")
    tick: Annotated[Duration, Within("1ms", "1s")] = Duration.parse("1s")
    receive_buffer: Annotated[Size, Within("64KiB", "1GiB")] = Size.parse("8MiB")
    ring: Annotated[Size, Within("64KiB", "1GiB")] = Size.parse("16MiB")
    socket: SocketPath = "/run/canferry/agent.sock"


class Config(Section, frozen=True, kw_only=True):
    """A whole configuration, valid in itself; whether files and devices exist is not its matter.

    mqtt is None where batches do not leave the unit (`replay --out`); a file always has one. file is where it was
    read, "" where it was made of a command line.
    """

    vehicle: VehicleConfig
    buses: tuple[BusConfig, ...] = field(name="bus")
    mqtt: MqttConfig | None = None
    modem: ModemConfig | None = None
    data_plan: DataPlanConfig | None = None
    collect: tuple[CollectConfig, ...] = ()
    triggers: tuple[TriggerConfig, ...] = field(name="trigger", default=())
    integrity: tuple[IntegrityConfig, ...] = ()
    batch: BatchConfig = BatchConfig()
    spool: SpoolConfig = SpoolConfig()
    log: LogConfig = LogConfig()
    agent: AgentConfig = AgentConfig()
    file: str = ""

    def refusal(self, key: str, text: str) -> ConfigError:
        """What is wrong with the value of a key, to be raised: names the file."""
        return ConfigError(": ".join(filter(None, (self.file, key, text))))

    def topic(self, template: str) -> str:
        """The topic that a template such as ``mqtt.topic_status`` stands for; {class} is left in."""
        return template.replace("{vehicle}", self.vehicle.id)

    def topics(self, template: str) -> tuple[str, ...]:
        """All that a template such as ``mqtt.topic_batch`` stands for, one of each class where it has {class}."""
        return tuple(dict.fromkeys(self.topic(template).replace("{class}", str(each)) for each in HIGHEST_FIRST))
