"""An image built from files is what a registry and a runtime expect, and reproducible byte for byte."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

from provisioner.lab.mirror import oci


def tree(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"#!/bin/sh\n")
    (root / "bin/tool").chmod(0o755)
    (root / "bin/sh").symlink_to("tool")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return root


def test_layer_does_not_depend_on_time_or_owner(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    os.utime(two / "bin/tool", (1, 1))
    assert oci.write_layer(one, tmp_path / "one.tar") == oci.write_layer(two, tmp_path / "two.tar")


def test_layer_depends_on_content_and_mode(tmp_path: Path) -> None:
    first = oci.write_layer(tree(tmp_path / "one"), tmp_path / "one.tar")
    (tmp_path / "one/bin/tool").chmod(0o700)
    second = oci.write_layer(tmp_path / "one", tmp_path / "two.tar")
    assert first.digest != second.digest


def test_layer_keeps_links_modes_and_root(tmp_path: Path) -> None:
    oci.write_layer(tree(tmp_path / "tree"), tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        members = {member.name: member for member in tar}
    assert list(members) == ["bin", "bin/sh", "bin/tool", "tmp"]
    assert members["bin/sh"].linkname == "tool"
    assert members["bin/tool"].mode == 0o755
    assert members["tmp"].mode == 0o1777
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}


def test_layer_blob_is_digest_and_size_of_the_file(tmp_path: Path) -> None:
    blob = oci.write_layer(tree(tmp_path / "tree"), tmp_path / "layer.tar")
    content = (tmp_path / "layer.tar").read_bytes()
    assert blob == oci.Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


def test_manifest_points_at_config_and_layers() -> None:
    layers = [oci.Blob("sha256:" + "a" * 64, 10), oci.Blob("sha256:" + "b" * 64, 20)]
    configuration = oci.config(layers, entrypoint=("/tool",), command=("pause",), labels={"version": "1"})
    parsed = json.loads(configuration)
    assert parsed["rootfs"]["diff_ids"] == [layer.digest for layer in layers]
    assert parsed["config"]["Entrypoint"] == ["/tool"]
    assert parsed["config"]["Cmd"] == ["pause"]
    manifest = json.loads(oci.manifest(configuration, layers))
    assert manifest["config"]["digest"] == "sha256:" + hashlib.sha256(configuration).hexdigest()
    assert manifest["config"]["size"] == len(configuration)
    assert [(layer["digest"], layer["size"]) for layer in manifest["layers"]] == [(x.digest, x.size) for x in layers]
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar"}


def test_config_without_command_has_none() -> None:
    assert "Cmd" not in json.loads(oci.config([], entrypoint=("/tool",), command=(), labels={}))["config"]
