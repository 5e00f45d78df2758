"""Cluster against a real API server: reading, applying, diffs, waits, and what the API refuses."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Cluster, State
from provisioner.objects import Object
from provisioner.steps.join import token_secret

from .apiserver import ControlPlane, free_port, issue

pytestmark = pytest.mark.integration

_number = itertools.count()


@pytest.fixture
def name() -> str:
    """Return a name that no other test uses."""
    return f"thing-{next(_number)}"


def config_map(name: str, namespace: str, data: dict[str, str], labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def secret(name: str, namespace: str, **values: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


# --- is it there ------------------------------------------------------------------------------------------------


def test_it_reads_the_version_and_plain_text(cluster: Cluster) -> None:
    assert cluster.state() is State.READY
    assert cluster.reachable()
    assert cluster.raw("/version")["gitVersion"] == "v1.20.2"
    assert cluster.raw("/readyz") == "ok"


def test_what_the_api_does_not_have_is_one_line_with_its_answer(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"^the API refused to GET /no/such/path: .* \(404\)$"):
        cluster.raw("/no/such/path")


def test_without_an_admin_conf_there_is_no_cluster(connect: Callable[..., Cluster]) -> None:
    nothing = connect("")
    assert nothing.state() is State.ABSENT
    assert not nothing.reachable()
    with pytest.raises(ClusterError, match="there is no cluster yet; provisioner apply"):
        nothing.nodes()


def test_an_address_out_of_reach_is_reached_through_the_control_plane(
    control_plane: ControlPlane, connect: Callable[..., Cluster]
) -> None:
    """The certificate names neither the tunnel's end nor its port; it is verified all the same."""
    end = SimpleNamespace(address="127.0.0.1", port=control_plane.ports["api"], close=lambda: None)
    through = connect(control_plane.kubeconfig(f"https://127.0.0.1:{free_port()}"), end)
    assert through.state() is State.READY
    assert through.get("Namespace", "kube-system")


def test_many_threads_share_one_tunnel(control_plane: ControlPlane, connect: Callable[..., Cluster]) -> None:
    end = SimpleNamespace(address="127.0.0.1", port=control_plane.ports["api"], close=lambda: None)
    through = connect(control_plane.kubeconfig(f"https://127.0.0.1:{free_port()}"), end)
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: through.get("Namespace", "default"), range(8))]
    assert all(answers)
    host: Any = through._api._control_planes[0]
    assert host.tunnels == [("192.0.2.10", 6443)]


def test_an_api_that_another_ca_vouches_for_is_not_believed(
    control_plane: ControlPlane, connect: Callable[..., Cluster], impatient: Any
) -> None:
    right = base64.b64encode(control_plane.ca.certificate).decode()
    wrong = base64.b64encode(issue("kubernetes").certificate).decode()
    text = control_plane.kubeconfig()
    assert right in text.replace("\n", "").replace(" ", "")
    stranger = connect("", at=impatient)
    host: Any = stranger._api._control_planes[0]
    import yaml

    config = yaml.safe_load(text)
    config["clusters"][0]["cluster"]["certificate-authority-data"] = wrong
    host.text = yaml.safe_dump(config)
    assert stranger.state() is State.UNREACHABLE
    assert "certificate verify failed" in stranger.why


def test_a_user_without_rights_is_told_so(control_plane: ControlPlane, connect: Callable[..., Cluster]) -> None:
    nobody = connect(control_plane.kubeconfig(user=issue("nobody", by=control_plane.ca)))
    with pytest.raises(ClusterError, match=r'nodes is forbidden: User "nobody".*\(403\)'):
        nobody.nodes()


# --- reading and writing ----------------------------------------------------------------------------------------


def test_what_was_applied_is_read_back(cluster: Cluster, course: str, name: str) -> None:
    assert cluster.get("ConfigMap", name, course) is None
    applied = cluster.apply(config_map(name, course, {"a": "1"}))
    found = cluster.get("ConfigMap", name, course)
    assert found is not None
    assert found["data"] == applied["data"] == {"a": "1"}


def test_a_dry_run_leaves_nothing(cluster: Cluster, course: str, name: str) -> None:
    assert cluster.apply(config_map(name, course, {"a": "1"}), dry_run=True)["data"] == {"a": "1"}
    assert cluster.get("ConfigMap", name, course) is None


