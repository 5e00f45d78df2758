"""Bad input ends as one printable line and status 2, through the real entry point: 1 would mean a fault."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from provisioner.cli.main import main

NONE = '{"schema": "l2facts/v1", "nodes": [], "services": []}'


@pytest.fixture(autouse=True)
def _without_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "none.json").write_text(NONE)
    os.mkfifo(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("check --nope", "No such option"),
        ("--nope check", "No such option"),
        ("chek", "no such command"),
        ("check 192.0.2.7 --pps 0", "0 is not in the range"),
        ("check 192.0.2.7 --pps ten", "'ten' is not a valid integer"),
        ("scan 192.0.2.7 --pps -1", "-1 is not in the range"),
        ("check 192.0.2.7 --timeout nan", "'nan' is not a number of seconds"),
        ("check 192.0.2.7 --timeout inf", "inf is not in the range"),
        ("watch 192.0.2.7 --gap NaN", "'NaN' is not a number of seconds"),
        ("watch 192.0.2.7 --timeout nan", "is not a number of seconds"),
        ("watch 192.0.2.7 --port 65536", "65536 is not in the range"),
        ("collect", "Missing option"),
        ("check 0.0.0.0 --facts none.json", "0.0.0.0 is the unspecified address, which no host can have"),
        ("check :: --facts none.json", ":: is the unspecified address"),
        ("check 224.0.0.18 --facts none.json", "224.0.0.18 is a multicast address"),
        ("check ff02::1 --facts none.json", "ff02::1 is a multicast address"),
        ("check 255.255.255.255 --facts none.json", "255.255.255.255 is the broadcast address"),
        ("check 127.0.0.1 --facts none.json", "127.0.0.1 is a loopback address"),
        ("check fe80::1%eth0 --facts none.json", "'fe80::1%eth0' has a zone; write fe80::1, and choose the interface"),
        ("scan 0.0.0.0 --facts none.json", "0.0.0.0 is the unspecified address"),
        ("scan 224.0.0.0/24 --facts none.json", "every address of 224.0.0.0/24 is a multicast address"),
        ("watch 0.0.0.0 --facts none.json", "0.0.0.0 is the unspecified address"),
        ("watch 224.0.0.18 --facts none.json", "224.0.0.18 is a multicast address"),
        ("watch x --facts none.json", "'x' is not an IP address"),
        ("check 192.0.2.7 --facts pipe", "pipe: is a named pipe; name a facts file"),
        ("watch 192.0.2.7 --facts pipe", "pipe: is a named pipe; name a facts file"),
        ("explain nothing-like-it", "no verdict or warning is called"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], words: str, says: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["l2", *words.split()])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("word", ["w\x1b[31m", "a\nOK  192.0.2.200", "fe80::1%\x1b[2J", "\u202eabc"])
@pytest.mark.parametrize("command", ["check", "scan", "watch", "explain"])
def test_a_word_cannot_forge_a_line(capsys: pytest.CaptureFixture[str], command: str, word: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["l2", command, word, *([] if command == "explain" else ["--facts", "none.json"])])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize("name", ["none\x1b[31m.json", "a\nOK 192.0.2.200"])
def test_a_file_name_cannot_forge_a_line(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["l2", "check", "192.0.2.7", "--facts", name])
    assert ended.value.code == 2
    assert capsys.readouterr().err.rstrip("\n").isprintable()


def test_an_option_out_of_range_is_valid_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["-o", "json", "l2", "check", "192.0.2.7", "--pps", "0"])
    made = json.loads(capsys.readouterr().out)
    assert (ended.value.code, made["results"]) == (2, [])
    assert "0 is not in the range" in made["problem"]


def test_a_named_pipe_as_hosts_toml_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["-f", "pipe", "l2", "check"])
    assert ended.value.code == 2
    assert "pipe: is not a regular file" in capsys.readouterr().err
