"""Keys as people have them: agents with many keys, encrypted keys, `.pub` files, certificates; ~/.ssh/config."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.site import Site, load_site
from provisioner.ssh import login
from provisioner.ssh.connect import LoginRefused
from provisioner.ssh.host_keys import path as known_hosts
from tests.integration.ssh.conftest import MakeSite, Open, SshdOptions, provisioner
from tests.integration.ssh.nodes import Machine, make_key

PHRASE = "a phrase"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator without keys, agent or ssh_config."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """An agent; the value adds key files to it."""
    path = home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

    def add(*files: Path) -> None:
        ask = home / "askpass"
        ask.write_text(f"#!/bin/sh\necho '{PHRASE}'\n")
        ask.chmod(0o700)
        more = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
        subprocess.run(["ssh-add", "-q", *map(str, files)], check=True, env=os.environ | more)

    while not path.exists():
        assert process.poll() is None
    yield add
    process.terminate()
    process.wait()


def log_in(open_site: Open, site: Site) -> str:
    """Return who a command runs as."""
    return open_site(site)["one"].run("echo in").stdout


def encrypt(key: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PHRASE, "-f", str(key)], check=True)


def test_the_eighth_key_of_the_agent(
    home: Path, agent: Callable[..., None], make_site: MakeSite, open_site: Open, folder: Path
) -> None:
    """A server hangs up after six (MaxAuthTries)."""
    others = [home / f"other{number}" for number in range(7)]
    for other in others:
        make_key(other)
    agent(*others, folder / "id")
    assert log_in(open_site, make_site(key="")) == "in\n"


def test_too_many_keys_without_the_right_one(
    home: Path, agent: Callable[..., None], make_site: MakeSite, open_site: Open
) -> None:
    others = [home / f"other{number}" for number in range(7)]
    for other in others:
        make_key(other)
    agent(*others)
    with pytest.raises(LoginRefused, match=r"plain@\S+ rejected all 7 keys of the agent and in ~/.ssh; check user"):
        log_in(open_site, make_site(key=""))


def test_a_public_key_picks_one_of_the_agents(
    home: Path, agent: Callable[..., None], make_site: MakeSite, open_site: Open, folder: Path, sshd: SshdOptions
) -> None:
    sshd("one", "MaxAuthTries 2")
    others = [home / f"other{number}" for number in range(3)]
    for other in others:
        make_key(other)
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(folder / "id")], check=True, capture_output=True).stdout
    (folder / "pick.pub").write_bytes(public)
    agent(*others)
    with pytest.raises(
        LoginRefused, match=r"the agent has no key for \S+/pick.pub: it holds 3 others; .* ssh-add \S+k$"
    ):
        log_in(open_site, make_site(key="pick.pub"))
    agent(folder / "id")
    assert log_in(open_site, make_site(key="pick.pub")) == "in\n"
    ran = provisioner(make_site(key="pick.pub"), "ssh", "one", "--", "echo", "in")
    assert ran.stdout == "in\n", ran.stderr


def test_an_encrypted_key_is_taken_from_the_agent(
    agent: Callable[..., None], make_site: MakeSite, open_site: Open, folder: Path
) -> None:
    """Also without its .pub: OpenSSH's format holds the public key, unencrypted."""
    (folder / "id.pub").unlink(missing_ok=True)
    encrypt(folder / "id")
    with pytest.raises(LoginRefused, match=r"the key \S+/id has a passphrase; load it into an agent: ssh-add"):
        log_in(open_site, make_site())
    agent(folder / "id")
    assert log_in(open_site, make_site()) == "in\n"


