"""Make a lab's machines as unfriendly as those that people have: `lab up --unfriendly`.

What is done to each is listed in docs/lab.md, with what apply says of it. It can be done again.
"""

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import apt, guest
from provisioner.lab.image import Progress
from provisioner.lab.recipe import SYSTEMS
from provisioner.lab.spec import LabSpec, VmSpec

# Debian packages that the image and the mirror lack, with what they need beyond the image.
_FILTER = ("nftables", "libnftables1", "libnftnl11", "libjansson4")
_SHELL = ("zsh", "zsh-common")

_LOGIN = r"""
cat >/home/vagrant/.zshenv <<'END'
echo "Welcome to $(hostname)"; echo "you have mail" >&2
END
cp /home/vagrant/.zshenv /home/vagrant/.bashrc
echo 'umask 077' | tee -a /home/vagrant/.zshenv /home/vagrant/.bashrc >>/root/.profile
usermod --shell /usr/bin/zsh vagrant
echo 'MaxSessions 2' >/etc/ssh/sshd_config.d/10-few.conf
systemctl reload ssh
"""
# As ufw does it: everything comes out, only SSH and ping come in. And what Docker and k3s leave behind.
_FILTERED = r"""
cat >/etc/nftables.conf <<'END'
flush ruleset
table inet firewall {
	chain incoming {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		meta l4proto { icmp, ipv6-icmp } accept
		tcp dport 22 accept
	}
}
END
systemctl enable --quiet nftables
systemctl restart nftables
mkdir -p /etc/containerd /etc/apt/keyrings /data/containerd
cat >/etc/containerd/config.toml <<'END'
disabled_plugins = ["cri"]
root = "/data/containerd"
END
cat >/etc/systemd/system/old-cluster.service <<'END'
[Unit]
Description=The bridge that a k3s of before left
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip link add cni0 type bridge
ExecStart=/sbin/ip address add 10.42.0.1/24 dev cni0
END
systemctl daemon-reload
systemctl restart old-cluster || true
"""
# Docker's repository, from where the site has it, in a file and with a key of other names.
_REPOSITORY = r"""
curl -fsS {url}/gpg -o /etc/apt/keyrings/docker.gpg.asc
cat >/etc/apt/sources.list.d/docker.sources <<END
Types: deb
URIs: {url}
Suites: {suite}
Components: stable
Signed-By: /etc/apt/keyrings/docker.gpg.asc
END
"""
_STORAGE = r"""
cat >/etc/systemd/system/my-swap.service <<'END'
[Unit]
Description=Swap in a file
[Service]
Type=oneshot
ExecStart=-/sbin/swapon /var/swapfile
[Install]
WantedBy=multi-user.target
END
systemctl enable --quiet my-swap
echo 'deb [trusted=yes] http://192.168.56.99/debian etch main # gone for years' >/etc/apt/sources.list.d/old.list
cat >/usr/local/sbin/hold-lists <<'END'
#!/usr/bin/python3
# Holds apt's lock of the lists for a while, as apt-daily and cloud-init do after a boot.
import fcntl, sys, time
lock = open("/var/lib/apt/lists/lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(float(sys.argv[1]))
END
chmod 0755 /usr/local/sbin/hold-lists
mkdir -p /var/lib/containerd
mountpoint -q /var/lib/containerd || mount -t tmpfs -o size=200m tmpfs /var/lib/containerd
"""


def make(spec: LabSpec, containerd: str, progress: Progress) -> None:
    """Make the first three machines unfriendly; containerd: the URL that stands for download.docker.com."""
    repository = f"{containerd}/linux/debian" if containerd else ""
    with tempfile.TemporaryDirectory(prefix="unfriendly-") as name, ThreadPoolExecutor(3) as pool:

        def one(vm: VmSpec, names: tuple[str, ...], script: str) -> None:
            if names:
                _install(spec, vm, names, Path(name, vm.name))
            _run(spec, vm, "sh -eu", script)

        suite = SYSTEMS[spec.vms[1].os] if len(spec.vms) > 1 else ""
        scripts = (_LOGIN, _FILTERED + _adds(repository, suite), _STORAGE)
        for job in [pool.submit(one, *each) for each in zip(spec.vms, (_SHELL, _FILTER, ()), scripts, strict=False)]:
            job.result()
    progress("unfriendly: logins, packet filter and leftovers, storage and package sources; see docs/lab.md")


def _install(spec: LabSpec, vm: VmSpec, names: tuple[str, ...], folder: Path) -> None:
    """Install Debian packages on a machine that cannot download them."""
    folder.mkdir()
    apt.download(names, SYSTEMS[vm.os], folder)
    archive = subprocess.run(
        ["tar", "-C", str(folder), "--exclude=.apt", "-cf", "-", "."], check=True, capture_output=True
    ).stdout
    _run(spec, vm, "mkdir -p /root/debs && tar -xf - -C /root/debs && dpkg -i /root/debs/*.deb", archive)


def _adds(repository: str, suite: str) -> str:
    return _REPOSITORY.format(url=repository, suite=suite) if repository else ""


def _run(spec: LabSpec, vm: VmSpec, command: str, stdin: bytes | str) -> None:
    argv = guest.ssh_command(spec, vm, ["sudo", "sh", "-c", f"'{command}'"])
    body = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(argv, input=body, capture_output=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ProvisionerError(f"{vm.name}: {said[-500:]}", "provisioner lab up --unfriendly")
