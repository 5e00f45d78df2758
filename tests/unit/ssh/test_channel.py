"""What arrives in one of a channel's two buffers while the other is emptied is not lost sight of."""

from __future__ import annotations

from paramiko.buffered_pipe import BufferedPipe

from provisioner.ssh.channel import Bell


def test_what_comes_while_the_other_buffer_is_emptied_still_rings() -> None:
    stdout, stderr = BufferedPipe(), BufferedPipe()
    bell = Bell()
    stdout.set_event(bell)
    stderr.set_event(bell)
    stdout.feed("first")
    assert bell.wait(0)
    stderr.feed("late")
    assert stdout.read(100)  # whose buffer now calls clear()
    assert bell.wait(0)
    assert stderr.read(100)
    assert not bell.wait(0)


def test_the_end_rings() -> None:
    buffer, bell = BufferedPipe(), Bell()
    buffer.set_event(bell)
    assert not bell.wait(0)
    buffer.close()
    assert bell.wait(0)
