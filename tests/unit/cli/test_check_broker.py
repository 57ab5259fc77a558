# SPDX-License-Identifier: Apache-2.0
"""`canferry check` asks the broker without disturbing the agent's own connection."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.config import demo_car_dbc
from agent.live.client import NoAgentError
from tests.support.checking import CONFIG, Broker, Checked, offline

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    broker.start()
    yield broker
    broker.close()


def test_a_sound_configuration_with_a_broker_has_no_findings(checked: Checked, broker: Broker) -> None:
    status, findings = checked.run(CONFIG.format(port=broker.port).replace('dbc = ["small.dbc"]', ""))
    assert status == 0
    assert {finding["level"] for finding in findings} == {"ok"}
    subjects = [finding["subject"] for finding in findings]
    expected = [
        str(checked.file),
        f"{demo_car_dbc()} on car",
        "bus[car].interface",
        "spool.path",
        "spool.limit",
        "mqtt.broker",
    ]
    assert subjects == expected
    assert not (checked.folder / "spool").exists()


def test_the_login_is_tried_by_a_name_beside_the_agents_own_and_leaves_nothing(
    checked: Checked, broker: Broker
) -> None:
    _, findings = checked.run(CONFIG.format(port=broker.port))
    assert (
        findings[-1]["text"]
        == f'127.0.0.1:{broker.port} answers, not encrypted; takes batches of 48KiB; logged in as "demo-0001-check"'
    )
    connect, _, disconnect = broker.heard.get(timeout=10).partition(b"\x00\x0fdemo-0001-check")
    assert connect[9] == 0b101110, "a clean session with a last will, retained, QoS 1"
    will, _, goodbye = disconnect.rpartition(b"\xe0")
    assert b"canferry/demo-0001/status-check" in will
    assert goodbye, "which withdraws it"


@pytest.mark.parametrize(
    ("code", "level", "told"),
    [
        (
            0x86,
            "error",
            "mqtt login: broker {address}: bad user name or password: check mqtt.username and mqtt.password",
        ),
        (
            0x87,
            "error",
            "mqtt login: broker {address}: not authorized: check this client's credentials and the broker's",
        ),
        (0x8A, "error", "mqtt login: broker {address}: this client is banned there (0x8A)"),
        (
            0x85,
            "warning",
            "mqtt.broker: broker {address}: it does not accept the client id: check mqtt.client_id (0x85)",
        ),
        (0x97, "warning", "mqtt.broker: broker {address}: quota exceeded (0x97)"),
    ],
)
def test_a_broker_that_refuses_the_login_is_an_error_where_waiting_does_not_help(
    checked: Checked, broker: Broker, code: int, level: str, told: str
) -> None:
    broker.code = code
    found = checked.only(CONFIG.format(port=broker.port), level)
    assert found.startswith(told.format(address=f"127.0.0.1:{broker.port}"))
    by_name = (
        'asked as "demo-0001-check", not to end the agent\'s own connection: a broker that lets in known client ids'
    )
    assert (by_name in found) is (code in (0x85, 0x87))


def test_a_refused_login_is_the_brokers_refusal_and_not_runs(checked: Checked, broker: Broker) -> None:
    broker.code = 0x86
    checked.file.write_text(CONFIG.format(port=broker.port))
    assert cli.main(["check", "--config", str(checked.file)]) == 2
    shown = checked.capsys.readouterr()
    assert shown.out.endswith("\n1 error, 0 warnings: canferry run would start, and the broker refuse it\n")
    assert shown.err.startswith(f"error    {checked.file}: mqtt login: ")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_agent_that_is_connected_is_left_alone(
    checked: Checked, broker: Broker, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    link = SimpleNamespace(connected=True, broker="other:1" if elsewhere else f"127.0.0.1:{broker.port}")
    answer = SimpleNamespace(snapshot=SimpleNamespace(link=link))
    monkeypatch.setattr("agent.live.client.ask_once", lambda *_: answer)
    _, findings = checked.run(CONFIG.format(port=broker.port))
    assert ("login not tried: the agent that runs here is connected" in findings[-1]["text"]) is not elsewhere
    assert ('logged in as "demo-0001-check"' in findings[-1]["text"]) is elsewhere


def test_an_agent_that_cannot_be_asked_may_be_connected(
    checked: Checked, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise NoAgentError("may not be asked by this user") from PermissionError()

    monkeypatch.setattr("agent.live.client.ask_once", denied)
    _, findings = checked.run(CONFIG.format(port=broker.port))
    assert "login not tried: an agent may be connected, which cannot be asked: may not" in findings[-1]["text"]


def test_a_broker_that_does_not_answer_is_only_a_warning(checked: Checked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    status, findings = checked.run(CONFIG.format(port=port))
    assert status == 0
    assert [f["subject"] for f in findings if f["level"] == "warning"] == ["mqtt.broker"]


def test_offline_leaves_the_broker_alone(checked: Checked) -> None:
    _, findings = checked.run(offline(), "--offline")
    assert "mqtt.broker" not in {finding["subject"] for finding in findings}
