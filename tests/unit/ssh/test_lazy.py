"""Importing the package must not import Fabric and Paramiko."""

from __future__ import annotations

import subprocess
import sys

import fabric
import paramiko
import pytest

from provisioner.ssh import lazy


def test_the_package_imports_neither_fabric_nor_paramiko() -> None:
    code = (
        "import sys\n"
        "from provisioner.ssh import Host, Sudo, Tunnel, connect, host, jobs, openssh\n"
        "print(sorted({'fabric', 'invoke', 'paramiko', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_attributes_are_the_modules() -> None:
    assert lazy.fabric is fabric
    assert lazy.paramiko is paramiko
    with pytest.raises(AttributeError, match="no attribute 'invoke'"):
        _ = lazy.invoke
