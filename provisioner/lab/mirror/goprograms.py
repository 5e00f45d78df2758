"""Go programs, installed by package and version, each with the toolchain that it needs.

Any `go` from 1.19 on (Debian 12's) can start: it fetches the toolchains as the module golang.org/toolchain, whose
checksums the Go checksum database verifies.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import cache
from provisioner.lab.mirror.progress import output, run
from provisioner.lab.mirror.requirements import find_program

# The toolchain of everything current: one download, and its standard library is compiled once.
GO = "1.26.8"
LDFLAGS = "-s -w"
# Not in any recipe, since the linker drops what the compiler leaves out: a sixth of its time.
NO_DEBUGGING = ("-gcflags", "all=-dwarf=false")
# A compiler that collects no garbage needs a quarter less time. At this size, in MiB, it starts to.
_SMALLEST_HEAP, _LARGEST_HEAP = 512, 1536
_SHARES = 16  # of this machine's memory: as many compilers as can run at once, and as much for everything else
# The user's own proxy settings are kept; the rest of Go's environment is replaced.
_INHERITED = ("GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB")


@dataclass(frozen=True)
class Program:
    """A main package: `package` at `version` of its module, compiled with Go `go`, called `name` here.

    replaced: the module, if its go.mod has `replace` lines. `go install` refuses such a module
    (golang.org/issue/44840), so that a module of ours takes them over, see `go_mod_lines`.
    """

    name: str
    package: str
    version: str
    go: str
    replaced: str = ""


def build(wanted: Program) -> Path:
    """Return the path of the program's static binary, building it unless it is cached."""
    directory = cache.artifact(wanted.name, recipe(wanted), lambda directory: _install(wanted, directory))
    return directory / wanted.name


def recipe(wanted: Program) -> dict[str, object]:
    """Return everything that determines the program, for the cache."""
    fields = {name: value for name, value in asdict(wanted).items() if value}
    return {**fields, "ldflags": LDFLAGS, "cgo": "0"}


def _install(wanted: Program, directory: Path) -> None:
    go, log = toolchain(wanted.go), cache.root() / "logs" / f"{wanted.name}-{wanted.version}.log"
    verb, package, lines = ["install"], f"{wanted.package}@{wanted.version}", ""
    if wanted.replaced:
        verb, package = ["install", "-mod=mod"], wanted.package
        lines = go_mod_lines(wanted.replaced, wanted.version, go, log)
    elif minor(wanted.go) < 16:  # `go install` takes no version yet; `go get` in an empty module does the same
        verb = ["get"]
    install(wanted.go, [*verb, "-trimpath", *NO_DEBUGGING, "-ldflags", LDFLAGS, package], directory, log, lines)
    binary = wanted.package.rpartition("/")[2]
    if re.fullmatch(r"v\d+", binary):  # the package at the root of a module whose path ends with its major version
        binary = wanted.package.split("/")[-2]
    (directory / binary).rename(directory / wanted.name)


def install(go: str, argv: Sequence[str], directory: Path, log: Path, lines: str = "") -> None:
    """Run a version of Go with these arguments in a module with these go.mod lines.

    Static programs are installed in `directory`.
    """
    program = toolchain(go)
    scratch = directory / "scratch"
    scratch.mkdir()
    (scratch / "go.mod").write_text(f"module scratch\n{lines}")
    env = environment() | garbage(go)
    env |= {"GOROOT": str(program.parent.parent), "GOBIN": str(directory), "CGO_ENABLED": "0"}
    run([program, *argv], log, cwd=scratch, env=env)
    for leftover in scratch.iterdir():
        leftover.unlink()
    scratch.rmdir()


def build_from_tree(
    module: str,
    version: str,
    change: Callable[[Path], None],
    *argv: str,
    go: str,
    target: Path,
    cgo: int = 0,
) -> None:
    """Build the program `target` from a copy of the module's tree that `change` has modified.

    argv: what follows `go build -o TARGET`; go: the version of Go; cgo: 1 if it contains C.
    """
    log = cache.root() / "logs" / f"{target.name}-{version}.log"
    program = toolchain(go)
    env = environment() | garbage(go) | {"GOROOT": str(program.parent.parent), "CGO_ENABLED": str(cgo)}
    listing = output([program, "mod", "download", "-json", f"{module}@v{version}"], log, cwd=cache.work(), env=env)
    tree = target.parent / "tree"
    shutil.copytree(json.loads(listing)["Dir"], tree)
    change(tree)
    run([program, "build", "-trimpath", *NO_DEBUGGING, "-o", target, *argv], log, cwd=tree, env=env)
    shutil.rmtree(tree)


