"""What `init --from-vagrant` makes of `vagrant ssh-config` and of Vagrantfiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.cli import from_vagrant
from provisioner.cli.named import Named
from provisioner.errors import ProvisionerError

SSH_CONFIG = """\
Host master
  HostName 127.0.0.1
  User vagrant
  Port 2222
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/home/kim lee/lab/.vagrant/machines/master/virtualbox/private_key"
  IdentitiesOnly yes
  LogLevel FATAL

Host worker-1
  HostName 127.0.0.1
  User vagrant
  Port 2200
  IdentityFile /home/kim/.vagrant/machines/worker-1/virtualbox/private_key

"""
VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.box = "ubuntu/jammy64"
  # config.vm.define "old" do |old|
  config.vm.define "master" do |m|
    m.vm.hostname = "master"
    m.vm.network "private_network", ip: "192.168.56.10"
  end
  config.vm.define :worker do |w|
    w.vm.network :private_network, name: "vboxnet0", ip: '192.168.56.11'
  end
end
"""
COMPUTED = """\
Vagrant.configure("2") do |config|
  (1..3).each do |i|
    config.vm.define "node#{i}" do |node|
      node.vm.network "private_network", ip: "192.168.56.1#{i}"
    end
  end
end
"""


@pytest.fixture
def no_vagrant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def test_the_saved_output_of_ssh_config(tmp_path: Path) -> None:
    (tmp_path / "machines.txt").write_text(SSH_CONFIG)
    found = from_vagrant.machines(str(tmp_path / "machines.txt"), ())
    key = "/home/kim lee/lab/.vagrant/machines/master/virtualbox/private_key"
    assert found[0] == Named("master", "127.0.0.1", "vagrant", 2222, key)
    assert (found[1].name, found[1].port) == ("worker-1", 2200)
    assert [one.name for one in from_vagrant.machines(str(tmp_path / "machines.txt"), ["worker-1"])] == ["worker-1"]


@pytest.mark.usefixtures("no_vagrant")
def test_without_vagrant_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "Vagrantfile").write_text(VAGRANTFILE)
    key = tmp_path / ".vagrant/machines/worker/virtualbox/private_key"
    key.parent.mkdir(parents=True)
    key.write_text("")
    assert from_vagrant.machines(str(tmp_path), ()) == [
        Named("master", "192.168.56.10", "vagrant"),
        Named("worker", "192.168.56.11", "vagrant", key=str(key)),
    ]


@pytest.mark.usefixtures("no_vagrant")
@pytest.mark.parametrize(
    "text",
    [COMPUTED, "", VAGRANTFILE.replace('"192.168.56.10"', "addresses[0]"), VAGRANTFILE.replace('"master"', "name")],
)
def test_a_file_that_computes_its_machines_is_left_to_vagrant(tmp_path: Path, text: str) -> None:
    (tmp_path / "Vagrantfile").write_text(text)
    with pytest.raises(ProvisionerError, match=r"computes its machines.*vagrant ssh-config >machines\.txt"):
        from_vagrant.machines(str(tmp_path), ())


def test_vagrant_is_asked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Vagrantfile").write_text(COMPUTED)
    (tmp_path / "out").write_text(SSH_CONFIG)
    program = tmp_path / "bin/vagrant"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = ssh-config ] && [ "$PWD" = {tmp_path} ] && cat out\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert [one.name for one in from_vagrant.machines(str(tmp_path), ())] == ["master", "worker-1"]
    program.write_text("#!/bin/sh\necho 'The provider reports that it is not yet ready for SSH.' >&2; exit 1\n")
    with pytest.raises(ProvisionerError, match=r"not yet ready for SSH\.; vagrant up in "):
        from_vagrant.machines(str(tmp_path), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no host"),
        ("hello\n", "line 1 is not of vagrant ssh-config: 'hello'"),
        ("Host a\n  HostName '\n", "line 2 is not of vagrant ssh-config: No closing quotation"),
        ("Host a\n  Port 99999\n", "a: '99999' is no port"),
        ("Host a\n  HostName 1.2.3.4\nHost b\n  HostName 1.2.3.4\n", "a and b are both 1.2.3.4"),
        ("Host *\n", r"'\*' is no host to log in to"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "machines.txt"
    path.write_text(text)
    with pytest.raises(ProvisionerError, match=message):
        from_vagrant.machines(str(path), ())


def test_a_folder_without_a_vagrantfile(tmp_path: Path) -> None:
    with pytest.raises(ProvisionerError, match="has no Vagrantfile; name a folder with a Vagrantfile, or a file"):
        from_vagrant.machines(str(tmp_path), ())
