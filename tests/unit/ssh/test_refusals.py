"""What login shells and sudo say instead of running a command: one sentence for each kind."""

from __future__ import annotations

import pytest

from provisioner.ssh import refusals

NEEDS = "sudo needs a password"
NOT_ALLOWED = "ann is not allowed to use sudo"
SOME = "ann may use sudo, but not to run every command as root"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("sudo: a password is required", NEEDS),
        ("sudo: a terminal is required to read the password; either use the -S option", NEEDS),
        ("sudo: no tty present and no askpass program specified", NEEDS),
        ("sudo: interactive authentication is required", NEEDS),
        ("sudo: sorry, you must have a tty to run sudo", "sudo insists on a terminal (requiretty)"),
        ("ann is not in the sudoers file.  This incident will be reported.", NOT_ALLOWED),
        ("Sorry, user ann may not run sudo on one.", NOT_ALLOWED),
        ("sudo: I'm sorry ann. I'm afraid I can't do that", NOT_ALLOWED),
        ("Sorry, user ann is not allowed to execute '/usr/bin/timeout 60 sh' as root on one.", SOME),
        ("sudo: Sorry, user ann may not run /usr/bin/timeout on one.", SOME),
        ("env: 'sudo': No such file or directory", "sudo is not installed"),
        ("env: can't execute 'sudo': No such file or directory", "sudo is not installed"),
        (
            'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.',
            "sudo cannot gain root: the SSH server runs with NoNewPrivileges",
        ),
        (
            "sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set",
            "sudo is not set up to gain root "
            "(its setuid bit or owner is missing, or its file system is mounted nosuid)",
        ),
        (
            "sudo: Account or password is expired, reset your password and try again",
            "sudo rejects the account of ann: its password has expired or it is locked",
        ),
        (
            "This account is currently not available.",
            "ann may not run commands: its login shell or authorized_keys refuses them",
        ),
        (
            'Please login as the user "debian" rather than the user "root".',
            "ann may not run commands: its login shell or authorized_keys refuses them",
        ),
        (
            "Welcome\n\nsudo: /etc/sudoers:3:1: syntax error\nsudo: no valid sudoers sources found, quitting",
            "no command can be run: the login shell of ann ended with exit status 1 and printed: "
            "sudo: no valid sudoers sources found, quitting",
        ),
        ("", "no command can be run: the login shell of ann ended with exit status 1 and printed: nothing"),
    ],
)
def test_each_kind_has_its_own_sentence_and_remedy(said: str, message: str) -> None:
    error = refusals.explain("one", "ann", said.encode(), 1)
    assert error.message == message
    assert error.remedy
    assert error.tail == "\n".join(line for line in said.splitlines() if line)


def test_a_hang_says_so() -> None:
    error = refusals.explain("one", "ann", b"loading nvm\n", 124, timed_out=True)
    assert error.message == "no command began in time; the login of ann printed: loading nvm"


@pytest.mark.parametrize(
    "said",
    [
        "Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt",
        "sudo: Authentication failed, try again.",
        "sudo: Maximum 3 incorrect authentication attempts",
    ],
)
def test_a_wrong_password_is_recognized(said: str) -> None:
    assert refusals.REJECTED.search(said)
