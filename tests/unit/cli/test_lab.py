"""The lab's command line: its help and its errors."""

import os
import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from provisioner.cli.hints import INSIDE
from provisioner.cli.lab import lab
from provisioner.errors import ProvisionerError
from provisioner.lab import lifecycle, ownership, requirements, upstream
from provisioner.lab.spec import LabSpec

VERBS = ("up", "status", "ssh", "exec", "power", "link", "snapshot", "restore", "down", "destroy")


def test_the_commands_of_the_lab() -> None:
    assert set(VERBS) == set(lab.commands)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str) -> None:
    shown = CliRunner().invoke(lab, [verb, "--help"])
    assert shown.exit_code == 0
    assert f"Example: provisioner lab {verb}" in " ".join(shown.output.split())
    assert all(parameter.help for parameter in lab.commands[verb].params if isinstance(parameter, click.Option))


@pytest.mark.parametrize("arguments", [["status"], ["down"], ["snapshot", "a"], ["ssh", "master"], ["exec", "true"],
                                       ["power", "cut", "master"]])  # fmt: skip
def test_without_a_lab_the_error_says_how_to_create_one(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    result = CliRunner().invoke(lab, arguments)
    assert isinstance(result.exception, ProvisionerError)
    assert "provisioner lab up" in result.exception.remedy


def test_destroy_without_a_lab_succeeds(tmp_path: Path) -> None:
    result = CliRunner().invoke(lab, ["destroy", "--directory", str(tmp_path / "none")])
    assert result.exit_code == 0
    assert "nothing to do" in result.output


def test_without_root_the_error_has_the_command_with_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["provisioner", "lab", "up", "--workers", "3"])
    with pytest.raises(ProvisionerError, match="root") as refusal:
        requirements.check()
    assert refusal.value.remedy.startswith("sudo ")
    assert refusal.value.remedy.endswith("lab up --workers 3")


def test_one_error_lists_all_missing_programs_and_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        requirements, "PROGRAMS", {"": {"no-such-one": "package-a", "no-such-two": "package-b", "sh": "dash"}}
    )
    with pytest.raises(ProvisionerError, match="no-such-one, no-such-two") as refusal:
        requirements.check()
    assert refusal.value.remedy == "apt-get install --no-install-recommends package-a package-b"


def test_several_control_planes_require_a_load_balancer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "PROGRAMS", {"": {}})
    monkeypatch.setattr("shutil.which", lambda program, path: None)
    requirements.check()
    with pytest.raises(ProvisionerError, match="haproxy") as refusal:
        requirements.check(balanced=True)
    assert refusal.value.remedy == "apt-get install --no-install-recommends haproxy"


@pytest.mark.parametrize(("size", "mebibytes"), [("4G", 4096), ("3500M", 3500), ("4GiB", 4096)])
def test_sizes_of_disks(size: str, mebibytes: int) -> None:
    assert lab.commands["up"].make_context("up", ["--disk", size]).params["disk"] == mebibytes


@pytest.mark.parametrize("size", ["4", "0G", "4T", "four", "-1G"])
def test_an_invalid_size_is_rejected(size: str) -> None:
    with pytest.raises(click.BadParameter, match="4G or 3500M"):
        lab.commands["up"].make_context("up", ["--disk", size])


def test_a_second_command_is_refused_while_one_runs(tmp_path: Path) -> None:
    spec = LabSpec(tmp_path)
    with (
        ownership.locked(spec),
        pytest.raises(ProvisionerError, match="another command"),
        ownership.locked(spec),
    ):
        pass
    with ownership.locked(spec):
        pass


def test_upstream_that_refuses_the_connection_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        ((host, why),) = upstream.probe([(address, "/")], timeout=5.0)
    assert host == address
    assert "refused" in why


def test_the_mirrors_description_is_parsed() -> None:
    info = upstream.parse(
        'some progress\n{"directory": "/c/m", "key": "/c/m/key.asc", "kubernetes": "1.20.2", "metallb": "0.13.12", '
        '"metrics_server": "0.9.0"}\n'
    )
    assert (info.directory, info.key, info.kubernetes) == (Path("/c/m"), Path("/c/m/key.asc"), "1.20.2")


@pytest.mark.parametrize("text", ["", "not json", "{}", "[]"])
def test_an_invalid_description_of_the_mirror_is_an_error(text: str) -> None:
    with pytest.raises(ProvisionerError, match="cannot be read"):
        upstream.parse(text)


def test_exec_sets_its_variable_only_for_the_program_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments: list[dict[str, str]] = []
    monkeypatch.delenv(INSIDE, raising=False)
    monkeypatch.setattr(requirements, "require_root", lambda: None)
    monkeypatch.setattr(os, "execvpe", lambda program, argv, environment: environments.append(environment))
    words = ["exec", "--directory", str(tmp_path), "true"]
    assert CliRunner().invoke(lab, words).exit_code == 1, "there is no lab"
    monkeypatch.setattr(lifecycle, "find_up", LabSpec)
    CliRunner().invoke(lab, words)
    assert environments[0][INSIDE] == "provisioner"
    assert INSIDE not in os.environ


@pytest.mark.parametrize(("version", "why"), [("1.99", "are supported"), ("newest", "is not a Kubernetes version")])
def test_an_invalid_version_is_rejected_before_anything_is_created(version: str, why: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(lab, ["up", "--directory", str(tmp_path / "lab"), "--kubernetes", version])
    assert ran.exit_code == 2
    assert why in ran.output
    assert not (tmp_path / "lab").exists()