def test_lists_are_selected_and_say_what_they_hold(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {}, {"of": name}))
    cluster.apply(config_map(f"{name}-b", course, {}, {"of": name}))
    found = cluster.list("ConfigMap", course, labels=f"of={name}")
    assert [item["metadata"]["name"] for item in found] == [name, f"{name}-b"]
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("v1", "ConfigMap")}
    (one,) = cluster.list("ConfigMap", course, fields=f"metadata.name={name}")
    assert one["metadata"]["name"] == name
    everywhere = cluster.list("ConfigMap")
    assert {"kube-system", course} <= {item["metadata"]["namespace"] for item in everywhere}


def test_deleting_is_done_when_it_is_gone(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {}))
    cluster.delete("ConfigMap", name, course)
    assert cluster.get("ConfigMap", name, course) is None
    cluster.delete("ConfigMap", name, course)
    cluster.delete("Widget", name, course, "no.such.group/v1")


def test_a_merge_patch_changes_only_what_it_names(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {"a": "1", "b": "2"}))
    patched = cluster.merge("ConfigMap", name, {"data": {"a": "3", "b": None}}, namespace=course)
    assert patched["data"] == {"a": "3"}
    with pytest.raises(ClusterError, match=r"the API refused to patch ConfigMap gone: .*not found \(404\)"):
        cluster.merge("ConfigMap", "gone", {"data": {}}, namespace=course)


def test_a_refusal_names_the_object_and_the_reason(cluster: Cluster, course: str) -> None:
    with pytest.raises(ClusterError, match=r"refused to apply ConfigMap Not_A_Name: .*Invalid value"):
        cluster.apply(config_map("Not_A_Name", course, {}))


# --- diffs ------------------------------------------------------------------------------------------------------


def test_a_new_object_is_all_diff_and_an_unchanged_one_none(cluster: Cluster, course: str, name: str) -> None:
    wanted = config_map(name, course, {"a": "1"})
    diff = cluster.diff(wanted)
    assert f"+++ ConfigMap/{name} (wanted)" in diff
    assert "+  a: '1'\n" in diff
    cluster.apply(wanted)
    assert cluster.diff(wanted) == ""


def test_a_changed_object_shows_the_change_alone(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {"a": "1", "b": "2"}))
    diff = cluster.diff(config_map(name, course, {"a": "1", "b": "3"}))
    changed = [line for line in diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  b: '2'", "+  b: '3'"]


def test_a_field_taken_out_of_the_manifest_goes(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {"a": "1", "b": "2"}))
    fewer = config_map(name, course, {"a": "1"})
    assert "-  b: '2'" in cluster.diff(fewer)
    assert cluster.apply(fewer)["data"] == {"a": "1"}
    assert cluster.diff(fewer) == ""


def test_what_others_set_stays_and_is_no_difference(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str
) -> None:
    wanted = config_map(name, course, {"a": "1"})
    cluster.apply(wanted)
    status, _ = control_plane.ask(
        "PATCH",
        f"/api/v1/namespaces/{course}/configmaps/{name}?fieldManager=somebody",
        {"data": {"theirs": "x"}, "metadata": {"labels": {"by": "somebody"}}},
        content="application/merge-patch+json",
    )
    assert status == 200
    assert cluster.diff(wanted) == ""
    assert cluster.apply(wanted)["data"] == {"a": "1", "theirs": "x"}


def test_what_others_overwrote_is_taken_back(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str
) -> None:
    wanted = config_map(name, course, {"a": "1"})
    cluster.apply(wanted)
    path = f"/api/v1/namespaces/{course}/configmaps/{name}?fieldManager=somebody"
    control_plane.ask("PATCH", path, {"data": {"a": "2"}}, content="application/merge-patch+json")
    assert "-  a: '2'\n+  a: '1'" in cluster.diff(wanted)
    assert cluster.apply(wanted)["data"] == {"a": "1"}


def test_objects_of_a_namespace_to_come_are_all_diff(cluster: Cluster, name: str) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    wanted = [namespace, config_map("one", name, {"a": "1"}), config_map("two", name, {"a": "1"})]
    assert all(cluster.diffs(wanted))
    for manifest in wanted:
        cluster.apply(manifest)
    assert cluster.diffs(wanted) == ["", "", ""]


