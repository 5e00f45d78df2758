"""What a node whose kernel has no NFS gets on its disk instead: NFS-Ganesha, a mount.nfs, and what calls them.

The packages nfs-common and nfs-kernel-server are installed as on any machine. Their programs that talk to the kernel
are diverted (dpkg-divert(1)), their units get drop-ins; without the packages, none of this does anything.
"""

HOME = "/usr/local/lib/lab"
PYTHON = f"{HOME}/python"
GANESHA = f"{HOME}/ganesha"
PACKAGED = ".packaged"  # what Debian's own program is called
_RUN = "/run/nfs-standin"
# On a machine with merged directories, a package may name either.
DIVERTED = tuple(
    f"{directory}/{name}"
    for directory in ("/sbin", "/usr/sbin")
    for name in ("exportfs", "mount.nfs", "mount.nfs4", "umount.nfs", "umount.nfs4")
)
_NODE = f"""\
#!/bin/sh
# NFS in user space: this lab's kernel has none.
PYTHONPATH={PYTHON} exec /usr/bin/python3 -P -m provisioner.lab.nfs "$@"
"""
_MOUNT = f"""\
#!/bin/sh
# Diverted: this lab's kernel has no NFS client.
if [ ! -e /usr/sbin/mount.nfs{PACKAGED} ]; then
  echo 'mount.nfs: not installed (apt-get install nfs-common)' >&2
  exit 32
fi
exec {HOME}/nfs mount "$@"
"""
_UMOUNT = """\
#!/bin/sh
exec umount -i "$@"
"""
_EXPORTFS = f"""\
#!/bin/sh
# Diverted: Debian's exportfs, which writes /var/lib/nfs/etab, then NFS-Ganesha is told.
if [ ! -e /usr/sbin/exportfs{PACKAGED} ]; then
  echo 'exportfs: not installed (apt-get install nfs-kernel-server)' >&2
  exit 127
fi
/usr/sbin/exportfs{PACKAGED} "$@" || exit
exec {HOME}/nfs exports
"""
_SERVER = f"""\
[Unit]
Description=NFS server (NFS-Ganesha: this lab's kernel has none)

[Service]
Type=exec
RemainAfterExit=no
Environment=LD_LIBRARY_PATH={GANESHA}/lib
ExecStartPre={HOME}/nfs configure {GANESHA}/fsal
ExecStart=
ExecStart={GANESHA}/ganesha.nfsd -F -f {_RUN}/ganesha.conf -p {_RUN}/ganesha.pid -L {_RUN}/ganesha.log
ExecStartPost={HOME}/nfs ready
ExecStop=
LimitNOFILE=65536
"""
_MOUNTD = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=
ExecStart=/bin/true
"""
_OF_THE_KERNEL = f"[Unit]\nConditionPathExists=!{HOME}/nfs\n"
_KERNEL_UNITS = (
    "proc-fs-nfsd.mount", "var-lib-nfs-rpc_pipefs.mount", "run-rpc_pipefs.mount", "nfsdcld.service",
    "nfs-idmapd.service", "nfs-blkmap.service", "auth-rpcgss-module.service", "rpc-svcgssd.service",
    "rpc-gssd.service", "fsidd.service",
)  # fmt: skip
_UNITS = "etc/systemd/system"
# path: (mode, content)
FILES: dict[str, tuple[int, str]] = {
    f"{HOME[1:]}/nfs": (0o755, _NODE),
    "usr/sbin/exportfs": (0o755, _EXPORTFS),
    **{f"usr/sbin/{name}": (0o755, _MOUNT) for name in ("mount.nfs", "mount.nfs4")},
    **{f"usr/sbin/{name}": (0o755, _UMOUNT) for name in ("umount.nfs", "umount.nfs4")},
    f"{_UNITS}/nfs-server.service.d/lab.conf": (0o644, _SERVER),
    f"{_UNITS}/nfs-mountd.service.d/lab.conf": (0o644, _MOUNTD),
    **{f"{_UNITS}/{unit}.d/lab.conf": (0o644, _OF_THE_KERNEL) for unit in _KERNEL_UNITS},
}
DIVERT = (
    f"for path in {' '.join(DIVERTED)}; do\n"
    f'  dpkg-divert --quiet --local --rename --divert "$path{PACKAGED}" --add "$path" || exit\n'
    "done\n"
)
