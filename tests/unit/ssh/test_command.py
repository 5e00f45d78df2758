"""Which line of a failed command's output a person reads first."""

from __future__ import annotations

import pytest

from provisioner.ssh.command import failure

ADVICE = "To see the stack trace of this error execute with --v=5 or higher"
PREFLIGHT = f"""[init] Using Kubernetes version: v1.37.2
[preflight] Running pre-flight checks
error execution phase preflight: [preflight] Some fatal errors occurred:
	[ERROR Port-10250]: Port 10250 is in use
	[ERROR Mem]: the system RAM (900 MB) is less than the minimum 1700 MB
[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`
{ADVICE}
"""
WAITING = f"""[kubelet-check] The kubelet is not healthy after 4m0.000454211s

Unfortunately, an error has occurred, likely caused by:
	- The kubelet is not running
error execution phase wait-control-plane: failed while waiting for the kubelet to start: context deadline exceeded
{ADVICE}
"""
JOIN = f'error execution phase kubelet-start: a Node with name "w1" and status "Ready" already exists\n{ADVICE}\n'


@pytest.mark.parametrize(
    ("output", "first"),
    [
        (
            PREFLIGHT,
            "[ERROR Port-10250]: Port 10250 is in use; "
            "[ERROR Mem]: the system RAM (900 MB) is less than the minimum 1700 MB",
        ),
        (
            WAITING,
            "error execution phase wait-control-plane: failed while waiting for the kubelet to start: context "
            "deadline exceeded",
        ),
        (JOIN, 'error execution phase kubelet-start: a Node with name "w1" and status "Ready" already exists'),
        (f"unknown flag: --x\n{ADVICE}\n", "unknown flag: --x"),
        ("E: Unable to locate package a\nW: later\n", "E: Unable to locate package a"),
        ("one\ntwo\n", "two"),
    ],
)
def test_the_cause_precedes_advice(output: str, first: str) -> None:
    error = failure("w1", "kubeadm init --config x", 1, output)
    assert error.message == f"`kubeadm init --config x` failed with exit status 1: {first}"


def test_silence() -> None:
    assert failure("w1", "true", 1, "\n").message == "`true` failed with exit status 1"
