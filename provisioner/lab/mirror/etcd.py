"""Debian's etcd and etcdctl, for editions that have none of their own."""

import shutil
from pathlib import Path

from provisioner.lab.mirror import apt, cache

PACKAGES = {"etcd": "etcd-server", "etcdctl": "etcd-client"}


def build(name: str) -> Path:
    """Return the path of etcd or etcdctl, unpacking it unless it is cached."""
    ingredients = apt.ingredients()
    return cache.artifact(name, recipe(name), lambda directory: _unpack(ingredients, name, directory)) / name


def recipe(name: str) -> dict[str, object]:
    """Return everything that determines the program, for the cache."""
    return {"package": PACKAGES[name], "ingredients": str(apt.ingredients_path())}


def _unpack(ingredients: Path, name: str, directory: Path) -> None:
    tree = directory / "tree"
    apt.unpack(ingredients, PACKAGES[name], tree)
    (tree / "usr/bin" / name).rename(directory / name)
    shutil.rmtree(tree)
