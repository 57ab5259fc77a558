# SPDX-License-Identifier: Apache-2.0
"""The configuration file: what it may say, and how it is refused."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.config import (
    Config,
    config_from_arguments,
    demo_car_dbc,
    gnss_dbc,
    inspect_config,
    load_config,
    parse_dbc_arguments,
)
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.sections import (
    AgentConfig,
    BatchConfig,
    BusConfig,
    DataPlanConfig,
    LogConfig,
    ModemConfig,
    MqttConfig,
    SpoolConfig,
    VehicleConfig,
)
from agent.config.values import accepted
from agent.daemon.options import data_plan
from agent.errors import ConfigError
from agent.uplink.cellular.budget import Plan

if TYPE_CHECKING:
    from agent.config.section import Section

SMALLEST = """
[vehicle]
id = "demo-0001"

[[bus]]
name = "powertrain"
interface = "socketcan"
channel = "can0"
dbc = ["/etc/canferry/dbc/powertrain.dbc"]

[mqtt]
broker = "mqtts://telemetry.example.com:8883"
"""


class Configured:
    """Writes configuration files and reads them back."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "agent.toml"

    def write(self, text: str) -> Path:
        self.file.write_text(text, encoding="utf-8")
        return self.file

    def load(self, text: str) -> Config:
        return load_config(self.write(text))

    def refusal(self, text: str) -> str:
        with pytest.raises(ConfigError) as raised:
            self.load(text)
        message = str(raised.value)
        assert message.startswith(f"{self.file}: ")
        assert "\n" not in message
        return message.removeprefix(f"{self.file}: ")


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    return Configured(tmp_path)


def with_mqtt(lines: str) -> str:
    return f"{SMALLEST}{lines}\n"


def with_section(section: str, lines: str) -> str:
    return f"{SMALLEST}\n[{section}]\n{lines}\n"


def test_the_smallest_real_file_is_complete(configured: Configured) -> None:
    config = configured.load(SMALLEST)
    assert config.vehicle.id == "demo-0001"
    (bus,) = config.buses
    assert (bus.name, bus.interface, bus.channel) == ("powertrain", "socketcan", "can0")
    assert bus.dbc == (Path("/etc/canferry/dbc/powertrain.dbc"),)
    assert bus.j1939 == "auto"
    assert config.mqtt is not None
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.tls) == ("telemetry.example.com", 8883, True)
    assert config.mqtt.client_id == "demo-0001"
    assert config.topic(config.mqtt.topic_batch) == "canferry/demo-0001/batch"
    assert config.batch.interval.seconds == 10
    assert config.batch.time_resolution == 1_000_000
    assert config.batch.max_bytes == 48 * 1024
    assert config.spool.path == Path("/var/lib/canferry")
    assert config.spool.journal_interval.seconds == 1


def test_every_key_can_be_set(configured: Configured, tmp_path: Path) -> None:
    config = configured.load(
        """
        [vehicle]
        id = "v:1.2_3"
        [[bus]]
        name = "body"
        interface = "slcan"
        channel = "/dev/ttyUSB0"
        dbc = ["body.dbc", "/abs/more.dbc"]
        j1939 = true
        keep_unknown = true
        bitrate = 500000
        fd = true
        options = { ttyBaudrate = 115200 }
        [[bus]]
        name = "log"
        interface = "replay"
        channel = "drive.log"
        dbc = ["x.dbc"]
        j1939 = "auto"
        [batch]
        interval = "2s"
        time_resolution = "1us"
        max_bytes = "100KiB"
        compression_level = 12
        [spool]
        path = "spool"
        limit = "200MB"
        segment = "1MiB"
        min_free = "0B"
        journal_interval = "500ms"
        [mqtt]
        broker = "mqtts://[2001:db8::1]:1234"
        version = "3.1.1"
        client_id = "c"
        username = "u"
        password_file = "pw"
        ca = "ca.pem"
        certificate = "cert.pem"
        key = "key.pem"
        keepalive = "1m"
        window_batches = 8
        window_bytes = "256KiB"
        backlog_rate = "20KiB/s"
        topic_batch = "a/{vehicle}/b"
        topic_catalog = "a/{vehicle}/c"
        topic_status = "s"
        connect_timeout = "5s"
        backoff_base = "100ms"
        backoff_max = "1m"
        [log]
        level = "debug"
        format = "json"
        [agent]
        shutdown_grace = "0s"
        tick = "10ms"
        receive_buffer = "1MiB"
        """
    )
    mqtt = config.mqtt
    assert mqtt is not None
    assert config.buses[0].options == {"ttyBaudrate": 115200}
    assert config.buses[0].dbc == (tmp_path / "body.dbc", Path("/abs/more.dbc"))
    assert config.buses[1].channel == str(tmp_path / "drive.log")
    assert config.spool.path == tmp_path / "spool"
    assert (mqtt.host, mqtt.port) == ("2001:db8::1", 1234)
    assert (mqtt.ca, mqtt.key) == (tmp_path / "ca.pem", tmp_path / "key.pem")
    assert mqtt.backlog_rate == 20 * 1024
    assert mqtt.client_id == "c"
    assert config.agent.shutdown_grace == 0
    assert (config.log.level, config.log.format) == ("debug", "json")


