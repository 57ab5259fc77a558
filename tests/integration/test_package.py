# SPDX-License-Identifier: Apache-2.0
"""The Debian package, built as systemd/README.md says: what is in it, and its life on a system that is thrown away.

dpkg itself installs, upgrades, removes and purges, in a root that is this machine's own beneath a layer of memory
(`Scratch`). No service manager runs there; the package on a machine that boots is the head unit's matter.
"""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import subprocess
import sys
from fnmatch import fnmatchcase
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import __version__
from tests.integration.scratch import Scratch, missing
from tests.support.documents import REFERENCE, documents, links, rows
from tests.support.package import PROJECT, built_package, native_architecture

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MACHINES = {"amd64": 62, "arm64": 183}
"""e_machine of ELF files, by Debian's name of the architecture."""
SYSTEM_LIBRARIES = re.compile(r"lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|z)\.so\.\d|ld-linux-(x86-64|aarch64)\.so\.\d")
UNITS = "usr/lib/systemd/system"
NATIVE = native_architecture()


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package of each architecture."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg is missing")
    out = tmp_path_factory.mktemp("packages")
    return {arch: built_package(out, arch) for arch in MACHINES}


@pytest.fixture(scope="module")
def trees(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What each package installs, unpacked."""
    folder = tmp_path_factory.mktemp("trees")
    for arch, package in packages.items():
        run("dpkg-deb", "--raw-extract", package, folder / arch)
    return {arch: folder / arch for arch in packages}


@pytest.fixture(scope="module", params=sorted(MACHINES))
def arch(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_it_is_named_for_version_and_architecture(packages: dict[str, Path], arch: str) -> None:
    fields = run("dpkg-deb", "--field", packages[arch], "Package", "Version", "Architecture", "Depends")
    assert packages[arch].name == f"canferry_{__version__}_{arch}.deb"
    assert fields.startswith(f"Package: canferry\nVersion: {__version__}\nArchitecture: {arch}\n")
    major, minor = sys.version_info[:2]
    assert f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1})" in fields


def test_everything_belongs_to_root_and_is_written_by_root_alone(packages: dict[str, Path], arch: str) -> None:
    for line in run("dpkg-deb", "--contents", packages[arch]).splitlines():
        mode, owner, _ = line.split(maxsplit=2)
        assert owner == "root/root", line
        assert mode[0] in "-dl", line
        assert mode[0] == "l" or re.fullmatch(r".r[w-][x-]r-[x-]r-[x-]", mode), line


def test_the_configuration_alone_is_kept_by_dpkg(trees: dict[str, Path], arch: str) -> None:
    assert (trees[arch] / "DEBIAN/conffiles").read_text() == "/etc/canferry/agent.toml\n"
    assert [path.name for path in (trees[arch] / "etc/canferry").iterdir() if path.is_file()] == ["agent.toml"]


def test_every_document_is_there_and_leads_to_the_others(trees: dict[str, Path], arch: str) -> None:
    shipped = trees[arch] / "usr/share/doc/canferry"
    for document in documents():
        copy = shipped / document.relative_to(PROJECT)
        assert copy.read_text() == document.read_text()
        for target in (link.partition("#")[0] for link in links(document)):
            assert not target.endswith(".md") or (copy.parent / target).is_file(), f"{copy}: {target}"


def test_the_manual_is_there_and_shows_every_key(trees: dict[str, Path], arch: str) -> None:
    manual = trees[arch] / "usr/share/man"
    found = {path.name: gzip.decompress(path.read_bytes()).decode() for path in manual.rglob("*.gz")}
    assert set(found) == {"canferry.1.gz", "canferry.toml.5.gz", "canferry-events.7.gz"}
    for name in rows(REFERENCE, "| key |"):
        assert f".B {name}\n" in found["canferry.toml.5.gz"].replace("\\-", "-")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is missing")
def test_roff_warns_of_nothing_in_the_manual(trees: dict[str, Path], arch: str) -> None:
    for page in (trees[arch] / "usr/share/man").rglob("*.gz"):
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-z"], input=gzip.decompress(page.read_bytes()), capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, b""), page


def test_every_module_has_its_byte_code_and_the_build_left_no_trace(trees: dict[str, Path], arch: str) -> None:
    opt = trees[arch] / "opt/canferry"
    modules = list(opt.rglob("*.py"))
    assert len(modules) > 400
    for module in modules:
        compiled = module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc"
        flags, mtime, size = struct.unpack("<4xIII", compiled.read_bytes()[:16])
        assert (flags, mtime, size) == (0, int(module.stat().st_mtime), module.stat().st_size), compiled
    traces = (str(PROJECT).encode(), str(Path(sys.prefix)).encode(), b"canferry-lock", b"/tmp/tmp.")
    for file in opt.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.suffix != ".so":
            assert not any(trace in file.read_bytes() for trace in traces), file


def test_packaged_libraries_match_architecture_and_need_only_dependencies(trees: dict[str, Path], arch: str) -> None:
    libraries = [file for file in (trees[arch] / "opt").rglob("*.so*") if file.is_file()]
    shipped = {file.name for file in libraries}
    assert len(libraries) > 15
    for library in libraries:
        assert struct.unpack("<H", library.read_bytes()[18:20]) == (MACHINES[arch],), library
        for needed in re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "--dynamic", library)):
            assert needed in shipped or SYSTEM_LIBRARIES.fullmatch(needed), f"{library}: {needed}"


def test_copyright_names_the_licence_of_every_library(trees: dict[str, Path], arch: str) -> None:
    """As Debian's own form has it: paragraphs of fields; of those that match a file, the last counts."""
    tree = trees[arch]
    text = (tree / "usr/share/doc/canferry/copyright").read_text()
    paragraphs = [re.split(r"^(?=\w+:)", paragraph, flags=re.M)[1:] for paragraph in text.split("\n\n")]
    named = [dict(field.strip().split(": ", 1) for field in fields) for fields in paragraphs[1:]]
    site = next((tree / "opt/canferry/lib").glob("python3.*/site-packages"))
    for library in distributions(path=[str(site)]):
        told = library.metadata["License-Expression"] or ""
        for file in library.files or ():
            path = f"{site.relative_to(tree)}/{file}"
            if not (tree / path).is_file() or ".libs/" in path:
                continue
            last = [each for each in named if any(fnmatchcase(path, glob) for glob in each["Files"].split())][-1]
            licence, *of = last["License"].splitlines()
            if library.metadata["Name"] == "canferry":
                assert licence == "Apache-2.0"
                continue
            assert of[0].strip() == f"{library.metadata['Name']} {library.version}; its text:", path
            assert licence.replace(" or ", " OR ").replace(" and ", " AND ") == told or not told
            assert all((tree / line.strip("/ ")).is_file() for line in of[1:] if line.startswith(" /opt"))
    licences = {each["License"].splitlines()[1].split()[0]: each["License"].splitlines()[0] for each in named}
    assert licences["python-can"] == "LGPL-3.0-only"
    assert licences["pyserial"] == licences["protobuf"] == licences["aiomqtt"] == "BSD-3-Clause"
    assert licences["wrapt"] == "BSD-2-Clause"
    assert licences["GCC"] == "GPL-3.0-or-later with GCC-exception-3.1 exception"


@pytest.mark.parametrize(
    ("drop_in", "exposure_max"), [(None, 15), ("canferry-serial.conf", 17), ("canferry-tpm.conf", 17)]
)
def test_the_exposure_is_low(trees: dict[str, Path], tmp_path: Path, drop_in: str | None, exposure_max: int) -> None:
    """In tenths, as systemd-analyze counts for its threshold."""
    tree = trees[NATIVE]
    shutil.copytree(tree / UNITS, tmp_path / UNITS)
    if drop_in is not None:
        folder = tmp_path / "etc/systemd/system/canferry.service.d"
        folder.mkdir(parents=True)
        shutil.copy(tree / "usr/share/canferry" / drop_in, folder)
    command = ["systemd-analyze", "security", "--offline=true", f"--root={tmp_path}", "--no-pager"]
    told = run(*command, f"--threshold={exposure_max}", "canferry.service")
    print(told.splitlines()[-1])
    assert ("char-ttyUSB" in told) is (drop_in == "canferry-serial.conf")
    assert ("/dev/tpmrm0" in told) is (drop_in == "canferry-tpm.conf")


@pytest.fixture(scope="module")
def scratch(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    if reason := missing():
        pytest.skip(reason)
    with Scratch(tmp_path_factory.mktemp("scratch")) as root:
        shutil.copy(packages[NATIVE], root.path / "root/canferry.deb")
        yield root


@pytest.fixture(scope="module")
def strangers(scratch: Scratch) -> set[str]:
    """What has the name and is not the package's."""
    return named(scratch)


def named(scratch: Scratch) -> set[str]:
    """Where others work at the same time nothing is the package's, and what vanishes meanwhile is no fault."""
    others = r"\( -path /root -o -path /tmp \) -prune"
    found = scratch.run(f"find / -xdev -ignore_readdir_race {others} -o -name '*canferry*' -print")
    return set(found.splitlines())


@pytest.fixture(scope="module")
def newer(packages: dict[str, Path], scratch: Scratch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The next version: its example configuration says something new."""
    folder = tmp_path_factory.mktemp("newer") / "tree"
    run("dpkg-deb", "--raw-extract", packages[NATIVE], folder)
    control = folder / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {__version__}\n", "Version: 99\n"))
    with (folder / "etc/canferry/agent.toml").open("a") as config:
        config.write("# of version 99\n")
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", folder, scratch.path / "root/newer.deb")


class TestLife:
    """One after the other: install, configure, upgrade, remove, install again, purge."""

    @pytest.mark.usefixtures("strangers")
    def test_install_makes_user_and_folders_and_starts_nothing(self, scratch: Scratch) -> None:
        before = scratch.listing("/etc/systemd/system")
        told = scratch.run("dpkg --install /root/canferry.deb")
        assert "warning" not in told.lower(), told
        assert scratch.run("canferry --version").strip() == f"canferry {__version__}"
        assert re.search(r":/:(/usr)?/s?bin/nologin$", scratch.run("getent passwd canferry").strip())
        modes = scratch.run("stat --format='%A %U %n' /var/lib/canferry /etc/credstore /etc/canferry/agent.toml")
        assert modes.splitlines() == [
            "drwx------ canferry /var/lib/canferry",
            "drwx------ root /etc/credstore",
            "-rw-r--r-- root /etc/canferry/agent.toml",
        ]
        assert scratch.listing("/etc/systemd/system") == before
        assert scratch.run("dpkg --verify canferry") == ""

    def test_the_installed_agent_accepts_the_example_and_leaves_no_file_behind(self, scratch: Scratch) -> None:
        before = scratch.listing("/opt/canferry")
        told = scratch.run("canferry check --offline", status=None)
        assert "ok       /etc/canferry/agent.toml: vehicle demo-0001, buses powertrain (socketcan)" in told
        assert "ok       /usr/share/canferry/demo_car.dbc on powertrain: 24 messages, 146 signals" in told
        assert not re.findall(r"^error +(?! |\S+: bus\[powertrain\])", told, re.M), told
        assert scratch.listing("/opt/canferry") == before

    @pytest.mark.parametrize("drop_in", [None, "canferry-serial.conf", "canferry-clock.conf", "canferry-tpm.conf"])
    def test_the_units_are_sound(self, scratch: Scratch, drop_in: str | None) -> None:
        folder = "/etc/systemd/system/canferry.service.d"
        link = f"ln -s /usr/share/canferry/{drop_in} {folder}" if drop_in else "true"
        told = scratch.run(
            f"mkdir -p {folder}; {link}; systemd-analyze verify canferry.service canferry-retry.timer 2>&1"
        )
        scratch.run(f"rm -r {folder}")
        assert told == ""

    @pytest.mark.usefixtures("newer")
    def test_an_upgrade_keeps_configuration_spool_and_enablement(self, scratch: Scratch) -> None:
        scratch.run("sed -i s/demo-0001/mine/ /etc/canferry/agent.toml; cp /etc/canferry/agent.toml /root/mine.toml")
        scratch.run("echo batch >/var/lib/canferry/segment; echo dbc >/etc/canferry/dbc/my.dbc")
        scratch.run("echo key >/etc/credstore/canferry.key; systemctl enable canferry")
        scratch.run("dpkg --install --force-confold /root/newer.deb </dev/null")
        assert scratch.run("dpkg-query --show --showformat='${Version}' canferry") == "99"
        scratch.run("cmp /etc/canferry/agent.toml /root/mine.toml")
        scratch.run("grep --quiet 99 /etc/canferry/agent.toml.dpkg-dist")
        assert scratch.run("cat /var/lib/canferry/segment /etc/canferry/dbc/my.dbc") == "batch\ndbc\n"
        assert scratch.run("systemctl is-enabled canferry").strip() == "enabled"
        assert scratch.run("canferry --version").strip() == f"canferry {__version__}"

    def test_remove_keeps_configuration_and_spool(self, scratch: Scratch) -> None:
        scratch.run("dpkg --remove canferry")
        assert not (scratch.path / "opt/canferry").exists()
        assert not (scratch.path / "usr/bin/canferry").is_symlink()
        scratch.run("cmp /etc/canferry/agent.toml /root/mine.toml")
        scratch.run("cat /var/lib/canferry/segment /etc/canferry/dbc/my.dbc /etc/credstore/canferry.key")

    def test_a_new_installation_finds_them(self, scratch: Scratch) -> None:
        scratch.run("dpkg --install --force-confold /root/canferry.deb </dev/null")
        scratch.run("cmp /etc/canferry/agent.toml /root/mine.toml")
        assert scratch.run("cat /var/lib/canferry/segment") == "batch\n"
        assert scratch.run("systemctl is-enabled canferry").strip() == "enabled"

    def test_purge_takes_everything(self, scratch: Scratch, strangers: set[str]) -> None:
        scratch.run("dpkg --purge canferry")
        assert named(scratch) == strangers
        assert scratch.run("getent passwd canferry || getent group canferry || echo none") == "none\n"
        assert not (scratch.path / "opt/canferry").exists()
