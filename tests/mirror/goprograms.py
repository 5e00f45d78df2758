"""Programs of the Go ecosystem, installed by name and version, each with the toolchain that it needs.

Any `go` from 1.19 on will do to start with (Debian 12's): it fetches the toolchains themselves as the module
golang.org/toolchain, whose checksums the Go checksum database vouches for.
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
from tests.mirror import cache
from tests.mirror.progress import output, run
from tests.mirror.requirements import program

LDFLAGS = "-s -w"
# What a user may have set for a proxy of their own; everything else of Go's environment is ours.
_PASSED_ON = ("GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB")


@dataclass(frozen=True)
class Program:
    """A main package: `package` inside the module, as `version`, compiled by Go `go`, called `name` here.

    replaced: the module, where its go.mod replaces others. `go install` refuses such a one (golang.org/issue/44840);
    its own replacements are then those of the module that it is built from, see `required`.
    """

    name: str
    package: str
    version: str
    go: str
    replaced: str = ""


# In no image. A real speaker of a current MetalLB shows its counters to bearers of a token alone; below 0.13 both
# programs read one ConfigMap (and reflect2 1.0.1 again).
FOR_TESTS = (
    Program("metallb-newest", "go.universe.tf/metallb/speaker", "v0.16.1", "1.25.10"),
    Program("metallb-oldest", "go.universe.tf/metallb/speaker", "v0.12.1", "1.17.13", "go.universe.tf/metallb"),
    Program("controller-oldest", "go.universe.tf/metallb/controller", "v0.12.1", "1.17.13", "go.universe.tf/metallb"),
)


def build(wanted: Program) -> Path:
    """Return the path of the program's static binary, built unless the cache has it."""
    directory = cache.artefact(wanted.name, recipe(wanted), lambda directory: _install(wanted, directory))
    return directory / wanted.name


def recipe(wanted: Program) -> dict[str, object]:
    """Return all that determines the program, for the cache."""
    said = {name: value for name, value in asdict(wanted).items() if value}
    return {**said, "ldflags": LDFLAGS, "cgo": "0"}


def _install(wanted: Program, directory: Path) -> None:
    go, log = toolchain(wanted.go), cache.root() / "logs" / f"{wanted.name}.log"
    verb, what, lines = ["install"], f"{wanted.package}@{wanted.version}", ""
    if wanted.replaced:
        verb, what = ["install", "-mod=mod"], wanted.package
        lines = required(wanted.replaced, wanted.version, go, log)
    elif minor(wanted.go) < 16:  # where `go install` knew no versions, `go get` in an empty module did the same
        verb = ["get"]
    install(go, [*verb, "-trimpath", "-ldflags", LDFLAGS, what], directory, log, lines)
    made = wanted.package.rpartition("/")[2]
    if re.fullmatch(r"v\d+", made):  # the main package is the module's own, whose path ends with its major version
        made = wanted.package.split("/")[-2]
    (directory / made).rename(directory / wanted.name)


def install(go: Path, argv: Sequence[str], directory: Path, log: Path, lines: str = "") -> None:
    """Run `go` with these arguments in a module made of these lines; its static programs go into `directory`."""
    scratch = directory / "scratch"
    scratch.mkdir()
    (scratch / "go.mod").write_text(f"module scratch\n{lines}")
    env = environment() | {"GOROOT": str(go.parent.parent), "GOBIN": str(directory), "CGO_ENABLED": "0"}
    run([go, *argv], log, cwd=scratch, env=env)
    for leftover in scratch.iterdir():
        leftover.unlink()
    scratch.rmdir()


def from_tree(
    module: str,
    version: str,
    go: str,
    change: Callable[[Path], None],
    directory: Path,
    name: str,
    *argv: str,
    cgo: int = 0,
) -> None:
    """Build program `name` into `directory` from a copy of a module's tree that `change` has been applied to.

    argv: what follows `go build -o`; cgo: 1 where it has C in it.
    """
    log = cache.root() / "logs" / f"{name}.log"
    program = toolchain(go)
    env = environment() | {"GOROOT": str(program.parent.parent), "CGO_ENABLED": str(cgo)}
    listing = output([program, "mod", "download", "-json", f"{module}@v{version}"], log, cwd=cache.work(), env=env)
    tree = directory / "tree"
    shutil.copytree(json.loads(listing)["Dir"], tree)
    change(tree)
    run([program, "build", "-trimpath", "-o", directory / name, *argv], log, cwd=tree, env=env)
    shutil.rmtree(tree)


def required(module: str, version: str, go: Path, log: Path, siblings: str = "") -> str:
    """Return lines of a go.mod that require a module and replace what its own go.mod replaces.

    What is replaced by a folder of the same repository is published as a module too: in the version that go.mod
    requires, or, where that is Kubernetes' v0.0.0, in that of its `siblings`.
    """

    def ask(*words: str) -> Any:
        return json.loads(output([go, "mod", *words], log, cwd=cache.work(), env=environment()))

    described = ask("edit", "-json", ask("download", "-json", f"{module}@{version}")["GoMod"])
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
    """Return the path of `go` in the toolchain of a version such as "1.20.14", fetched unless it is there."""
    listing = output(
        [_bootstrap(), "mod", "download", "-json", f"golang.org/toolchain@v0.0.1-go{version}.linux-amd64"],
        cache.root() / "logs" / "toolchain.log",
        cwd=cache.work(),
        env=environment(),
    )
    directory = Path(json.loads(listing)["Dir"])
    # Modules carry no executable bits (golang.org/toolchain; cmd/go sets them itself from Go 1.21 on).
    for path in (*directory.glob("bin/*"), *directory.glob("pkg/tool/*/*")):
        path.chmod(0o755)
    return directory / "bin/go"


def environment() -> dict[str, str]:
    """Return this process's environment with Go's directories inside the cache and no flags of the user's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GO")}
    gopath = cache.work() / "gopath"
    listing = subprocess.run(
        [_bootstrap(), "env", "-json", *_PASSED_ON],
        cwd=cache.work(),
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        **own,
        **{name: value for name, value in json.loads(listing.stdout).items() if value},
        "GOENV": "off",
        "GOFLAGS": "-modcacherw",
        "GOTOOLCHAIN": "local",
        "GO111MODULE": "on",
        "GOPATH": str(gopath),
        "GOMODCACHE": str(gopath / "pkg/mod"),
        "GOCACHE": str(cache.work() / "gocache"),
    }


def _bootstrap() -> str:
    found = program("go")
    if found is None:
        raise ProvisionerError("there is no Go here", "apt-get install --no-install-recommends golang-go")
    return found
