"""What the lab's disk image contains: what a Debian Vagrant box has, and no more.

`apply` must do its real work, so the image has nothing of a cluster: no container runtime, no NFS, no conntrack. The
cached image is named by the hash of this recipe; changing a line here builds a new one.
"""

import hashlib
import json

# What a machine can run, by the word after `--os`: Debian's name of the release.
SYSTEMS = {"debian12": "bookworm", "debian13": "trixie"}
SYSTEM = "debian12"
DISK_GIB = 8
# Drivers for the virtual hardware, loaded before systemd starts: no wait for udev to settle.
INITRD_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "qemu_fw_cfg")
# The cloud flavor boots faster and has every module that a node loads; the build checks for these.
KERNEL = "linux-image-cloud-amd64"
KERNEL_MODULES = (
    "nfsd", "nfs", "nfsv4", "br_netfilter", "overlay", "ip_vs", "ip_vs_rr", "vxlan", "veth", "nf_conntrack",
    "nf_tables", "ip_set", "xt_comment", "sch_netem", "dummy", "bonding", "qemu_fw_cfg",
)  # fmt: skip
PACKAGES = (
    KERNEL, "initramfs-tools", "systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "ifupdown",
    "iproute2", "iputils-ping", "netbase", "openssh-server", "sudo", "ca-certificates", "curl", "gpg", "gpgv",
    "apt", "debian-archive-keyring", "less", "e2fsprogs", "python3",
)  # fmt: skip

# Kernel command line parameter: nanoseconds by which timers may be late (timerslack_ns in proc(5)).
TIMER_SLACK = "lab.timer_slack"

_IDENTITY = """\
#!/bin/sh
# Give this machine the name, addresses, keys and package sources that the lab passes through QEMU's fw_cfg.
# Files are laid down again only when the lab sends something new: later edits on the machine stay.
set -eu
new=/sys/firmware/qemu_fw_cfg/by_name/opt/provisioner/identity/raw
seen=/var/lib/lab/identity.tar
for word in $(cat /proc/cmdline); do
  case $word in @SLACK@=*) echo "${word#*=}" > /proc/1/timerslack_ns ;; esac  # every program inherits it
done
modprobe qemu_fw_cfg || true
mkdir -p /var/lib/lab
if [ -e "$new" ] && ! cmp -s "$new" "$seen"; then
  tar -xpf "$new" -C /
  cp "$new" "$seen"
fi
hostname -F /etc/hostname
for type in ed25519 ecdsa; do
  key=/etc/ssh/ssh_host_${type}_key
  [ -s "$key" ] || { rm -f "$key" "$key.pub"; ssh-keygen -q -N '' -t "$type" -f "$key"; }
done
sync
""".replace("@SLACK@", TIMER_SLACK)

_IDENTITY_UNIT = """\
[Unit]
Description=Name, addresses, keys and package sources of this lab machine
DefaultDependencies=no
After=systemd-remount-fs.service systemd-tmpfiles-setup-dev.service
Before=sysinit.target network-pre.target networking.service ssh.service
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-identity

[Install]
WantedBy=sysinit.target
"""

_INITRD_HOOK = """\
#!/bin/sh
[ "${{1:-}}" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
for module in {modules}; do force_load "$module"; done
"""

# Laid down before any package is unpacked: path -> (mode, content).
EARLY_FILES: dict[str, tuple[int, str]] = {
    "etc/initramfs-tools/conf.d/lab": (0o644, "MODULES=list\nCOMPRESS=gzip\nFSTYPE=ext4\n"),
    "etc/initramfs-tools/hooks/lab": (0o755, _INITRD_HOOK.format(modules=" ".join(INITRD_MODULES))),
    "etc/dpkg/dpkg.cfg.d/lab": (
        0o644,
        "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n"
        "path-exclude=/usr/share/locale/*\n",
    ),
    "etc/apt/apt.conf.d/90lab": (0o644, 'Acquire::Languages "none";\n'),
}
# Laid down in the finished tree.
FILES: dict[str, tuple[int, str]] = {
    "usr/local/sbin/lab-identity": (0o755, _IDENTITY),
    "etc/systemd/system/lab-identity.service": (0o644, _IDENTITY_UNIT),
    "etc/sudoers.d/vagrant": (0o440, "vagrant ALL=(ALL) NOPASSWD: ALL\n"),
    # RSA keys take an emulated machine seconds to make; every client of this decade takes the other two.
    "etc/ssh/sshd_config.d/lab.conf": (
        0o644,
        "HostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /etc/ssh/ssh_host_ecdsa_key\n"
        "PasswordAuthentication no\nUseDNS no\n",
    ),
    "etc/network/interfaces": (
        0o644,
        "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\n"
        "auto eth0\niface eth0 inet static\n  address 10.0.2.15/24\n  gateway 10.0.2.2\n",
    ),
    "etc/resolv.conf": (0o644, "nameserver 10.0.2.3\n"),
    "etc/fstab": (0o644, "/dev/vda / ext4 errors=remount-ro 0 1\n"),
    "etc/default/locale": (0o644, "LANG=C.UTF-8\n"),
    "etc/machine-id": (0o444, ""),
}
# Units that an idle emulated machine would spend minutes on; none of them changes what a node is.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "ifupdown-pre.service", "getty@tty1.service",
    "serial-getty@ttyS0.service", "systemd-pstore.service",
)  # fmt: skip
# Run inside the tree once it is complete.
COMMANDS = (
    "useradd --create-home --uid 1000 --shell /bin/bash --groups sudo vagrant",
    "passwd --lock root",
    "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/dbus/machine-id /etc/hostname",
    "ln -s /etc/machine-id /var/lib/dbus/machine-id",
    "systemctl enable lab-identity.service ssh.service networking.service",
    "systemctl mask " + " ".join(MASKED),
    "apt-get clean",
)


def recipe_hash(system: str = SYSTEM) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of everything that shapes the system's image."""
    parts = [
        SYSTEMS[system], DISK_GIB, KERNEL_MODULES, PACKAGES, sorted(EARLY_FILES.items()), sorted(FILES.items()),
        COMMANDS,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