def test_the_broker_without_encryption_has_another_port(configured: Configured) -> None:
    config = configured.load(SMALLEST.replace("mqtts://telemetry.example.com:8883", "mqtt://broker"))
    assert config.mqtt is not None
    assert (config.mqtt.port, config.mqtt.tls) == (1883, False)


def test_a_configuration_cannot_be_changed(configured: Configured) -> None:
    config = configured.load(SMALLEST)
    with pytest.raises(AttributeError):
        config.batch.interval = 1  # type: ignore[misc, assignment]


def test_a_duration_without_a_unit_is_refused_with_what_is_accepted(configured: Configured) -> None:
    assert configured.refusal(with_mqtt('keepalive = "30"')) == (
        'mqtt.keepalive: "30" is not a duration; accepted: a number and a unit, such as "500ms", "10s", "5m", "2h"'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (with_mqtt("keepalive = 30"), "mqtt.keepalive: 30 is not a duration; accepted: a number and a unit"),
        (with_mqtt('backlog_rate = "20KiB"'), 'mqtt.backlog_rate: "20KiB" is not a rate; accepted: a size per'),
        (with_mqtt("version = 5"), 'mqtt.version: 5 is not one of these; accepted: "auto", "5", "3.1.1"'),
        (with_mqtt("ca = 5"), "mqtt.ca: 5 is not a path; accepted: a path in quotes"),
        (with_mqtt("window_batches = 0"), "mqtt.window_batches: 0 is not a whole number in range; accepted: 1 to 100"),
        (with_mqtt("window_batches = true"), "mqtt.window_batches: true is not a whole number; accepted: a whole"),
        (
            with_mqtt('topic_batch = "a/#"'),
            'mqtt.topic_batch: "a/#" is not of this form; accepted: a topic of 1 to 256 characters without',
        ),
        (
            with_mqtt('topic_catalog = "canferry/{vehicle}/batch"'),
            'mqtt.topic_catalog: "canferry/{vehicle}/batch" is taken',
        ),
        (
            with_mqtt('topic_status = "canferry/demo-0001/batch"'),
            'mqtt.topic_status: "canferry/demo-0001/batch" is taken',
        ),
        (
            with_mqtt('topic_batch = "all"\ntopic_catalog = "all"\ntopic_status = ""'),
            'mqtt.topic_catalog: "all" is taken by mqtt.topic_batch; accepted: each topic once',
        ),
        (
            with_mqtt('topic_batch = "a/{class}"\ntopic_catalog = "a/normal"'),
            'mqtt.topic_catalog: "a/normal" is taken by mqtt.topic_batch; accepted: each topic once',
        ),
        (with_mqtt('topic_catalog = "a/{class}"'), 'mqtt.topic_catalog: "a/{class}" is not of this form'),
        (with_mqtt('topic_batch = "a/{vin}"'), 'mqtt.topic_batch: "a/{vin}" is not of this form'),
        (with_mqtt('username = ""'), 'mqtt.username: "" is not of this length; accepted: a text that is not empty'),
        (with_mqtt("username = 5"), "mqtt.username: 5 is not a text; accepted: a text that is not empty"),
        (
            with_mqtt(f'client_id = "{"c" * 129}"'),
            f'mqtt.client_id: "{"c" * 76}… is not of this length; accepted: 1 to',
        ),
        (
            with_section("batch", 'time_resolution = "1ns"'),
            'batch.time_resolution: "1ns" is not a duration in range; accepted: "1us" to "1s"',
        ),
        (
            with_section("batch", 'max_bytes = "121KiB"'),
            'batch.max_bytes: "121KiB" is not a size in range; accepted: "1KiB" to "120KiB"',
        ),
        (
            with_section("batch", "compression_level = 23"),
            "batch.compression_level: 23 is not a whole number in range; accepted: 1 to 22",
        ),
        (with_section("log", 'level = "loud"'), 'log.level: "loud" is not one of these; accepted: "debug", "info"'),
        (
            with_section("spool", 'limit = "5MiB"'),
            'spool.limit: "5MiB" is too small; accepted: at least twice spool.segment = "4MiB"',
        ),
        (
            SMALLEST.replace("demo-0001", "demo/0001"),
            'vehicle.id: "demo/0001" is not of this form; accepted: 1 to 128 letters',
        ),
        (SMALLEST.replace("demo-0001", "x" * 129), "vehicle.id: "),
        (
            SMALLEST.replace("demo-0001", ".."),
            'vehicle.id: ".." is not of this form; accepted: 1 to 128 letters, digits',
        ),
        (SMALLEST.replace("demo-0001", ".demo"), 'vehicle.id: ".demo" is not of this form; accepted: 1 to 128 letters'),
        (
            SMALLEST.replace('powertrain.dbc"]', 'powertrain.dbc"]\nj1939 = "yes"'),
            'bus[powertrain].j1939: "yes" is not one of these; accepted: true, false, "auto"',
        ),
        (
            SMALLEST.replace('powertrain.dbc"]', 'powertrain.dbc"]\noptions = 1'),
            "bus[powertrain].options: 1 is not a table; accepted: keys and values",
        ),
        (
            SMALLEST.replace('["/etc/canferry/dbc/powertrain.dbc"]', '"x.dbc"'),
            'bus[powertrain].dbc: "x.dbc" is not a list of paths; accepted: [] or a list',
        ),
        (
            SMALLEST.replace('["/etc/canferry/dbc/powertrain.dbc"]', "[]"),
            "bus[powertrain].dbc: empty; accepted: at least one DBC file (or KCD, SYM, ARXML), or keep_unknown = true",
        ),
        (
            SMALLEST.replace('channel = "can0"', ""),
            'bus[powertrain].channel: missing; accepted: what interface "socketcan" opens',
        ),
        (
            SMALLEST.replace('channel = "can0"', 'channel = "a-name-of-17-xyz"'),
            "bus[powertrain].channel: 'a-name-of-17-xyz' is not a network interface",
        ),
        (
            SMALLEST.replace('channel = "can0"', 'channel = "can0"\nbitrate = 500000'),
            "bus[powertrain].bitrate: has no effect on socketcan; set it with",
        ),
        (
            SMALLEST.replace('interface = "socketcan"', ""),
            'bus[powertrain].interface: missing, and required; accepted: "socketcan"',
        ),
        (
            SMALLEST.replace("telemetry.example.com:8883", ""),
            'mqtt.broker: "mqtts://" is not of this form; accepted: "mqtts://host:8883"',
        ),
        (
            SMALLEST.replace("8883", "99999"),
            'mqtt.broker: the port of "mqtts://telemetry.example.com:99999" is out of range',
        ),
        (SMALLEST.replace("8883", "0"), "mqtt.broker: the port of "),
        (
            SMALLEST.replace("mqtts://", "http://"),
            'mqtt.broker: "http://telemetry.example.com:8883" is not of this form',
        ),
        (with_mqtt('certificate = "c.pem"'), "mqtt.key: missing; accepted: certificate and key together, or neither"),
        (with_mqtt('key = "c.pem"'), "mqtt.certificate: missing; accepted: certificate and key together, or neither"),
        (with_mqtt('password_file = "pw"'), "mqtt.username: missing; accepted: a user name beside password_file"),
        (
            with_mqtt('ca = "ca.pem"').replace("mqtts:", "mqtt:"),
            "mqtt.ca: has no effect without encryption; accepted: with a broker mqtts://",
        ),
        (
            with_mqtt('backoff_max = "500ms"'),
            'mqtt.backoff_max: "500ms" is too small; accepted: at least mqtt.backoff_base = "1s"',
        ),
        (
            with_mqtt('window_bytes = "20KiB"'),
            'mqtt.window_bytes: "20KiB" is too small; accepted: at least batch.max_bytes = "48KiB"',
        ),
        (
            "[vehicle]\nid = 'v'\n[mqtt]\nbroker = 'mqtt://b'",
            "bus: missing, and required; accepted: one section [[bus]]",
        ),
        ("vehicle = 1\n[[bus]]", "vehicle: 1 is not a section; accepted: [vehicle] and keys below it"),
        ("bus = 1", "vehicle.id: missing, and required in a section [vehicle]"),
        (SMALLEST.split("[mqtt]")[0], "mqtt.broker: missing, and required in a section [mqtt]"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_what_is_accepted(
    configured: Configured, text: str, expected: str
) -> None:
    assert configured.refusal(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SMALLEST.replace('demo-0001"', 'demo-0001\\n"'), "vehicle.id"),
        (SMALLEST.replace('name = "powertrain"', 'name = "powertrain\\n"'), "bus[#1].name"),
        (SMALLEST.replace('socketcan"', 'socketcan\\n"'), "bus[powertrain].interface"),
        (SMALLEST.replace(':8883"', ':8883\\n"'), "mqtt.broker"),
        (with_mqtt('topic_batch = "t\\n"'), "mqtt.topic_batch"),
        (with_mqtt('topic_status = "\\n"'), "mqtt.topic_status"),
        (with_mqtt('congestion = "bbr\\n"'), "mqtt.congestion"),
        (with_section("agent", 'socket = "\\n"'), "agent.socket"),
        (with_section("modem", 'port = "/dev/ttyS0\\n"'), "modem.port"),
        (with_section("data_plan", 'per_month = "1GiB"\ninterface = "wwan0\\n"'), "data_plan.interface"),
        (SMALLEST + '[[trigger]]\nname = "t\\n"\nwhen = "a > 1"\n', "trigger[#1].name"),
    ],
)
def test_a_name_with_a_line_feed_behind_it_is_not_that_name(configured: Configured, text: str, key: str) -> None:
    config, problems = inspect_config(configured.write(text))
    assert config is None
    assert [problem.key for problem in problems] == [key]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            with_mqtt("keepalve = 3"),
            'mqtt.keepalve: unknown key, set to 3 (did you mean "keepalive"?); accepted: broker,',
        ),
        (with_mqtt("Broker = 3"), 'mqtt.Broker: unknown key, set to 3 (did you mean "broker"?)'),
        (
            SMALLEST.replace("channel", "chanel"),
            'bus[powertrain].chanel: unknown key, set to "can0" (did you mean "channel"?)',
        ),
        ("spol = 3\n" + SMALLEST, 'spol: unknown key, set to 3 (did you mean "spool"?); accepted: vehicle, bus, mqtt,'),
        (with_section("batch", "zebra = { a = 1 }"), 'batch.zebra: unknown key, set to {"a": 1}; accepted: interval,'),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(configured: Configured, text: str, expected: str) -> None:
    assert configured.refusal(text).startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        SMALLEST.replace("mqtts://", "mqtts://joe:hunter2@"),
        with_mqtt('password = "hunter2"'),
        with_mqtt('broker_token = "hunter2"'),
        with_mqtt('url = "mqtts://joe:hunter2@host"'),
        with_section("tls", 'x = "a"').replace("[tls]", "[mqtt.password]").replace('x = "a"', 'x = "hunter2"'),
    ],
)
def test_a_secret_is_never_repeated(configured: Configured, text: str) -> None:
    _, problems = inspect_config(configured.write(text))
    assert problems
    assert all("hunter2" not in str(problem) for problem in problems)