def test_keys_in_the_home_folder(home: Path, make_site: MakeSite, open_site: Open, folder: Path) -> None:
    with pytest.raises(LoginRefused, match=r"there is no key to log in with: none in ~/.ssh and none in an agent"):
        log_in(open_site, make_site(key=""))
    make_key(home / ".ssh/id_ecdsa")
    encrypt(home / ".ssh/id_ecdsa")
    with pytest.raises(LoginRefused, match=r"the key \S+/id_ecdsa has a passphrase; .*ssh-add"):
        log_in(open_site, make_site(key=""))
    (folder / "id").rename(home / ".ssh/id_ed25519")
    assert log_in(open_site, make_site(key="")) == "in\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "is in PuTTY's format (convert it: puttygen"),
        ("nonsense\n", "is not a private key that can be used here"),
    ],
)
def test_a_key_file_of_another_format(
    content: str, message: str, home: Path, make_site: MakeSite, open_site: Open, folder: Path
) -> None:
    (folder / "odd").write_text(content)
    with pytest.raises(LoginRefused, match=re.escape(message)):
        log_in(open_site, make_site(key="odd"))


def test_two_factors_and_no_keys_are_named(
    home: Path, sshd: SshdOptions, make_site: MakeSite, open_site: Open
) -> None:
    sshd("one", "AuthenticationMethods publickey,password", "PasswordAuthentication yes")
    with pytest.raises(
        LoginRefused, match=r"accepts \S+/id, but asks for more: password .two-factor authentication.; ex"
    ):
        log_in(open_site, make_site())
    sshd("one", "PubkeyAuthentication no", "PasswordAuthentication yes")
    with pytest.raises(LoginRefused, match=r"accepts no keys, only password; .*ssh-copy-id"):
        log_in(open_site, make_site())


def test_a_server_with_foreign_ciphers_only(
    home: Path, sshd: SshdOptions, make_site: MakeSite, open_site: Open
) -> None:
    sshd(
        "one",
        "Ciphers aes256-gcm@openssh.com",
        "KexAlgorithms curve25519-sha256",
        "MACs hmac-sha2-512-etm@openssh.com",
    )
    assert log_in(open_site, make_site()) == "in\n"
    sshd("one", "Ciphers chacha20-poly1305@openssh.com")
    with pytest.raises(LoginRefused, match=r"have no algorithm in common: .*; allow one of these .* aes256-gcm"):
        log_in(open_site, make_site())


def test_ssh_config_answers_where_hosts_toml_is_silent(
    home: Path,
    agent: Callable[..., None],
    make_site: MakeSite,
    open_site: Open,
    machines: dict[str, Machine],
    folder: Path,
) -> None:
    """Host, HostName, User, Port, IdentityFile, ProxyJump, IdentityAgent; Include."""
    (folder / "id").rename(home / "somewhere")
    one, gate = machines["one"].address, machines["gate"].address
    (home / ".ssh/config").write_text(
        f"Include more/*.conf\nHost gate\n HostName {gate}\n User plain\n IdentityFile ~/somewhere\n"
        "Match user nobody\n Port 23\nHost *\n Port 22\n"
    )
    (home / ".ssh/more").mkdir()
    (home / ".ssh/more/one.conf").write_text(
        f"Host one\n  HostName {one}\n  User plain\n  IdentityFile ~/somewhere\n  ProxyJump gate\n"
    )
    text = make_site(hosts=("one",)).path.read_text()
    silent = re.sub(r"(?m)^(user|key) = .*\n", "", text).replace(f'"{one}"', '"198.51.100.9"')
    site = write(folder, silent)
    said = open_site(site)["one"].run("echo $SSH_CONNECTION; id -un", root=False).stdout.split()
    assert (said[0], said[2], said[4]) == (gate, one, "plain")
    ran = provisioner(site, "ssh", "one", "--", "echo $SSH_CONNECTION")
    assert ran.stdout.split()[:1] == [gate], ran.stderr

    # hosts.toml wins where it speaks, and "" reads nothing.
    spoken = write(folder, silent.replace("[ssh]\n", '[ssh]\nuser = "root"\njump = ""\n'))
    said = open_site(spoken)["one"].run("echo $SSH_CONNECTION; id -un").stdout.split()
    assert (said[0] != gate, said[4]) == (True, "root")
    nothing = write(folder, silent.replace("[ssh]\n", '[ssh]\nconfig = ""\n').replace("198.51.100.9", one))
    with pytest.raises(LoginRefused, match="there is no key to log in with"):
        log_in(open_site, nothing)

    # IdentityAgent, and IdentityFile as a public key of it.
    agent(home / "somewhere")
    os.environ.pop("SSH_AUTH_SOCK")
    subprocess.run(
        f"ssh-keygen -y -f {home}/somewhere >{home}/only.pub && rm {home}/somewhere", shell=True, check=True
    )
    (home / ".ssh/config").write_text(
        f"Host one\n HostName {one}\n User plain\n IdentityAgent {home}/agent\n"
        " IdentityFile ~/only.pub\n IdentitiesOnly yes\n"
    )
    login._parse.cache_clear()
    assert log_in(open_site, write(folder, silent)) == "in\n"
    (home / ".ssh/config").write_text("Host one\n  nonsense\n")
    login._parse.cache_clear()
    broken = provisioner(write(folder, silent), "plan")
    assert f"cannot read {home}/.ssh/config" in broken.stderr
    assert 'config = ""' in broken.stderr