def go_mod_lines(module: str, version: str, go: Path, log: Path, siblings: str = "") -> str:
    """Return go.mod lines that require a module and replace what its own go.mod replaces.

    Modules that it replaces by directories of its repository are published too: at the version that its go.mod
    requires or, if that is Kubernetes' v0.0.0, at version `siblings`.
    """

    def go_mod(*words: str) -> Any:
        return json.loads(output([go, "mod", *words], log, cwd=cache.work(), env=environment()))

    described = go_mod("edit", "-json", go_mod("download", "-json", f"{module}@{version}")["GoMod"])
    lines = [f"require {module} {version}"]
    if language := described.get("Go"):
        lines.insert(0, f"go {language}")
    versions = {each["Path"]: each["Version"] for each in described["Require"]}
    for each in described["Replace"]:
        old, new = each["Old"], each["New"]
        if "Version" in new:
            lines.append(f"replace {old['Path']} {old.get('Version', '')} => {new['Path']} {new['Version']}")
        elif versions.get(old["Path"]) == "v0.0.0":
            lines.append(f"replace {old['Path']} => {old['Path']} {siblings}")
    return "".join(f"{line}\n" for line in lines)


def minor(version: str) -> int:
    """Return 15 of "1.15.15"."""
    return int(version.split(".")[1])


def toolchain(version: str) -> Path:
    """Return the path of `go` of a version such as "1.20.14": this machine's, or that of a downloaded toolchain."""
    own = _own("GOVERSION", "GOROOT")
    if own["GOVERSION"] == f"go{version}":
        return Path(own["GOROOT"]) / "bin/go"
    listing = output(
        [_bootstrap(), "mod", "download", "-json", f"golang.org/toolchain@v0.0.1-go{version}.linux-amd64"],
        cache.root() / "logs" / "toolchain.log",
        cwd=cache.work(),
        env=environment(),
    )
    directory = Path(json.loads(listing)["Dir"])
    # Modules have no executable bits (golang.org/toolchain); cmd/go sets them itself since Go 1.21.
    for path in (*directory.glob("bin/*"), *directory.glob("pkg/tool/*/*")):
        path.chmod(0o755)
    return directory / "bin/go"


def environment() -> dict[str, str]:
    """Return this process's environment with Go's directories inside the cache and without the user's Go flags."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GO")}
    gopath = cache.work() / "gopath"
    return {
        **own,
        **{name: value for name, value in _own(*_INHERITED).items() if value},
        "GOENV": "off",
        "GOFLAGS": "-modcacherw",
        "GOTOOLCHAIN": "local",
        "GO111MODULE": "on",
        "GOPATH": str(gopath),
        "GOMODCACHE": str(gopath / "pkg/mod"),
        "GOCACHE": str(cache.work() / "gocache"),
    }


def garbage(go: str) -> dict[str, str]:
    """Return the environment in which the compilers of a Go version collect no garbage, within limits.

    GOMEMLIMIT is known since 1.19; older ones collect less often.
    """
    if minor(go) < 19:
        return {"GOGC": "300"}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return {"GOGC": "off", "GOMEMLIMIT": f"{min(max(memory // _SHARES, _SMALLEST_HEAP), _LARGEST_HEAP)}MiB"}


def _own(*names: str) -> dict[str, str]:
    """Return these settings of this machine's Go."""
    listing = subprocess.run(
        [_bootstrap(), "env", "-json", *names],
        cwd=cache.work(),
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=True,
    )
    settings: dict[str, str] = json.loads(listing.stdout)
    return settings


def _bootstrap() -> str:
    found = find_program("go")
    if found is None:
        raise ProvisionerError("go is not installed", "apt-get install --no-install-recommends golang-go")
    return found