def test_credentials_are_found_where_the_service_manager_puts_them(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = with_mqtt('certificate = "${CREDENTIALS_DIRECTORY}/car.pem"\nkey = "${CREDENTIALS_DIRECTORY}/car.key"')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/canferry.service")
    mqtt = configured.load(text).mqtt
    assert mqtt is not None
    assert mqtt.key == Path("/run/credentials/canferry.service/car.key")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert configured.refusal(text) == (
        'mqtt.certificate: "${CREDENTIALS_DIRECTORY}/car.pem" is not a path here: CREDENTIALS_DIRECTORY is not set; '
        "accepted: as a service, or with it set to a folder"
    )


def test_a_secret_in_the_address_is_sent_to_its_place(configured: Configured) -> None:
    refusal = configured.refusal(SMALLEST.replace("mqtts://", "mqtts://joe:hunter2@"))
    assert refusal.endswith("put name and password in username and password_file")


def test_names_and_interfaces_belong_to_one_bus_each(configured: Configured) -> None:
    bus = SMALLEST[SMALLEST.index("[[bus]]") : SMALLEST.index("[mqtt]")]
    _, problems = inspect_config(configured.write(SMALLEST + bus))
    assert [problem.key for problem in problems] == ["bus[powertrain].name", "bus[powertrain].channel"]
    assert "taken by another bus" in problems[0].text


def test_all_problems_of_a_file_are_found_in_its_order(configured: Configured) -> None:
    text = SMALLEST.replace("demo-0001", "demo 0001") + 'keepalive = "30"\nkeepalve = 1\n[log]\nlevel = 1\n'
    config, problems = inspect_config(configured.write(text))
    assert config is None
    assert [problem.key for problem in problems] == ["vehicle.id", "mqtt.keepalve", "mqtt.keepalive", "log.level"]


def test_a_syntax_error_is_named_with_its_line(configured: Configured) -> None:
    assert "at line 3" in configured.refusal("[vehicle]\nid = 'x'\nthis is not TOML\n")
    assert "at line 2" in configured.refusal("[vehicle]\n[vehicle]\n")


def test_a_file_that_is_not_text_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(b"[vehicle]\nid = '\xff'\n")
    with pytest.raises(ConfigError, match=r"not UTF-8 \(at line 2\)"):
        load_config(file)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: (No such file|Is a directory)"):
        load_config(tmp_path / name)


def test_an_absurdly_large_file_is_refused_unread(configured: Configured) -> None:
    assert "larger than 1MiB" in configured.refusal("#" * (1 << 21))


def test_an_absurdly_nested_file_is_refused(configured: Configured) -> None:
    assert "not valid TOML" in configured.refusal("a = " + "[" * 100_000)


def test_an_absurdly_long_number_is_refused(configured: Configured) -> None:
    assert "not valid TOML: a whole number of thousands of digits" in configured.refusal("a = 1" + "0" * 5000)


def test_a_simulated_bus_without_files_has_the_demos(configured: Configured) -> None:
    text = SMALLEST.replace("socketcan", "simulator").replace('channel = "can0"', "")
    config = configured.load(text.replace('dbc = ["/etc/canferry/dbc/powertrain.dbc"]', ""))
    assert config.buses[0].dbc == (demo_car_dbc(),)
    assert demo_car_dbc().is_file()


def gnss_bus(**changes: str) -> str:
    keys = {"interface": '"gnss"', "channel": '"/dev/ttyUSB1"'} | changes
    bus = '[[bus]]\nname = "gnss"\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())
    return SMALLEST.replace("[mqtt]", bus + "[mqtt]")


def test_a_satellite_receiver_has_a_file_of_its_own(configured: Configured) -> None:
    for channel in ("/dev/ttyUSB1", "gpsd://localhost:2947", "gpsd://10.0.0.1", "gpsd://[::1]:2947", "gpsd:///run/g"):
        assert configured.load(gnss_bus(channel=f'"{channel}"')).buses[1].dbc == (gnss_dbc(),)
    assert gnss_dbc().is_file()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("channel", '"ttyUSB1"', 'bus[gnss].channel: "ttyUSB1" is no satellite receiver; accepted: a serial device'),
        ("channel", '"gpsd://host:x"', 'bus[gnss].channel: "gpsd://host:x" is no satellite receiver; accepted'),
        ("channel", '""', 'bus[gnss].channel: missing; accepted: what interface "gnss" opens'),
        ("channel", '"gpsd://host"\nbitrate = 9600', "bus[gnss].bitrate: has no effect with gpsd"),
        ("fd", "true", "bus[gnss].fd: has no effect on gnss"),
        ("options", "{ a = 1 }", "bus[gnss].options: has no effect on gnss"),
    ],
)
def test_what_makes_no_sense_of_a_satellite_receiver_is_refused(
    configured: Configured, key: str, value: str, expected: str
) -> None:
    assert expected in configured.refusal(gnss_bus(**{key: value}))


