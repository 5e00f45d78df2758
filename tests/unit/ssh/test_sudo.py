"""The sources of the sudo password."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.ssh.sudo import read_password


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_PW", "x y")
    assert read_password("env:SUDO_PW", tmp_path) == "x y"
    monkeypatch.delenv("SUDO_PW")
    with pytest.raises(ProvisionerError, match=r"\$SUDO_PW, which is not set"):
        read_password("env:SUDO_PW", tmp_path)


def test_from_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "pw"
    file.write_text("secret word\n")
    file.chmod(0o600)
    assert read_password("file:pw", tmp_path) == "secret word"
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        with pytest.raises(ProvisionerError, match="accessible by others") as caught:
            read_password("file:pw", tmp_path)
        assert "chmod 600" in caught.value.remedy
    with pytest.raises(ProvisionerError, match="cannot read"):
        read_password("file:nothing", tmp_path)


def test_from_a_prompt_if_there_is_a_terminal(tmp_path: Path) -> None:
    assert read_password("prompt", tmp_path, lambda: "typed") == "typed"
    with pytest.raises(ProvisionerError, match="without a terminal; set sudo_password"):
        read_password("prompt", tmp_path)