def test_a_definition_and_an_object_of_it_in_one_go(cluster: Cluster, course: str) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }
    widget = {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": course},
        "spec": {"size": 3},
    }
    assert cluster.get("Widget", "w", course, "example.org/v1") is None
    assert cluster.list("Widget", course, "example.org/v1") == []
    with pytest.raises(ClusterError, match=r"does not know example\.org/v1 Widget; Widget w needs its definition"):
        cluster.apply(widget)
    assert all(cluster.diffs([definition, widget]))

    cluster.apply(definition)
    cluster.wait("the definition to be served", lambda: cluster.apply(widget), 30)
    assert cluster.diffs([definition, widget]) == ["", ""]
    (found,) = cluster.list("Widget", course, "example.org/v1")
    assert found["spec"] == {"size": 3}


def test_many_threads_find_every_kind_while_one_is_unknown(
    control_plane: ControlPlane, connect: Callable[..., Cluster]
) -> None:
    """A look for a kind that is not there must not make the others disappear for a moment."""
    fresh = connect(control_plane.kubeconfig())

    def look(number: int) -> bool:
        if number % 2:
            return fresh.get("NoSuchKind", "x", "default") is None
        return fresh.get("Namespace", "default") is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))


def test_a_service_without_protocol_can_be_applied(cluster: Cluster, course: str, name: str) -> None:
    """API servers below 1.21 refuse it in a server-side apply: the protocol is part of the port's key."""
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": course},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 443, "targetPort": 9443}]},
    }
    cluster.apply(service)
    assert cluster.diff(service) == ""
    assert "protocol" not in service["spec"]["ports"][0], "the caller's manifest is its own"


def test_an_api_service_can_be_applied(cluster: Cluster, name: str) -> None:
    """An API server of 1.20 panics over a server-side apply of one."""
    group = f"{name}.example.org"
    manifest: Object = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{group}"},
        "spec": {
            "group": group,
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": name, "namespace": "default"},
        },
    }
    assert "+  group:" in cluster.diff(manifest)
    cluster.apply(manifest, dry_run=True)
    assert cluster.get("APIService", f"v1.{group}", None, "apiregistration.k8s.io/v1") is None
    cluster.apply(manifest)
    assert cluster.diff(manifest) == ""
    manifest["spec"]["versionPriority"] = 50
    assert "+  versionPriority: 50" in cluster.diff(manifest)
    cluster.apply(manifest)
    assert cluster.diff(manifest) == ""
    cluster.delete("APIService", f"v1.{group}", None, "apiregistration.k8s.io/v1")


# --- secrets ----------------------------------------------------------------------------------------------------


def test_a_secret_never_shows_its_values(cluster: Cluster, course: str, name: str) -> None:
    first, second = "correct-horse", "battery-stapl"
    assert len(first) == len(second)
    hidden = [text for value in (first, second) for text in (value, base64.b64encode(value.encode()).decode())]
    diffs = [cluster.diff(secret(name, course, password=first))]
    assert "(13 characters)" in diffs[0]
    cluster.apply(secret(name, course, password=first))
    assert cluster.diff(secret(name, course, password=first)) == ""
    diffs.append(cluster.diff(secret(name, course, password=second)))
    assert "changed)" in diffs[1], "a new value of the same length is a difference"
    assert not [text for text in hidden for diff in diffs if text in diff]


def test_nor_does_kubectls_own_copy_of_it(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str
) -> None:
    cluster.apply(secret(name, course, password="correct-horse"))
    note = {"kubectl.kubernetes.io/last-applied-configuration": '{"stringData":{"password":"correct-horse"}}'}
    path = f"/api/v1/namespaces/{course}/secrets/{name}"
    patch = {"metadata": {"annotations": note}}
    control_plane.ask("PATCH", path, patch, content="application/merge-patch+json")
    diff = cluster.diff(secret(name, course, password="battery"))
    assert "changed)" in diff
    assert "correct-horse" not in diff


