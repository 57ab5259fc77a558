# SPDX-License-Identifier: Apache-2.0
"""The command as a process: what it imports, how it ends when nobody reads on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from agent import __version__

ROOT = Path(__file__).parents[2]

HEAVY = {"numpy", "structlog", "msgspec", "can", "cantools", "aiomqtt", "pyarrow", "rich", "google.protobuf"}


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, json, io, contextlib; from agent.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): status = main(['--help'])\n"
        "print(json.dumps([status, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    status, modules = json.loads(done.stdout)
    assert status == 0
    assert not HEAVY & set(modules)


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "agent", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"canferry {__version__}\n")


def imported_by_an_agent(folder: Path) -> set[str]:
    """The modules of a process that has started and ended an agent with the folder's agent.toml."""
    program = (
        "import sys, json, asyncio; from pathlib import Path\n"
        "from agent.daemon import daemon; from agent.config import load_config\n"
        "stop = asyncio.Event()\n"
        "asyncio.run(daemon.run(load_config(Path('agent.toml')), stop=stop, observe=lambda _: stop.set()))\n"
        "print(json.dumps(list(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, env=environment, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_an_agent_does_not_import_what_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        '[vehicle]\nid = "car-1"\n[[bus]]\nname = "car"\ninterface = "simulator"\ndbc = ["car.dbc"]\n'
        '[mqtt]\nbroker = "mqtt://127.0.0.1:1"\n[spool]\npath = "spool"\n[agent]\nshutdown_grace = "0s"\n'
    )
    (tmp_path / "car.dbc").write_text('VERSION ""\nBO_ 291 SPEED: 8 X\n SG_ V : 0|16@1+ (1,0) [0|0] "" X\n')
    imported = imported_by_an_agent(tmp_path)
    assert "agent.pipeline.open_batch" in imported
    assert not {"agent.collect.collector", "agent.collect.rules.rules", "agent.collect.conditions.binding"} & imported
    assert not [name for name in imported if name.startswith(("agent.uplink.cellular", "agent.sources.gnss", "serial"))]


def test_an_agent_without_a_socket_does_not_import_what_answers_at_it(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        '[vehicle]\nid = "car-1"\n[[bus]]\nname = "car"\ninterface = "simulator"\n'
        '[mqtt]\nbroker = "mqtt://127.0.0.1:1"\nheartbeat = "0s"\n[spool]\npath = "spool"\n'
        '[agent]\nshutdown_grace = "0s"\nsocket = ""\n'
    )
    imported = imported_by_an_agent(tmp_path)
    assert "agent.pipeline.tick" in imported
    assert not [name for name in imported if name.startswith("agent.live") or name == "agent.daemon.status"]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = (
        "import sys, types; from agent import cli\n"
        "def run(args):\n"
        "    for n in range(100000): print(n)\n"
        "    return 0\n"
        "m = types.ModuleType('agent.cli.demo')\n"
        "m.add_parser = lambda s: s.add_parser('demo').set_defaults(run=run)\n"
        "sys.modules['agent.cli.demo'] = m\n"
        "sys.exit(cli.main(['demo']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
