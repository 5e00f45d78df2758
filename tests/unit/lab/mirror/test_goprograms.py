"""Which Go compiles a program, and with how much memory."""

import json
from pathlib import Path

import pytest

from provisioner.lab.mirror import goprograms


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a toolchain is after its download; this machine's Go, a script, is 1.26.8 in /opt/go."""
    toolchain = tmp_path / "toolchain"
    (toolchain / "bin").mkdir(parents=True)
    (toolchain / "bin/go").touch(mode=0o644)
    own, answer = json.dumps({"GOVERSION": "go1.26.8", "GOROOT": "/opt/go"}), json.dumps({"Dir": str(toolchain)})
    script = tmp_path / "go"
    script.write_text(f"#!/bin/sh\ncase $1 in env) echo '{own}' ;; *) echo '{answer}' ;; esac\n")
    script.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(goprograms, "find_program", lambda name: str(script))
    return toolchain


def test_the_machines_own_go_is_used_where_it_is_the_one_wanted(downloaded: Path) -> None:
    assert goprograms.toolchain("1.26.8") == Path("/opt/go/bin/go")
    assert goprograms.toolchain("1.15.15") == downloaded / "bin/go"
    assert (downloaded / "bin/go").stat().st_mode & 0o111


def test_compilers_collect_no_garbage_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, which Go knows since 1.19, they only collect less often."""
    assert goprograms.garbage("1.15.15") == {"GOGC": "300"}
    for pages, heap in ((2**18, "512MiB"), (2**22, "1024MiB"), (2**30, "1536MiB")):
        sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": pages}
        monkeypatch.setattr("os.sysconf", sizes.__getitem__)
        assert goprograms.garbage("1.26.8") == {"GOGC": "off", "GOMEMLIMIT": heap}
