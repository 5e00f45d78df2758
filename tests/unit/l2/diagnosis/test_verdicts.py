"""Every verdict has a test and a remedy, and no name that a shell would interpret gets into a command."""

from __future__ import annotations

import pytest

from provisioner.l2 import diagnosis
from tests.unit.l2.diagnosis import test_verdicts_owners as owners
from tests.unit.l2.diagnosis import test_verdicts_path as path
from tests.unit.l2.diagnosis import test_verdicts_serving as serving
from tests.unit.l2.diagnosis import test_verdicts_silence as silence
from tests.unit.l2.diagnosis.segment import SILENT, facts, judge, service


@pytest.mark.parametrize("name", ["web; reboot", "$(reboot)", "-A", "a'b", "web\nreboot", "web --all", "{web}"])
def test_a_name_that_a_shell_would_interpret_is_in_no_command(name: str) -> None:
    known = facts(services=(service(name=name, endpoints=()),))
    result = judge(SILENT, known)
    assert (result.verdict, result.command) == ("NO_ENDPOINTS", "kubectl get endpointslices -A")


def test_every_verdict_has_a_test_and_a_remedy() -> None:
    other_tests = {"POOL_OVERLAPS_NODE", "NO_ADDRESS", "POOL_EXHAUSTED", "ADDRESS_UNUSABLE"}
    of_watch, warning = {"GARP_MISSING"}, {"KERNEL_ALSO_OWNS"}
    of_others = {  # test_elsewhere.py
        "NO_ANNOUNCER",
        "LEASE_EXPIRED",
        "LEASE_HOLDER_SILENT",
        "ANNOUNCED_TWICE",
        "VRRP_ID_IN_USE",
        "VRRP_TWO_MASTERS",
        "VRRP_PRIORITY_WAR",
    }
    tested = {row[0] for row in (*silence.TABLE, *owners.TABLE, *serving.TABLE, *path.TABLE, *path.TABLE6)}
    assert set(diagnosis.REMEDIES) == tested | other_tests | of_watch | warning | of_others