def test_a_modem_is_asked_only_where_one_is_configured(configured: Configured) -> None:
    assert configured.load(SMALLEST).modem is None
    modem = configured.load(SMALLEST + '[modem]\nport = "/dev/ttyUSB2"\n').modem
    assert modem == ModemConfig(port="/dev/ttyUSB2")
    assert "modem.port: missing, and required" in configured.refusal(SMALLEST + "[modem]\n")
    managed = '[modem]\nsource = "modemmanager"\n'
    assert configured.load(SMALLEST + managed).modem == ModemConfig(source="modemmanager")
    both = configured.refusal(SMALLEST + managed + 'port = "/dev/ttyUSB2"\n')
    assert 'modem.port: "/dev/ttyUSB2" has no effect beside source = "modemmanager"' in both
    taken = gnss_bus() + '[modem]\nport = "/dev/ttyUSB1"\n'
    assert 'modem.port: "/dev/ttyUSB1" is taken by a bus' in configured.refusal(taken)
    assert 'modem.port: "ttyUSB2" is not of this form' in configured.refusal(SMALLEST + '[modem]\nport = "ttyUSB2"\n')


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", "data_plan.per_month: missing, and required"),
        ('per_month = "5KiB"', 'data_plan.per_month: "5KiB" is not a size in range; accepted: "1MiB" to "1024GiB"'),
        ('per_month = "1MiB"\nper_day = "2MiB"', 'data_plan.per_day: "2MiB" is too large; accepted: at most data_plan'),
        (
            'per_month = "1MiB"\nroaming_per_month = "0B"',
            "data_plan.roaming_per_month: has no effect without a section",
        ),
        (
            'per_month = "1MiB"\ninterface = "a/b"',
            'data_plan.interface: "a/b" is not of this form; accepted: a network',
        ),
        ('per_month = "1MiB"\nmonth_starts_on = 31', "data_plan.month_starts_on: 31 is not a whole number in range"),
    ],
)
def test_a_data_plan_that_makes_no_sense_is_refused(configured: Configured, keys: str, expected: str) -> None:
    assert expected in configured.refusal(SMALLEST + "[data_plan]\n" + keys)


