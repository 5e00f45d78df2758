"""Find out whether KVM really works here, by booting a kernel with it once.

/dev/kvm existing proves nothing: on some nested hosts QEMU aborts, or a stock kernel spins before its first
line. The answer is remembered for this QEMU, this host kernel and this boot of the host.
"""

import hashlib
import os
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Literal

from provisioner.lab.image import Image, Say, cache_root
from provisioner.lab.recipe import TIMER_SLACK

Accelerator = Literal["kvm", "tcg"]
QEMU = "qemu-system-x86_64"
TRIAL_SECONDS = 20.0
# What the emulated lab's timeouts are multiplied by: measured on 2 cores, see the decision notes.
TIMEOUT_SCALE: dict[Accelerator, float] = {"kvm": 1.0, "tcg": 8.0}
# MiB of translated code that an emulated machine keeps. When they are full, all of it goes and is translated again:
# with 512 that is once a minute for a busy control plane. 2048 is the most that QEMU takes.
_LEAST_CODE, _MOST_CODE = 512, 2048
_SHARES = 12  # of this machine's memory: three machines, and four times as much for the rest
# What makes emulation slow without making it another machine. Strings moved by `rep` are a loop over bytes here, and
# the kernel takes it for the fastest way to clear a page (erms, fsrm); a fifth level of page tables is one more look
# at each miss (la57); smap and smep take the addresses of kernel and user apart into tables of their own; avx has each
# change of process save more.
_EMULATED_CPU = "max,-erms,-fsrm,-la57,-smap,-smep,-avx,-avx2"
_EMULATED_KERNEL = (
    # Translated code is kept by its virtual address: with random ones every start of a program translated its loader
    # and its libraries anew, 2000 pieces each time, until the room for them was full.
    "norandmaps",
    # All processors of an emulated machine read one clock, which its kernel cannot know (unsynchronized_tsc in
    # arch/x86/kernel/tsc.c): with two of them it would ask a device, the HPET, each time that it needs the time.
    "tsc=reliable",
    # Pages are cleared twice, and 2 MiB at a time for programs that want a few KiB.
    "init_on_alloc=0", "transparent_hugepage=never",
    # Go's watch over its own threads wakes every 20 us while anything runs, each time through the emulated timer: a
    # fifth of an API server's time. With a millisecond of slack it wakes as seldom as that.
    f"{TIMER_SLACK}=1000000",
    # What the mirror's images say to the programs in them (tests/mirror/images.py), for kubelet and containerd.
    "systemd.setenv=GOMAXPROCS=1", "systemd.setenv=GODEBUG=asyncpreemptoff=1", "systemd.setenv=GOGC=200",
)  # fmt: skip
_DEVICE = Path("/dev/kvm")
# The boot stub prints lines of its own ("Probing EDD") before the kernel proper has run an instruction.
_KERNEL_OUTPUT = re.compile(rb"Linux version \d+\.\d+")


def arguments(accelerator: Accelerator) -> tuple[str, ...]:
    """Return QEMU's arguments for an accelerator."""
    if accelerator == "kvm":
        return ("-accel", "kvm", "-cpu", "host")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    code = min(max(memory // _SHARES, _LEAST_CODE), _MOST_CODE)
    return ("-accel", f"tcg,thread=multi,tb-size={code}", "-cpu", _EMULATED_CPU)


def kernel_arguments(accelerator: Accelerator) -> tuple[str, ...]:
    """Return what the kernel of a machine is told for its accelerator."""
    return _EMULATED_KERNEL if accelerator == "tcg" else ()


def choose(image: Image, say: Say) -> Accelerator:
    """Return "kvm" where a kernel boots under it within the time limit, else "tcg"."""
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    remembered = cache_root() / f"accelerator-{_fingerprint()}"
    if remembered.exists():
        return "kvm" if remembered.read_text().strip() == "kvm" else "tcg"
    say(f"kvm: /dev/kvm is there; trying it once, for up to {TRIAL_SECONDS:.0f} s")
    why = trial(image, "kvm")
    works = not why
    answer: Accelerator = "kvm" if works else "tcg"
    say("kvm: works" if works else f"kvm: does not work here ({why}); the lab is emulated, and slower")
    scratch = remembered.with_suffix(f".{os.getpid()}")
    scratch.write_text(answer + "\n")
    scratch.rename(remembered)
    return answer


def trial(image: Image, accelerator: Accelerator, seconds: float = TRIAL_SECONDS) -> str:
    """Boot the image's kernel until its own first line comes; return why that did not happen, "" if it did."""
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
                return f"QEMU ended: {_last_line(output)}"
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
    return lines[-1].strip() if lines else "without a word"
