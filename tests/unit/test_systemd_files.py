# SPDX-License-Identifier: Apache-2.0
"""What `systemd/` says agrees with what the agent does, and with itself."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from agent.cli.arguments import DEFAULT_CONFIG
from agent.config import inspect_config
from agent.config.sections import AgentConfig, MqttConfig, SpoolConfig
from agent.system.clock import BOOT_ID_VARIABLE
from agent.units import Duration

PROJECT = Path(__file__).parents[2]
SYSTEMD = PROJECT / "systemd"
PINNED = re.compile(r"^(\S+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M)


class _Settings(dict[str, Any]):
    """The last value of a key counts, as far as these tests look."""


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(dict_type=_Settings, strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(SYSTEMD / name, encoding="utf-8")
    return parser


def seconds(text: str) -> float:
    return float(text.removesuffix("min")) * 60 if text.endswith("min") else Duration.parse(text).seconds


@pytest.fixture(scope="module")
def service() -> configparser.RawConfigParser:
    return unit("canferry.service")


def locked(name: str) -> dict[str, str]:
    return {match[1]: match[2] for match in PINNED.finditer((SYSTEMD / name).read_text(encoding="utf-8"))}


def test_the_service_outlasts_the_grace_of_the_uplink(service: configparser.RawConfigParser) -> None:
    assert seconds(service["Service"]["TimeoutStopSec"]) > AgentConfig().shutdown_grace.seconds


def test_the_service_runs_what_the_command_line_expects(service: configparser.RawConfigParser) -> None:
    assert service["Service"]["ExecStart"] == f"/opt/canferry/bin/canferry run --config {DEFAULT_CONFIG}"
    assert SpoolConfig().path == Path("/var/lib") / service["Service"]["StateDirectory"]


def test_the_service_makes_the_place_of_the_socket_for_the_group(service: configparser.RawConfigParser) -> None:
    assert Path(AgentConfig().socket).parent == Path("/run") / service["Service"]["RuntimeDirectory"]
    assert service["Service"]["RuntimeDirectoryMode"] == "0750"
    assert service["Service"]["RuntimeDirectoryPreserve"] == "yes", "each restart would begin another stream"


def test_the_service_tells_the_agent_which_boot_it_is() -> None:
    assert f"\nEnvironment={BOOT_ID_VARIABLE}=%b\n" in (SYSTEMD / "canferry.service").read_text(encoding="utf-8")


def test_a_refused_configuration_is_left_to_the_timer(service: configparser.RawConfigParser) -> None:
    assert service["Service"]["Restart"] == "always"
    assert service["Service"]["RestartPreventExitStatus"] == "2"
    assert service["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit(service["Unit"]["OnFailure"])["Timer"]["Unit"] == "canferry.service"


def test_the_example_configuration_is_accepted() -> None:
    config, problems = inspect_config(SYSTEMD / "agent.toml")
    assert config is not None
    assert not problems
    assert [path.name for bus in config.buses for path in bus.dbc] == ["demo_car.dbc"]


def test_what_the_example_comments_out_stands_at_its_default(tmp_path: Path) -> None:
    text = (SYSTEMD / "agent.toml").read_text(encoding="utf-8")
    file = tmp_path / "agent.toml"
    file.write_text(re.sub(r"^#(?=\w+ = (?!.*(CREDENTIALS|demo-0001)))", "", text, flags=re.M), encoding="utf-8")
    given, problems = inspect_config(SYSTEMD / "agent.toml")
    everything, more_problems = inspect_config(file)
    assert not problems + more_problems
    assert everything is not None
    assert msgspec.structs.replace(everything, file=str(SYSTEMD / "agent.toml")) == given
    assert file.read_text(encoding="utf-8").count("\n#") < text.count("\n#")


def test_the_example_names_only_credentials_that_the_service_loads() -> None:
    credential = re.compile(r"canferry\.(?:key|certificate|ca|password)\b")
    loaded = re.findall(r"^LoadCredential=(\S+?):\1$", (SYSTEMD / "canferry.service").read_text("utf-8"), re.M)
    for file in ("agent.toml", "README.md"):
        assert set(credential.findall((SYSTEMD / file).read_text("utf-8"))) == set(loaded), file


def test_the_example_knows_how_credentials_are_configured() -> None:
    text = (SYSTEMD / "agent.toml").read_text(encoding="utf-8")
    document = tomllib.loads(re.sub(r"^#(?=\w+ = )", "", text, flags=re.M))
    paths = {key for key, value in document["mqtt"].items() if "CREDENTIALS_DIRECTORY" in str(value)}
    assert paths == {"certificate", "key", "ca", "password_file"}
    assert set(document["mqtt"]) <= {field.encode_name for field in msgspec.structs.fields(MqttConfig)}


@pytest.mark.parametrize(
    ("file", "section"),
    [("requirements.lock", ("project", "dependencies")), ("build.lock", ("build-system", "requires"))],
)
def test_the_lock_holds_what_the_project_asks_for(file: str, section: tuple[str, str]) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = locked(file)
    for wanted in map(Requirement, project[section[0]][section[1]]):
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted


def test_every_line_of_a_lock_carries_a_hash() -> None:
    for file in ("requirements.lock", "build.lock"):
        text = (SYSTEMD / file).read_text(encoding="utf-8")
        assert len(locked(file)) == text.count("==") > 0


def test_the_readme_names_every_file_of_the_folder() -> None:
    readme = (SYSTEMD / "README.md").read_text(encoding="utf-8")
    for path in SYSTEMD.iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        assert name == "README.md" or name in readme, name


def library(site: Path, name: str, text: str = "", metadata: str = "", source: str = "") -> None:
    """As pip installs one."""
    folder = site / f"{name}-1.0.dist-info"
    (folder / "licenses").mkdir(parents=True)
    (site / name).mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\n")
    (site / name / "__init__.py").write_text(source)
    files = [f"{name}/__init__.py", f"{folder.name}/METADATA"]
    if text:
        (folder / "licenses/LICENSE").write_text(text)
        files.append(f"{folder.name}/licenses/LICENSE")
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def copyright_of(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, (SYSTEMD / "copyright.py", root, root / "opt/site"))]
    return subprocess.run(command, capture_output=True, text=True)


BSD = "Copyright (c) 2020 Some One\nRedistributions in binary form must\nreproduce it."
BUNDLED = (
    "Copyright 2021 Two\n----\nName: fast\nFiles: b.libs/libfast*.so\nAvailability: x\nLicense: GPL-3.0 WITH GCC-x\n"
)


def test_copyright_names_each_librarys_licence_from_its_metadata(tmp_path: Path) -> None:
    site = tmp_path / "opt/site"
    library(site, "a", "text", "License-Expression: MIT OR Apache-2.0\nAuthor: A Person")
    library(site, "b", BUNDLED, "License-Expression: BSD-3-Clause AND Zlib")
    library(site, "c", BSD, "License: BSD")
    library(site, "d", source="# (C) 2015 Four\n# SPDX-License-Identifier: BSD-3-Clause\n")
    library(site, "canferry", "text", "License-Expression: Apache-2.0")
    done = copyright_of(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    own, a, b, fast, c, d = done.stdout.replace("opt/site/", "").split("\n\nFiles: ")[1:]
    assert own.startswith("*\nCopyright: 2026 the canferry authors\nLicense: Apache-2.0\n")
    assert a.startswith("a-1.0.dist-info/*\n a/*\nCopyright: A Person\nLicense: MIT or Apache-2.0\n a 1.0; its text:\n")
    assert "\nCopyright: 2021 Two\nLicense: BSD-3-Clause and Zlib\n" in b
    assert fast.startswith("b.libs/libfast*.so*\n")
    assert "\nLicense: GPL-3.0 with GCC-x exception\n" in fast
    assert "\nCopyright: (c) 2020 Some One\nLicense: BSD-2-Clause\n" in c
    assert "\n (C) 2015 Four\nLicense: BSD-3-Clause\n" in d


@pytest.mark.parametrize("metadata", ["License: see the web", "License-Expression: EPL-2.0"])
def test_a_library_without_a_licence_or_its_text_is_not_bundled(tmp_path: Path, metadata: str) -> None:
    library(tmp_path / "opt/site", "odd", metadata=metadata)
    done = copyright_of(tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("copyright: odd 1.0: ")
