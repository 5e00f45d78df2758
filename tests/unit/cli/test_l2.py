"""The command line of l2: what it imports, what it refuses, its exit statuses and next commands."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner

from provisioner.cli import l2_check
from provisioner.cli.l2 import l2
from provisioner.cli.l2_collect import write
from provisioner.cli.options import Options
from provisioner.errors import ProvisionerError
from provisioner.l2 import sweeping
from provisioner.l2.probe.capture import Capture, Vantage
from provisioner.l2.result import Result
from provisioner.l2.scan import survey

VANTAGE = Vantage("eth1", "02:00:00:00:00:02")
ROOT = Path(__file__).parents[3]
HEAVY = ("scapy", "kubernetes", "fabric", "paramiko", "rich")


@pytest.mark.parametrize("subcommand", ["", "scan", "check", "collect", "watch", "explain", "guard"])
def test_help_imports_nothing_heavy(subcommand: str) -> None:
    words = ["l2", *([subcommand] if subcommand else []), "--help"]
    program = (
        "import sys\n"
        "from provisioner.cli.main import cli\n"
        f"try: cli.main({words!r})\n"
        "except SystemExit: pass\n"
        f"print('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.splitlines()[-1] == "LOADED"
    assert "Usage: " in ended.stdout
    if subcommand:
        assert "Example: provisioner l2 " in ended.stdout


@pytest.fixture(autouse=True)
def _without_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)


def run(tmp_path: Path, *words: str, output: str = "text", facts: str | None = None) -> tuple[int, str, str]:
    if facts is not None:
        (tmp_path / "facts.json").write_text(facts)
        words = (*words, "--facts", str(tmp_path / "facts.json"))
    ended = CliRunner().invoke(l2, list(words), obj=Options(output=output))
    return ended.exit_code, ended.stdout, ended.stderr


NONE = '{"schema": "l2facts/v1", "nodes": [], "services": []}'


@pytest.mark.parametrize(
    ("words", "facts", "message"),
    [
        (["scan"], None, "no pools and no external IPs are known here; name the addresses"),
        (["scan", "192.0.2.300"], None, "is not an address, range or network"),
        (["scan", "pool:x"], NONE, "pool 'x' not found"),
        (["scan", "10.0.0.0/8"], None, "are too many for one scan"),
        (["scan", "2001:db8::/64"], None, "are too many for one scan"),
        (["scan", "10.20.0.0/16"], None, "65534 addresses take 11 minutes, and stdin is not a terminal; use -y"),
        (["check"], None, "the cluster's services are not known here"),
        (["check"], NONE, "no services of type LoadBalancer, so there is nothing to check"),
        (["check", "default/web"], NONE, "neither an address nor a service"),
        (["check", "192.0.2.0/24"], None, "sweep it: provisioner l2 scan 192.0.2.0/24"),
        (["check", "192.0.2.7"], "{", "facts.json"),
        (["check", "192.0.2.7"], '{"schema": "l2facts/v9", "nodes": []}', "this version reads l2facts/v1 and"),
        (["check", "192.0.2.7", "--facts", "not-there.json"], None, "not-there.json"),
        (["check", "192.0.2.7", "--pps", "501"], None, "501 is not in the range 1<=x<=500"),
        (["scan", "192.0.2.7", "--timeout", "0"], None, "is not in the range"),
        (["scan", "--colour"], None, "No such option"),
        (["collect"], None, "Missing option '-o'"),
    ],
)
def test_an_error_is_one_line_and_status_two(
    tmp_path: Path, words: list[str], facts: str | None, message: str
) -> None:
    status, stdout, stderr = run(tmp_path, *words, facts=facts)
    assert message in stderr
    assert (status, stdout) == (2, "")
    assert "Traceback" not in stderr


def test_an_error_is_valid_json_too(tmp_path: Path) -> None:
    status, stdout, stderr = run(tmp_path, "check", output="json")
    made = json.loads(stdout)
    assert (status, made["schema"], made["results"]) == (2, "l2report/v1", [])
    assert "the cluster's services are not known here" in made["problem"]
    assert "the cluster's services" in stderr


def test_a_map_in_a_missing_folder_is_refused_before_the_sweep(tmp_path: Path) -> None:
    words = ["scan", "192.0.2.7", "--svg", str(tmp_path / "nowhere" / "x.svg")]
    status, stdout, stderr = run(tmp_path, *words, output="json")
    made = json.loads(stdout)  # one document
    assert (status, made["results"], made["run"].get("sent")) == (2, [], None)
    assert made["problem"].startswith(f"no such folder: {tmp_path / 'nowhere'}")
    assert "no such folder" in stderr


def test_an_unwritable_map_does_not_lose_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    addresses = (survey.SweptAddress(ip_address("192.0.2.7"), survey.AddressState.FREE),)
    monkeypatch.setattr(sweeping, "scan", lambda *_, **__: (Capture(VANTAGE, (), sent=7), addresses))
    status, stdout, stderr = run(tmp_path, "scan", "192.0.2.7", "--svg", str(tmp_path / "folder"), output="json")
    made = json.loads(stdout)
    assert (status, made["run"]["sent"], len(made["results"])) == (2, 7, 1)
    assert made["problem"].startswith("cannot write")
    assert "inconclusive: cannot write" in stderr


def test_a_watch_without_a_site_has_a_note(tmp_path: Path) -> None:
    status, _, stderr = run(tmp_path, "watch", "203.0.113.9")
    assert status == 2
    assert stderr.startswith("note: neither hosts.toml nor a kubeconfig, so nothing is known about the cluster;")


def test_the_next_command_has_the_same_files_and_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result("192.0.2.7", "ipv4", "", "", "UNKNOWN", "certain", ("So.",), "Check again.")
    commands = ["provisioner l2 check 192.0.2.7", "provisioner exec --limit w2 -- ip link", "kubectl get nodes"]
    results = tuple(replace(result, command=command) for command in commands)
    monkeypatch.setattr(l2_check, "choose_interface", lambda *_: None)
    monkeypatch.setattr(l2_check, "run", lambda *_, **__: (Capture(VANTAGE, ()), results))
    (tmp_path / "my facts.json").write_text(NONE)
    options = Options(file=Path("/etc/site.toml"), output="json")
    words = ["check", "192.0.2.7", "--facts", "my facts.json", "--interface", "eth1"]
    ended = CliRunner().invoke(l2, words, obj=options)
    assert [one["command"] for one in json.loads(ended.stdout)["results"]] == [
        "provisioner -f /etc/site.toml l2 check 192.0.2.7 --facts 'my facts.json' --interface eth1",
        "provisioner -f /etc/site.toml exec --limit w2 -- ip link",
        "kubectl get nodes",
    ]


def test_a_pending_service_is_diagnosed_without_probing(tmp_path: Path) -> None:
    facts = json.dumps(
        {
            "schema": "l2facts/v1",
            "nodes": [],
            "pools": [{"name": "lab", "addresses": ["192.0.2.200/32"]}],
            "services": [
                {"namespace": "a", "name": "has", "ingress_ips": ["192.0.2.200"]},
                {"namespace": "a", "name": "waits", "ingress_ips": []},
            ],
        }
    )
    status, stdout, _ = run(tmp_path, "check", "a/waits", output="json", facts=facts)
    (result,) = json.loads(stdout)["results"]
    assert (status, result["verdict"], result["service"]) == (1, "POOL_EXHAUSTED", "a/waits")


def test_a_file_is_written_atomically_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text("old")
    write(path, "new\n")
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["facts.json"]


def test_an_unwritable_file_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProvisionerError, match=r"cannot write .*folder"):
        write(tmp_path / "folder", "text")
    with pytest.raises(ProvisionerError, match=r"cannot write .*No such file"):
        write(tmp_path / "none" / "facts.json", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    assert not list((tmp_path / "folder").iterdir())
