import pytest

from provisioner.lab.nfs.options import REMOUNT, Usage, parse


def test_the_kubelet_mounts_a_volume() -> None:
    """The words of mount(8) for `mount -t nfs -o hard,nfsvers=4.2 …`, which the kubelet runs."""
    mount = parse(["192.168.56.10:/srv/nfs/nfs-01", "/var/lib/kubelet/x", "-o", "rw,hard,nfsvers=4.2"])
    assert (mount.host, mount.path, mount.target) == ("192.168.56.10", "/srv/nfs/nfs-01", "/var/lib/kubelet/x")
    assert (mount.minor, mount.port, mount.privileged, mount.soft, mount.flags) == (2, 2049, True, 0.0, 0)


@pytest.mark.parametrize(
    ("options", "attribute", "wanted"),
    [
        ("nfsvers=4.1", "minor", 1),
        ("vers=4", "minor", 2),
        ("minorversion=1", "minor", 1),
        ("port=12049", "port", 12049),
        ("noresvport", "privileged", False),
        ("retry=0", "retry", 0.0),
        ("retry=2", "retry", 120.0),
        ("soft", "soft", 180.0),
        ("soft,timeo=100,retrans=2", "soft", 30.0),
        ("ro,nosuid,nodev,noexec,noatime", "flags", 1 | 2 | 4 | 8 | 1024),
        ("ro,rw", "flags", 0),
        ("remount,ro", "flags", REMOUNT | 1),
        ("hard,proto=tcp,sec=sys,rsize=1048576,_netdev,nconnect=4,actimeo=3,local_lock=none", "flags", 0),
    ],
)
def test_options(options: str, attribute: str, wanted: object) -> None:
    assert getattr(parse(["-o", options, "server:/", "/mnt"]), attribute) == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["server:/srv"], "usage"),
        (["server", "/mnt"], "server is not SERVER:/PATH"),
        (["server:/srv", "/mnt", "-o"], "-o needs a value"),
        (["server:/srv", "/mnt", "-x"], "unknown option -x"),
        (["server:/srv", "/mnt", "-o", "nfsvers=3"], "NFS version 3"),
        (["server:/srv", "/mnt", "-o", "nfsvers=4.0"], "NFS version 4.0"),
        (["server:/srv", "/mnt", "-o", "sec=krb5"], "sec=krb5"),
        (["server:/srv", "/mnt", "-o", "proto=udp"], "proto=udp"),
        (["server:/srv", "/mnt", "-o", "port=nfs"], "port=nfs needs a number"),
        (["server:/srv", "/mnt", "-o", "hrad"], "an incorrect mount option was specified: hrad"),
    ],
)
def test_what_cannot_be_done_is_named(words: list[str], message: str) -> None:
    with pytest.raises(Usage, match=message):
        parse(words)


def test_an_ipv6_server() -> None:
    assert parse(["[fd00::1]:/srv", "/mnt"]).host == "fd00::1"
