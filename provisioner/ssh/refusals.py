"""Why a command never began: what a login shell or sudo said instead, as one sentence with a remedy."""

from __future__ import annotations

import re

from provisioner.errors import HostError
from provisioner.redact import redact

_PASSWORD = (
    'set sudo_password under [ssh] to "prompt", "env:NAME" or "file:PATH", or allow the user sudo without a password'
)
# The words of sudo (plugins/sudoers: check.c, auth/sudo_auth.c, log_client.c, logging.c, policy.c; src: sudo.c,
# tgetpass.c), sudo-rs (src/common/error.rs), nologin(8) and env(1); `{user}` in a sentence is the login user.
_CAUSES = (
    (
        r"(?:you must have|have) a tty to run sudo",
        "sudo insists on a terminal (requiretty)",
        "add the line `Defaults:{user} !requiretty` with visudo",
    ),
    (
        r"is not in the sudoers file|may not run sudo|is not allowed to run sudo|I'm sorry {user}\. I'm afraid",
        "{user} is not allowed to use sudo",
        "add the user to the group sudo, or log in as root",
    ),
    (
        r"Sorry, user \S+ (?:is not allowed to execute|may not run)",
        "{user} may use sudo, but not to run every command as root",
        "allow it with visudo: {user} ALL=(ALL) ALL",
    ),
    (
        r"no new privileges|NoNewPrivs",
        "sudo cannot gain root: the SSH server runs with NoNewPrivileges",
        "remove NoNewPrivileges from the unit ssh.service on the host, or log in as root",
    ),
    (
        r"setuid|effective uid is not 0|must be owned by uid 0",
        "sudo is not set up to gain root (its setuid bit or owner is missing, or its file system is mounted nosuid)",
        "reinstall it on the host: apt-get install --reinstall sudo",
    ),
    (
        r"env: .?sudo.?: No such file|can't execute '?sudo'?: No such file|sudo: not found|sudo: command not found",
        "sudo is not installed",
        'install it, or set user = "root" under [ssh]',
    ),
    (
        r"account (?:validation failure|is locked|has expired)|[Pp]assword (?:is |has )?expired",
        "sudo rejects the account of {user}: its password has expired or it is locked",
        "renew it on the host: passwd {user}, chage -l {user}",
    ),
    (
        r"a password is required|a terminal is required|no tty present|interactive authentication is required",
        "sudo needs a password",
        _PASSWORD,
    ),
    (
        r"account is currently not available|shell is disabled|Please login as the user",
        "{user} may not run commands: its login shell or authorized_keys refuses them",
        "set another user under [ssh], or give it a shell on the host: chsh -s /bin/bash {user}",
    ),
)
REJECTED = re.compile(r"incorrect (?:password|authentication) attempt|[Ss]orry, try again|Authentication failed")


def explain(host: str, user: str, said: bytes, status: int, *, timed_out: bool = False) -> HostError:
    """Return the error for a command whose marker never appeared. said: what was printed instead."""
    text = said.decode(errors="replace")
    tail = redact("\n".join(line.rstrip() for line in text.splitlines() if line.strip())[-2000:])
    for pattern, message, remedy in _CAUSES:
        if re.search(pattern.replace("{user}", re.escape(user)), text):
            return HostError(host, message.format(user=user), remedy.format(user=user), tail=tail)
    last = tail.splitlines()[-1] if tail else "nothing"
    if timed_out:
        return HostError(
            host,
            f"no command began in time; the login of {user} printed: {last}",
            f"look where it hangs: provisioner ssh {host} -- true; sudo may wait for a name or directory service",
            tail=tail,
        )
    return HostError(
        host,
        f"no command can be run: the login shell of {user} ended with exit status {status} and printed: {last}",
        f"see what provisioner ssh {host} -- echo in prints, and fix the shell's startup files or set another user",
        tail=tail,
    )
