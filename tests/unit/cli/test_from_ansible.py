"""What `init --from-ansible` makes of inventories as people have them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.cli import from_ansible
from provisioner.cli.ansible_inventory import expand, load
from provisioner.cli.named import Named
from provisioner.errors import ProvisionerError

KUBESPRAY = """\
# ## Configure 'ip' variable to bind kubernetes services on a different ip
[all]
node1 ansible_host=95.54.0.12 ip=10.3.0.1
node2 ansible_host=95.54.0.13 ip=10.3.0.2   # inline
node3 ansible_host=95.54.0.14

[kube_control_plane]
node1
node2

[etcd]
node1

[kube_node]
node2
node3

[k8s_cluster:children]
kube_control_plane
kube_node

[bastion]
gate ansible_host=x.x.x.x

[all:vars]
ansible_user = ubuntu
"""
K3S_ANSIBLE = """\
k3s_cluster:
  children:
    server:
      hosts:
        192.16.35.11:
    agent:
      hosts:
        192.16.35.[12:13]:
  vars:
    ansible_port: 2222
    ansible_user: debian
    token: !vault |
      $ANSIBLE_VAULT;1.1;AES256
"""
HOMELAB = """\
[masters]
pi-[01:03].lan ansible_user=pi
[workers]
nuc-[a:b] ansible_ssh_private_key_file="~/.ssh/home lab"
[nfs]
nas ansible_host=192.168.1.5
[web]
www1
"""


def taken(tmp_path: Path, text: str, *words: str, name: str = "hosts.ini") -> from_ansible.Taken:
    path = tmp_path / name
    path.write_text(text)
    return from_ansible.machines(str(path), words)


def test_kubespray(tmp_path: Path) -> None:
    found = taken(tmp_path, KUBESPRAY)
    assert found.hosts == [
        Named("node1", "95.54.0.12", "ubuntu", roles=("control-plane",)),
        Named("node2", "95.54.0.13", "ubuntu", roles=("control-plane", "worker")),
        Named("node3", "95.54.0.14", "ubuntu", roles=("worker",)),
    ]
    assert found.left_out == ["gate"]
    assert not found.asks


def test_k3s_ansible(tmp_path: Path) -> None:
    found = taken(tmp_path, K3S_ANSIBLE, name="inventory.yml")
    assert [(one.name, one.typed, one.user, one.port, one.roles, one.guessed) for one in found.hosts] == [
        ("host1", "192.16.35.11", "debian", 2222, ("control-plane",), True),
        ("host2", "192.16.35.12", "debian", 2222, ("worker",), True),
        ("host3", "192.16.35.13", "debian", 2222, ("worker",), True),
    ]


def test_a_homelab(tmp_path: Path) -> None:
    found = taken(tmp_path, HOMELAB)
    assert [one.name for one in found.hosts] == ["pi-01", "pi-02", "pi-03", "nuc-a", "nuc-b"]
    assert [one.user for one in found.hosts] == ["pi"] * 3 + [""] * 2
    assert found.hosts[3].key == "~/.ssh/home lab"
    assert found.left_out == ["nas", "www1"]
    with_nfs = taken(tmp_path, HOMELAB, "masters", "nas")
    assert [(one.name, one.nfs, one.roles) for one in with_nfs.hosts][-1] == ("nas", True, ("worker",))


def test_without_groups_of_a_cluster_all_are_taken_and_their_sizes_decide(tmp_path: Path) -> None:
    found = taken(tmp_path, "nuc1\nnuc2:2222\n[servers]\nnuc3\n")
    assert [(one.name, one.port, one.roles) for one in found.hosts] == [
        ("nuc1", 0, ()),
        ("nuc2", 2222, ()),
        ("nuc3", 0, ()),
    ]


def test_server_and_agent_mean_something_beside_each_other_only(tmp_path: Path) -> None:
    found = taken(tmp_path, "[server]\na\n[agent]\nb\n")
    assert [one.roles for one in found.hosts] == [("control-plane",), ("worker",)]
    assert taken(tmp_path, "[server]\na\n[database]\nb\n").hosts[0].roles == ()


def test_variables_come_from_the_nearest_place(tmp_path: Path) -> None:
    for name, text in (
        ("group_vars/all.yml", "ansible_user: all\nansible_port: 1000\n"),
        ("group_vars/workers/login.yml", "ansible_user: workers\n"),
        ("host_vars/b.yml", "ansible_user: own\n"),
        ("group_vars/masters.yml", "$ANSIBLE_VAULT;1.1;AES256\n6638"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = taken(tmp_path, "[masters]\na\n[workers]\nb\nc\n[workers:vars]\nansible_port=2000\n")
    assert [(one.user, one.port) for one in found.hosts] == [("all", 1000), ("own", 2000), ("workers", 2000)]


@pytest.mark.parametrize(
    ("arguments", "jump"),
    [
        ("'-o ProxyJump=ops@gate:2222'", "ops@gate:2222"),
        ("'-J gate'", "gate"),
        ("""'-o ProxyCommand="ssh -W %h:%p -q ops@gate.example.org"'""", "ops@gate.example.org"),
        ("""'-o ProxyCommand="ssh -p 2222 -W %h:%p ops@gate"'""", "ops@gate:2222"),
        ("'-o ControlMaster=auto'", ""),
    ],
)
def test_a_jump_host(tmp_path: Path, arguments: str, jump: str) -> None:
    found = taken(tmp_path, f"[all:vars]\nansible_ssh_common_args={arguments}\n[masters]\na\n")
    assert found.hosts[0].jump == jump


def test_a_password_of_sudo_is_not_taken_but_asked_for(tmp_path: Path) -> None:
    found = taken(tmp_path, "[masters]\na ansible_become_pass=hunter2\n")
    assert found.asks
    assert "hunter2" not in repr(found)


def test_a_folder_of_inventories(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "group_vars/all.yml").write_text("ansible_user: ops\n")
    (folder / "1.ini").write_text("[masters]\na\n")
    (folder / "2.yml").write_text("workers:\n  hosts:\n    b:\n")
    assert [(one.name, one.user) for one in from_ansible.machines(str(folder), ()).hosts] == [
        ("a", "ops"),
        ("b", "ops"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.ini", "[a\nb\n", None),
        ("h.ini", "[a:childs]\nb\n", r"h.ini:1: \[a:childs\] is unknown; write :children or :vars"),
        ("h.ini", "[a]\nb c\n", "h.ini:2: 'c' is no variable; write key=value, one host a line"),
        ("h.ini", "[a]\nb x='\n", "h.ini:2: No closing quotation; check its quotes"),
        ("h.ini", "[a:vars]\nb\n", "h.ini:2: 'b' is no variable; write key=value"),
        ("h.ini", "n[1:9999999]\n", r"h.ini:1: \[1:9999999\] is no range of at most 1000 names"),
        ("h.ini", "n[1:c]\n", r"h.ini:1: \[1:c\] is no range; write one such as"),
        ("h.ini", "n[1:999]x[1:999]\n", "more than 1000 hosts"),
        ("h.ini", "[a:children]\nb\n[b:children]\na\n[a]\nx\n", "group a contains itself: a > b > a"),
        ("h.ini", "", "names no host; name them: provisioner init HOST..."),
        ("h.ini", "a ansible_host={{ ip }}\n", "a: ansible_host is computed: {{ip}}|ansible_host=|is no variable"),
        ("h.ini", "a ansible_host='{{ ip }}'\n", r"a: ansible_host is computed: \{\{ ip \}\}; write its value there"),
        ("h.ini", "a ansible_port=ssh\n", "a: 'ssh' is no port"),
        ("h.ini", "a ansible_connection=local\n", "a is this machine itself; give it an ansible_host"),
        ("h.ini", "a ansible_host=10.0.0.1\nb ansible_host=10.0.0.1\n", "a and b are both 10.0.0.1; keep one of them"),
        ("h.ini", 'a ansible_host="x;rm"\n', "a: 'x;rm' is no host to log in to"),
        ("h.yml", "all:\n  hosts:\n   - a\n", r"hosts of group all is \['a'\]; write names with a colon, not a list"),
        ("h.yml", "all:\n  host:\n    a:\n", "group all has 'host'; a group has hosts, children and vars"),
        ("h.yml", "all: [\n", "h.yml:2: .*; check its YAML"),
        ("h.yml", "- a\n", "h.yml is no inventory; name an inventory of hosts, INI or YAML"),
        ("h.json", '{"_meta": {"hostvars": {}}}', "is what a program printed; let Ansible resolve it"),
        ("h.yml", "a: &a\n  children:\n    b: *a\n", "in more than 30 groups"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, message: str | None
) -> None:
    if message is None:
        message = "no host|no variable|is unknown"
    with pytest.raises(ProvisionerError, match=message):
        taken(tmp_path, text, name=name)


def test_a_program_is_left_to_ansible(tmp_path: Path) -> None:
    path = tmp_path / "inventory"
    path.write_text("#!/bin/sh\ntouch made\n")
    path.chmod(0o755)
    with pytest.raises(ProvisionerError, match=r"ansible-inventory -i .* --list --yaml >inventory\.yml"):
        from_ansible.machines(str(path), ())
    with pytest.raises(ProvisionerError, match=r"cannot read .*nowhere: No such file"):
        from_ansible.machines(str(tmp_path / "nowhere"), ())


def test_a_mistyped_word_is_answered(tmp_path: Path) -> None:
    with pytest.raises(ProvisionerError, match="no host or group mastres; did you mean masters"):
        taken(tmp_path, HOMELAB, "mastres")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("n[1:3]", ["n1", "n2", "n3"]),
        ("n[08:11]", ["n08", "n09", "n10", "n11"]),
        ("n[1:5:2]", ["n1", "n3", "n5"]),
        ("[a:b][1:2]", ["a1", "a2", "b1", "b2"]),
        ("plain", ["plain"]),
    ],
)
def test_ranges(pattern: str, names: list[str]) -> None:
    assert [*expand(pattern, "")] == names


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(text=st.text(alphabet="ab[]:=#;1 \n'\"{}-_&*!|,", max_size=60), name=st.sampled_from(["h.ini", "h.yml", "h"]))
def test_any_text_is_an_inventory_or_a_clear_error(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with suppress(ProvisionerError):
        inventory = load(path)
        for host in inventory.names:
            inventory.variables(host)
        from_ansible.machines(str(path), ())