def test_a_fiftieth_of_a_data_plan_is_kept_for_critical_batches(configured: Configured) -> None:
    plan = configured.load(SMALLEST + '[data_plan]\nper_month = "200MiB"\n').data_plan
    assert plan is not None
    assert data_plan(plan) == Plan(200 << 20, 4 << 20)
    given = '[data_plan]\nper_month = "200MiB"\ncritical_per_month = "1MiB"\nper_day = "20MiB"\nmonth_starts_on = 5\n'
    plan = configured.load(SMALLEST + given).data_plan
    assert plan is not None
    assert data_plan(plan) == Plan(200 << 20, 1 << 20, 20 << 20, None, 5)


def test_a_satellite_receiver_serves_one_bus(configured: Configured) -> None:
    other = gnss_bus().partition('[[bus]]\nname = "gnss')[2].partition("[mqtt]")[0]
    text = gnss_bus().replace("[mqtt]", f'[[bus]]\nname = "other{other}[mqtt]')
    assert 'bus[other].channel: "/dev/ttyUSB1" is taken by another bus' in configured.refusal(text)


def test_unknown_frames_can_be_kept_without_any_file(configured: Configured) -> None:
    config = configured.load(SMALLEST.replace("dbc = [", "keep_unknown = true\ndbc = []  # ["))
    assert config.buses[0].dbc == ()


