"""Find out whether KVM works here, by booting a kernel with it once.

That /dev/kvm exists proves nothing: on some nested hosts QEMU aborts, or a stock kernel hangs before its first line.
The result is cached for this QEMU, this host kernel and this boot of the host.
"""

import hashlib
import os
import re
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from provisioner.lab.image import Image, Progress, cache_root
from provisioner.lab.recipe import TIMER_SLACK

Accelerator = Literal["kvm", "tcg"]
QEMU = "qemu-system-x86_64"
TRIAL_SECONDS = 20.0
# The factor for timeouts; of emulated machines, measured on 2 cores.
TIMEOUT_SCALE: dict[Accelerator, float] = {"kvm": 1.0, "tcg": 8.0}
# The size in MiB of an emulated machine's translation cache. When it is full, QEMU flushes it and translates
# everything again: with 512, once a minute for a busy control plane. 2048 is QEMU's maximum.
_MIN_CODE, _MAX_CODE = 512, 2048
_SHARES = 12  # of this machine's memory: three machines, and four times as much for everything else
# CPU features that make emulation slow and are not needed. `rep` string instructions are loops over bytes here, but
# the kernel considers them the fastest way to clear a page (erms, fsrm); five-level page tables add a lookup to each
# miss (la57); smap and smep give kernel and user addresses separate tables; with avx each context switch saves more.
_EMULATED_CPU = "max,-erms,-fsrm,-la57,-smap,-smep,-avx,-avx2"
_EMULATED_KERNEL = (
    # The translation cache is keyed by virtual address: with randomized addresses every start of a program translates
    # its loader and libraries again, 2000 blocks each time, until the cache is full.
    "norandmaps",
    # All processors of an emulated machine share one clock, which its kernel cannot know (unsynchronized_tsc in
    # arch/x86/kernel/tsc.c): with two of them it would read the time from a device, the HPET.
    "tsc=reliable",
    # Otherwise pages are cleared twice, and 2 MiB at a time for programs that need a few KiB.
    "init_on_alloc=0", "transparent_hugepage=never",
    # Go's sysmon thread wakes every 20 us while anything runs, through the emulated timer: a fifth of an API server's
    # time. With a millisecond of timer slack it wakes once a millisecond.
    f"{TIMER_SLACK}=1000000",
    # For kubelet and containerd, as provisioner/lab/mirror/images.py sets it for programs in images.
    "systemd.setenv=GOMAXPROCS=1", "systemd.setenv=GODEBUG=asyncpreemptoff=1", "systemd.setenv=GOGC=200",
)  # fmt: skip
_DEVICE = Path("/dev/kvm")
# The boot stub prints its own lines ("Probing EDD") before the kernel proper starts.
_KERNEL_OUTPUT = re.compile(rb"Linux version \d+\.\d+")


def arguments(accelerator: Accelerator) -> tuple[str, ...]:
    """Return QEMU's arguments for an accelerator."""
    if accelerator == "kvm":
        return ("-accel", "kvm", "-cpu", "host")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    code = min(max(memory // _SHARES, _MIN_CODE), _MAX_CODE)
    return ("-accel", f"tcg,thread=multi,tb-size={code}", "-cpu", _EMULATED_CPU)


def kernel_arguments(accelerator: Accelerator) -> tuple[str, ...]:
    """Return kernel parameters for machines on an accelerator."""
    return _EMULATED_KERNEL if accelerator == "tcg" else ()


def usable() -> bool:
    """Return whether this process may open /dev/kvm, which is then worth a trial."""
    return os.access(_DEVICE, os.R_OK | os.W_OK)


def why_not_kvm(image: Callable[[], Image], progress: Progress) -> str:
    """Return why KVM does not work here, "" if a kernel boots with it within the time limit.

    image: returns the image whose kernel to try; called for the trial only.
    """
    if not usable():
        return f"{_DEVICE} cannot be opened" if _DEVICE.exists() else f"there is no {_DEVICE}"
    cached = cache_root() / f"accelerator-{_fingerprint()}"
    if cached.exists():
        answer, _, why = cached.read_text().strip().partition("\n")
        return "" if answer == "kvm" else why or "no kernel booted with it"
    built = image()
    progress(f"kvm: trying {_DEVICE} once, for up to {TRIAL_SECONDS:.0f} s")
    why = trial(built, "kvm")
    progress(f"kvm: does not work here: {why}" if why else "kvm: works")
    scratch = cached.with_suffix(f".{os.getpid()}")
    scratch.write_text(f"tcg\n{why}\n" if why else "kvm\n")
    scratch.rename(cached)
    return why


def trial(image: Image, accelerator: Accelerator, seconds: float = TRIAL_SECONDS) -> str:
    """Boot the image's kernel until its first line appears; return why it did not, "" if it did."""
    argv = [
        QEMU, *arguments(accelerator), "-m", "256", "-nodefaults", "-no-reboot", "-display", "none",
        "-serial", "stdio", "-kernel", str(image.kernel),
        "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1",
    ]  # fmt: skip
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
    )
    assert process.stdout is not None
    output = b""
    deadline = time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([process.stdout], [], [], left)[0]:
                break
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                return f"QEMU exited: {_last_line(output)}"
            output += data
            if _KERNEL_OUTPUT.search(output):
                return ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return f"no kernel output within {seconds:.0f} s"


def _fingerprint() -> str:
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    host = os.uname()
    return hashlib.sha256(f"{version}|{host.release}|{host.version}|{boot}".encode()).hexdigest()[:12]


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "without output"
