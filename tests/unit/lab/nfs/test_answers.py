import os
import stat

from provisioner.lab.nfs import operations as op
from provisioner.lab.nfs.answers import attributes_answer, encoded, name_of, owner_of, share_of, time_of
from provisioner.lab.nfs.attributes import Attributes
from provisioner.lab.nfs.xdr import Time


def test_attributes_are_the_kernels_struct() -> None:
    found = Attributes(kind=stat.S_IFREG, mode=0o640, size=5, uid=1000, gid=2000, modified=Time(-1, 7))
    assert len(encoded(found)) == 88  # struct fuse_attr
    assert len(attributes_answer(found)) == 104  # struct fuse_attr_out
    assert attributes_answer(found)[:16] == bytes(16), "valid for no time: others may change the file"


def test_parts_of_requests() -> None:
    assert name_of(b"name\0rest") == b"name"
    assert owner_of(1, flock=True) != owner_of(1, flock=False)
    assert share_of(os.O_RDWR | os.O_APPEND) == op.READ | op.WRITE
    assert share_of(os.O_WRONLY) == op.WRITE
    assert time_of(16 | 128, 16, 128, Time(1, 2)) == "now"
    assert time_of(16, 16, 128, Time(1, 2)) == Time(1, 2)
    assert time_of(0, 16, 128, Time(1, 2)) is None