SECTIONS: list[type[Section]] = [
    VehicleConfig,
    BusConfig,
    BatchConfig,
    SpoolConfig,
    MqttConfig,
    ModemConfig,
    DataPlanConfig,
    LogConfig,
    AgentConfig,
    CollectConfig,
    TriggerConfig,
]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_explained_and_nothing_else(section: type[Section]) -> None:
    documented = re.findall(r"^(\w+) {2,}\S", inspect.cleandoc(section.__doc__ or ""), re.MULTILINE)
    assert documented == list(section.__struct_fields__)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_says_what_it_accepts(section: type[Section]) -> None:
    from typing import get_type_hints

    for annotation in get_type_hints(section, include_extras=True).values():
        assert len(accepted(annotation)) > 5


def test_every_default_is_itself_accepted(configured: Configured) -> None:
    lines = []
    for name, section in (("batch", BatchConfig), ("spool", SpoolConfig), ("log", LogConfig), ("agent", AgentConfig)):
        lines.append(f"[{name}]")
        defaults = section()
        for key in section.__struct_fields__:
            value: Any = getattr(defaults, key)
            lines.append(f"{key} = {value}" if type(value) is int else f'{key} = "{value}"')
    config = configured.load(SMALLEST + "\n".join(lines))
    assert config == configured.load(SMALLEST)