def test_a_join_token_opens_the_door_until_it_is_deleted(cluster: Cluster, control_plane: ControlPlane) -> None:
    token = "abcdef.0123456789abcdef"

    def knock() -> tuple[int, str]:
        status, said = control_plane.ask("GET", "/api/v1/nodes", token=token)
        return status, str(said.get("message", ""))

    assert knock()[0] == 401
    cluster.apply(token_secret(token, 600))
    cluster.wait("the token to be known", lambda: knock()[0] != 401, 20)
    status, said = knock()
    assert (status, "system:bootstrap:abcdef" in said) == (403, True), said  # known, and allowed no more than to join
    cluster.delete("Secret", "bootstrap-token-abcdef", "kube-system")
    cluster.wait("the token to be forgotten", lambda: knock()[0] == 401, 20)


def test_a_join_token_ends_by_itself(cluster: Cluster, control_plane: ControlPlane) -> None:
    token = "fedcba.0123456789abcdef"
    cluster.apply(token_secret(token, -1))
    assert cluster.get("Secret", "bootstrap-token-fedcba", "kube-system")
    status, _ = control_plane.ask("GET", "/api/v1/nodes", token=token)
    assert status == 401
    cluster.delete("Secret", "bootstrap-token-fedcba", "kube-system")


# --- events, pods, waits ----------------------------------------------------------------------------------------


def event(name: str, namespace: str, about: str, message: str, when: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"kind": "Pod", "name": about, "namespace": namespace},
        "type": "Warning",
        "reason": "BackOff",
        "message": message,
        "lastTimestamp": when,
    }


def test_events_come_oldest_first_and_about_one_object(cluster: Cluster, course: str, name: str) -> None:
    for one in (
        event(f"{name}.2", course, name, "second", "2026-11-22T10:00:02Z"),
        event(f"{name}.1", course, name, "first", "2026-11-22T10:00:01Z"),
        event(f"{name}.3", course, "another", "else", "2026-11-22T10:00:03Z"),
    ):
        cluster.apply(one)
    about = cluster.events(course, name)
    assert about == [f"Warning BackOff Pod/{name}: first", f"Warning BackOff Pod/{name}: second"]
    assert len(cluster.events(course)) >= 3


def test_a_pod_that_runs_nowhere_has_no_log_and_runs_no_command(cluster: Cluster, course: str, name: str) -> None:
    containers = [{"name": "c", "image": "registry.k8s.io/pause:3.2"}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": course},
        "spec": {"containers": containers},
    }
    cluster.wait("the namespace's service account", lambda: cluster.get("ServiceAccount", "default", course), 30)
    cluster.apply(pod)
    assert cluster.logs(course, name) == ""
    assert cluster.logs(course, "gone") == '(no log: pods "gone" not found)'
    with pytest.raises(ClusterError) as raised:
        cluster.exec(course, name, ["true"])
    assert str(raised.value) == (
        f"cannot run a command in pod {course}/{name}: pod {name} does not have a host assigned"
    ), "the API itself answered, so the way to it works"
    cluster.delete("Pod", name, course)


def test_a_wait_returns_what_it_waited_for(cluster: Cluster, course: str, name: str) -> None:
    said: list[str] = []
    cluster.progress = said.append
    looks = itertools.count()

    def look() -> Object | None:
        if next(looks) == 1:
            cluster.apply(config_map(name, course, {"a": "1"}))
        return cluster.get("ConfigMap", name, course)

    found = cluster.wait("the thing", look, 30)
    assert found["data"] == {"a": "1"}
    assert said
    assert said[0].startswith("waiting for the thing (")


def test_a_wait_in_vain_says_why(cluster: Cluster, impatient: Any, connect: Callable[..., Cluster]) -> None:
    config: Any = cluster.kubeconfig()
    import yaml

    short = connect(yaml.safe_dump(config), at=impatient)

    def look() -> None:
        short.raw("/no/such/path")

    with pytest.raises(ClusterError, match=r"^waited \d+ s for the impossible \(the API refused to GET") as raised:
        short.wait("the impossible", look, 5, lambda: "pod x: ImagePullBackOff")
    assert raised.value.tail == "pod x: ImagePullBackOff"


def test_an_explanation_that_fails_is_told_too(
    control_plane: ControlPlane, impatient: Any, connect: Callable[..., Cluster]
) -> None:
    short = connect(control_plane.kubeconfig(), at=impatient)
    with pytest.raises(ClusterError, match=r"^waited \d+ s for nothing$") as raised:
        short.wait("nothing", lambda: None, 1, lambda: str(short.raw("/no/such/path")))
    assert raised.value.tail.startswith("(no explanation to be had: the API refused to GET /no/such/path")