def write(folder: Path, text: str) -> Site:
    (folder / "hosts.toml").write_text(text)
    return load_site(folder / "hosts.toml")


class TestKnownHosts:
    @pytest.fixture
    def known(self, make_site: MakeSite, machines: dict[str, Machine], folder: Path) -> tuple[Site, Path, str, str]:
        """The site, its known_hosts, the machine's address and its public host key."""
        site = make_site(host_keys="strict")
        known_hosts(site).parent.mkdir(exist_ok=True)
        public = " ".join((machines["one"].folder / "host_key.pub").read_text().split()[:2])
        return site, known_hosts(site), machines["one"].address, public

    def test_every_kind_of_line(self, known: tuple[Site, Path, str, str], open_site: Open, folder: Path) -> None:
        site, file, address, public = known
        make_key(folder / "foreign")
        foreign = " ".join((folder / "foreign.pub").read_text().split()[:2])
        noise = f"# a comment\n\n@cert-authority *.example.org {foreign}\n@revoked * {foreign}\n"
        noise += f"broken line\n|1|x|y {public}\n"
        for line in (f"192.0.2.*,!192.0.2.10 {public}", f"other,{address} {public} a comment"):
            file.write_text(f"{noise}{line}\n")
            assert log_in(open_site, site) == "in\n"
        file.write_text(f"{address} {public}\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
        assert address not in file.read_text()
        assert log_in(open_site, site) == "in\n"
        file.write_text(f"{noise}192.0.2.*,!{address} {public}\n")
        with pytest.raises(LoginRefused, match="is not in"):
            log_in(open_site, site)

    def test_a_revoked_key(self, known: tuple[Site, Path, str, str], open_site: Open) -> None:
        site, file, address, public = known
        file.write_text(f"{address} {public}\n@revoked * {public}\n")
        with pytest.raises(LoginRefused, match=rf"the host key of {address} .* is revoked \({file}:2\)"):
            log_in(open_site, site)

    def test_a_host_certificate(
        self, known: tuple[Site, Path, str, str], open_site: Open, machines: dict[str, Machine], sshd: SshdOptions
    ) -> None:
        site, file, address, _ = known
        machine = machines["one"]
        authority = machine.folder / "ca"
        make_key(authority)
        ca = " ".join(authority.with_suffix(".pub").read_text().split()[:2])
        key = machine.folder / "host_key"

        def certify(*options: str) -> None:
            words = ["ssh-keygen", "-q", "-s", str(authority), "-I", "one", "-h", *options, f"{key}.pub"]
            subprocess.run(words, check=True, capture_output=True)
            sshd("one", f"HostCertificate {key}-cert.pub")

        file.write_text(f"@cert-authority 192.0.2.* {ca}\n")
        certify("-n", address)
        assert log_in(open_site, site) == "in\n"
        certify("-n", "another.example.org")
        with pytest.raises(LoginRefused, match=r"its certificate does not prove it: it is for another\.example\.org"):
            log_in(open_site, site)
        certify("-n", address, "-V", "20200101:20210101")
        with pytest.raises(LoginRefused, match="it has expired"):
            log_in(open_site, site)
        certify("-n", address)
        file.write_text(f"@cert-authority 192.0.2.* {ca}\n@revoked * {ca}\n")
        with pytest.raises(LoginRefused, match="its authority is revoked"):
            log_in(open_site, site)