def test_dbc_arguments_name_their_bus_or_serve_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_dbc_arguments(["can0=a.dbc", "b.dbc", "can0=c.dbc", "./x=y.dbc"]) == {
        "can0": (tmp_path / "a.dbc", tmp_path / "c.dbc"),
        "": (tmp_path / "b.dbc", tmp_path / "x=y.dbc"),
    }
    with pytest.raises(ConfigError, match='--dbc: "can0=" names no file'):
        parse_dbc_arguments(["can0="])


def test_a_command_line_makes_a_configuration(tmp_path: Path) -> None:
    config = config_from_arguments(
        tmp_path / "drive.log", ["can0=/a.dbc", "/b.dbc"], buses=["can0", "can1"], broker="mqtt://host"
    )
    assert [(bus.name, bus.dbc) for bus in config.buses] == [
        ("can0", (Path("/a.dbc"), Path("/b.dbc"))),
        ("can1", (Path("/b.dbc"),)),
    ]
    assert {bus.interface for bus in config.buses} == {"replay"}
    assert config.mqtt is not None
    assert (config.mqtt.port, config.mqtt.client_id, config.vehicle.id) == (1883, "replay", "replay")


def test_a_command_line_without_a_broker_or_a_bus_is_enough(tmp_path: Path) -> None:
    config = config_from_arguments(tmp_path / "drive.log", ["/a.dbc"])
    assert [bus.name for bus in config.buses] == ["can0"]
    assert config.mqtt is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"dbc": ["/a.dbc"], "broker": "host:1883"}, '--broker: "host:1883" is not of this form; accepted: "mqtts://'),
        ({"dbc": ["/a.dbc"], "broker": "mqtt://h:99999"}, "mqtt.broker: the port of"),
        (
            {"dbc": ["/a.dbc"], "broker": "mqtts://user:hunter2@host"},
            "--broker: (not shown) is not of this form; accepted",
        ),
        ({"dbc": ["/a.dbc"], "vehicle": "a/b"}, '--vehicle: "a/b" is not of this form; accepted: 1 to 128 letters'),
        ({"dbc": ["a b=/a.dbc"]}, '--dbc: "a b" is not of this form; accepted: 1 to 64 letters'),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(expected)):
        config_from_arguments(tmp_path / "drive.log", **arguments)


def test_a_configuration_survives_a_change_of_one_value(configured: Configured) -> None:
    config = configured.load(SMALLEST)
    changed = msgspec.structs.replace(config, batch=BatchConfig(compression_level=3))
    assert (changed.batch.compression_level, changed.mqtt) == (3, config.mqtt)


