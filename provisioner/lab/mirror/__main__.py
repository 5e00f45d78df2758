"""The mirror's command line: `python -m provisioner.lab.mirror build | info | requirements | serve`."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import mirror
from provisioner.lab.mirror import assembly, for_tests, requirements
from provisioner.lab.mirror.editions import CURRENT, edition
from provisioner.lab.mirror.serve import serve


def main() -> int:
    """Run one command; return 0, or 1 after one message on stderr."""
    arguments = _parser().parse_args()
    try:
        _run(arguments)
    except ProvisionerError as error:
        print(f"mirror: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m provisioner.lab.mirror", description=mirror.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build what the cache lacks and print the mirror's description as JSON")
    build.add_argument(
        "--dpkg-status", type=Path, help="omit from the Debian repository what this dpkg status file has as installed"
    )
    build.add_argument(
        "--suite", action="append", default=[], help="a Debian release that nodes run beside bookworm, such as trixie"
    )
    extent = build.add_mutually_exclusive_group()
    extent.add_argument("--small", action="store_true", help="omit metrics-server and Traefik unless they are cached")
    extent.add_argument(
        "--for-tests", action="store_true", help="build only the programs that the integration tests start; no mirror"
    )
    info = verbs.add_parser("info", help="print the description of the newest mirror as JSON")
    for verb in (build, info):
        verb.add_argument("--kubernetes", default=CURRENT.minor, help="version, such as 1.37 (default: %(default)s)")
    build.add_argument(
        "--also", action="append", default=[], metavar="VERSION", help="another version, for an upgrade; repeatable"
    )
    verbs.add_parser("requirements", help="list the Debian packages that a build needs and that are not installed")
    foreground = verbs.add_parser("serve", help="serve on ports 80 and 5000 until SIGTERM or SIGINT")
    foreground.add_argument("--directory", type=Path, required=True, help="`directory` of the description")
    foreground.add_argument("--address", required=True, help="an address in this network namespace")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    if arguments.verb == "build":
        requirements.check()
        os.umask(0o022)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        wanted = edition(arguments.kubernetes)
        if arguments.for_tests:
            print(json.dumps({"bin": str(for_tests.build(wanted))}))
        else:
            editions = [wanted, *(edition(version) for version in arguments.also)]
            made = assembly.build(editions, arguments.dpkg_status, small=arguments.small, suites=arguments.suite)
            print(json.dumps(made))
    elif arguments.verb == "info":
        print(json.dumps(assembly.info(assembly.newest(edition(arguments.kubernetes)))))
    elif arguments.verb == "requirements":
        print(" ".join(requirements.missing()))
    else:
        serve(arguments.directory, arguments.address)


if __name__ == "__main__":
    sys.exit(main())
