"""The stage, built once for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.integration.kube.apiserver import ControlPlane
from tests.integration.l2.stage.metallb import Api, definitions, speaker
from tests.integration.l2.stage.network import StageNetwork
from tests.integration.l2.stage.stage import Stage


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Yield the stage; skip if it cannot be built."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    for program in ("nft", "keepalived", "arptables"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"{program} not found: ./setup.sh")
    speaker()
    definitions()
    folder = tmp_path_factory.mktemp("stage")
    plane = ControlPlane(folder)
    made = Stage(StageNetwork(f"pst-{os.getpid()}-", folder=folder), Api(plane))
    try:
        plane.start_etcd()
        plane.start_api()
        made.api.define()
        made.build()
        made.wait_ready()
        yield made
    finally:
        made.network.close()
        plane.stop()