RULES = """
[[collect]]
message = ["STEER_*", "BRAKE"]
every = "1s"
value = "mean"
deadband = 2
on_change = true
priority = "bulk"
ttl = "2h"

[[collect]]
message = "GPS"
keep = false

[[trigger]]
name = "hard_braking"
when = "BrakePressure > 80 and VehicleSpeed > 30"
before = "30s"
"""


def test_rules_and_triggers_are_read_in_their_order(configured: Configured) -> None:
    config = configured.load(SMALLEST + RULES)
    assert [rule.message for rule in config.collect] == [("STEER_*", "BRAKE"), "GPS"]
    assert [rule.keep for rule in config.collect] == [True, False]
    assert config.collect[0].every == 10**9
    assert config.collect[0].deadband == 2
    assert [trigger.name for trigger in config.triggers] == ["hard_braking"]
    assert config.triggers[0].before == 30 * 10**9


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('every = "1s"', 'every = "1"', 'collect[#1].every: "1" is not a duration; accepted: a number and a unit'),
        ('every = "1s"', "evry = 1", 'collect[#1].evry: unknown key, set to 1 (did you mean "every"?)'),
        ('"mean"', '"median"', 'collect[#1].value: "median" is not one of these; accepted: "last", "first"'),
        ("deadband = 2", 'deadband = "2"', 'collect[#1].deadband: "2" is not a number in range; accepted: a number'),
        ("deadband = 2", "deadband = inf", "collect[#1].deadband: Infinity is not a number in range; accepted: a"),
        ("deadband = 2", "deadband = 1e400", "collect[#1].deadband: Infinity is not a number in range; accepted: a"),
        ("deadband = 2", "deadband = nan", "collect[#1].deadband: NaN is not a number in range; accepted: a"),
        ("deadband = 2", "deadband = -2", "collect[#1].deadband: -2 is not a number in range; accepted: a number from"),
        ("on_change = true", "", "collect[#1].deadband: 2 has no effect without on_change"),
        (
            '"BrakePressure > 80 and VehicleSpeed > 30"',
            '""',
            '.when: "" is not of this length; accepted: a condition of 1 to',
        ),
        (
            "BrakePressure > 80",
            "B" * 1000,
            "… is not of this length; accepted: a condition of 1 to 1000 characters, such",
        ),
        ('message = "GPS"', "message = 3", "collect[#2].message: 3 is not a text or a list of texts; accepted: a name"),
        ("keep = false", 'keep = false\nttl = "1h"', "collect[#2].ttl: has no effect beside keep = false"),
        ('name = "hard_braking"', "", "trigger[#1].name: missing, and required"),
        ('"30s"', '"0s"\nafter = "0s"', "trigger[hard_braking].after: "),
        ("[[trigger]]", "[trigger]", 'trigger: {"name": "hard_braking", '),
        ("[mqtt]", '[spool]\nlimit = "1MiB"\nsegment = "256KiB"\n[mqtt]', 'at least "4MiB"'),
    ],
)
def test_wrong_rules_are_refused_by_their_key(configured: Configured, old: str, new: str, problem: str) -> None:
    _, problems = inspect_config(configured.write((SMALLEST + RULES).replace(old, new)))
    assert len(problems) == 1
    assert problem in str(problems[0])


@pytest.mark.parametrize("written", ['"all"', "[1, 256]", "[1, 'two']", "7"])
def test_a_list_of_numbers_that_is_none_is_refused_in_words(written: str, configured: Configured) -> None:
    text = f'{SMALLEST}\n[[integrity]]\nmessage = "X"\ncounter = "C"\ndata_ids = {written}\n'
    assert "is not a list of such values; accepted: a list, each of it a whole number from 0" in configured.refusal(
        text
    )


@pytest.mark.parametrize(
    ("written", "noun"), [("0", "a whole number in range"), ("true", "a whole number"), ("1.5", "a whole number")]
)
def test_a_whole_number_out_of_range_is_called_that(written: str, noun: str, configured: Configured) -> None:
    text = f'{SMALLEST}\n[[integrity]]\nmessage = "X"\ncounter = "C"\ncounter_max = {written}\n'
    assert f"{written} is not {noun}; accepted: a whole number from 1 to 0xFFFFFFFF" in configured.refusal(text)
