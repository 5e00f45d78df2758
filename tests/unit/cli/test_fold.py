"""Lines between words."""

from __future__ import annotations

import pytest

from provisioner.cli.fold import clipped, folded

SENTENCE = "install kubeadm 1.37.2, kubelet 1.37.2 from https://pkgs.k8s.io/core:/stable:/v1.37/deb"


@pytest.mark.parametrize("width", range(12, 100))
def test_a_clipped_line_ends_with_a_whole_word(width: int) -> None:
    line = clipped(SENTENCE, width)
    assert len(line) <= width
    if width < len(SENTENCE):
        assert line.endswith("…")
        shown = line.removesuffix("…")
        rest = SENTENCE.removeprefix(shown.rstrip())
        assert shown.rstrip() + rest == SENTENCE
        assert shown[-1] in " /," or rest[0] in " /,"


def test_a_word_that_fills_a_line_is_cut_all_the_same() -> None:
    assert clipped("a" * 50, 10) == "a" * 9 + "…"
    assert clipped(SENTENCE, 0) == ""


@pytest.mark.parametrize("width", [30, 60, 200])
def test_folding_loses_nothing(width: int) -> None:
    lines = folded("  ", SENTENCE, width)
    assert " ".join(" ".join(lines).split()) == SENTENCE
