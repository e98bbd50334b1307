"""A built package is complete: an installation without the checkout gives a verdict, with the scripts inside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import redis

import gate
from tests.servers.store import Store

ROOT = Path(__file__).parents[2]
DIST_INFO = f"gate-{gate.__version__}.dist-info"
EVAL = ("eval", "--id", "sig-81", "--symbol", "BTCUSDT", "--side", "BUY", "--notional", "200", "--commit", "--json")


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command without this process's settings for Python's path and the store."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "GATE_URL", "REDIS_URL")}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def build(target: str, source: Path, into: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, cwd=source)
    (built,) = (path for path in into.iterdir() if path.suffix in (".whl", ".gz"))
    return built


def install(wheel: Path, into: Path) -> Path:
    """A new environment with the wheel alone; then the dependencies, which it borrows from this one. Their folder
    comes as a path only, so an installation of gate that hangs on a .pth file there isn't seen."""
    run(sys.executable, "-m", "venv", "--without-pip", into, cwd=into.parent)
    run(
        *(sys.executable, "-m", "pip", "--python", into / "bin" / "python", "--disable-pip-version-check", "install"),
        *("--quiet", "--no-index", "--no-deps", wheel),
        cwd=into.parent,
    )
    packages = Path(
        run(into / "bin" / "python", "-c", "import site; print(site.getsitepackages()[0])", cwd=into).strip()
    )
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return into / "bin"


def package_and_scripts(commands: Path, cwd: Path) -> tuple[Path, Path]:
    where = "import gate.protocol.scripts; print(gate.__file__); print(gate.protocol.scripts._directory())"
    package, scripts = run(commands / "python", "-c", where, cwd=cwd).splitlines()
    return Path(package).parent, Path(scripts)


def admits(commands: Path, store: Store, cwd: Path) -> bool:
    answer = json.loads(run(commands / "gate", "--url", store.url, *EVAL, cwd=cwd))
    return bool(answer["admitted"] and answer["committed"] and answer["permit"]["fence"] == 1)


def test_an_installed_wheel_gives_a_verdict(store: Store, redis_client: redis.Redis, tmp_path: Path) -> None:
    commands = install(build("wheel", ROOT, tmp_path / "dist"), tmp_path / "venv")
    package, scripts = package_and_scripts(commands, tmp_path)
    assert package.is_relative_to(tmp_path / "venv")
    assert scripts == package / "lua"
    assert admits(commands, store, tmp_path)
    assert redis_client.exists("quantum:exec:lock:BTCUSDT:BUY")


def test_an_editable_installation_gives_a_verdict(store: Store, redis_client: redis.Redis, tmp_path: Path) -> None:
    """These tests run in one, which scripts/environment makes."""
    commands = Path(sys.executable).parent
    assert package_and_scripts(commands, tmp_path) == (ROOT / "gate", ROOT / "lua")
    assert admits(commands, store, tmp_path)
    assert redis_client.exists("quantum:exec:lock:BTCUSDT:BUY")


def test_a_wheel_from_the_source_distribution_is_the_same(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        # Python 3.11.2, Debian's, knows no filters yet.
        safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path / "source", **safely)
    (source,) = (tmp_path / "source").iterdir()
    ours, theirs = (
        sorted(zipfile.ZipFile(build("wheel", root, tmp_path / name)).namelist())
        for root, name in ((ROOT, "ours"), (source, "theirs"))
    )
    assert ours == theirs
    lua = {f"gate/{path.relative_to(ROOT)}" for path in (ROOT / "lua").rglob("*.lua")}
    assert lua <= set(ours)
    assert "gate/py.typed" in ours


def test_the_licence_goes_with_what_is_built(tmp_path: Path) -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    wheel = zipfile.ZipFile(build("wheel", ROOT, tmp_path / "wheel"))
    assert wheel.read(f"{DIST_INFO}/licenses/LICENSE") == licence

    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as source:
        carried = source.extractfile(f"gate-{gate.__version__}/LICENSE")
        assert carried is not None
        assert carried.read() == licence
        assert f"gate-{gate.__version__}/CHANGELOG.md" in source.getnames()


def test_the_source_distribution_carries_what_its_pages_link_to(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path)) as source:
        carried = {name.partition("/")[2] for name in source.getnames()}
    linked = {
        link for page in ROOT.glob("*.md") for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text("utf-8"))
    }
    assert linked >= {"docs/README.md", "examples/", "CONTRIBUTING.md", "SECURITY.md"}
    named = set(re.findall(r"\bscripts/[a-z-]+", (ROOT / "README.md").read_text("utf-8")))
    assert named >= {"scripts/demo", "scripts/test", "scripts/check", "scripts/bench"}
    wanted = linked | named | {"tests/conftest.py", "benchmarks/suite.py", ".ci/run"}
    assert {link for link in wanted if not any(f"{name}/".startswith(link) for name in carried)} == set()


def test_the_metadata_say_the_version_and_the_licence(tmp_path: Path) -> None:
    wheel = zipfile.ZipFile(build("wheel", ROOT, tmp_path))
    metadata = message_from_bytes(wheel.read(f"{DIST_INFO}/METADATA"))

    assert metadata["Version"] == gate.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == "the gate authors"


def test_the_command_line_says_the_version(tmp_path: Path) -> None:
    assert run(Path(sys.executable).parent / "gate", "--version", cwd=tmp_path) == f"gate {gate.__version__}\n"


def test_the_changelog_has_a_section_for_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
    assert "## Unreleased" in changelog
    assert any(line.split()[:2] == ["##", gate.__version__] for line in changelog)
