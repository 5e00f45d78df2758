import os
import struct
import subprocess
import sys

import pytest

from provisioner.lab.nfs import device
from provisioner.lab.nfs.device import Request


def test_the_answer_to_init_fits_the_kernels_struct() -> None:
    answer = device._init(struct.pack("<IIII", 7, 45, 131072, 0xFFFFFFFF))
    assert len(answer) == 64  # struct fuse_init_out
    major, minor, readahead, flags = struct.unpack_from("<IIII", answer)
    assert (major, minor, readahead) == (7, 31, 131072)
    assert flags & 1 << 22, "FUSE_MAX_PAGES, or requests are 128 KiB at most"
    assert not flags & 1 << 16, "no FUSE_WRITEBACK_CACHE: others would not see what is written"


def test_a_kernel_of_another_major_version() -> None:
    with pytest.raises(OSError, match="speaks FUSE 8"):
        device._init(struct.pack("<IIII", 8, 0, 0, 0))


def test_groups_are_those_of_the_process() -> None:
    request = Request(1, 1, 1, 1000, 2000, os.getpid(), b"")
    assert (request.who.uid, request.who.gid) == (1000, 2000)
    assert set(request.who.groups) == set(os.getgroups())


def test_a_process_that_is_gone_has_no_groups_and_counts_as_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert Request(1, 1, 1, 5, 6, process.pid, b"").who.groups == ()
    assert device._killed(process.pid)
    assert not device._killed(os.getpid())
