"""The mirror's command line: `python -m tests.mirror build | info | serve`."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from provisioner.errors import ProvisionerError
from tests.mirror import mirror, requirements
from tests.mirror.editions import SOURCE, edition
from tests.mirror.serve import serve


def main() -> int:
    """Run one command; return 0, or 1 after one message on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tests.mirror", description=sys.modules["tests.mirror"].__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build what the cache lacks; print the description as JSON")
    build.add_argument("--dpkg-status", type=Path, help="leave out of the Debian repository what is installed there")
    build.add_argument(
        "--small", action="store_true", help="without what metrics and ingress need, unless it is there"
    )
    build.add_argument(
        "--for-tests", action="store_true", help="also what only tests start: the speaker of a current MetalLB"
    )
    info = verbs.add_parser("info", help="print the description of the mirror that was built last as JSON")
    for verb in (build, info):
        verb.add_argument("--kubernetes", default=SOURCE.minor, help="minor release, by default %(default)s")
    verbs.add_parser("requirements", help="print the Debian packages that building needs and this machine lacks")
    foreground = verbs.add_parser("serve", help="serve on ports 80 and 5000 until told to stop")
    foreground.add_argument("--directory", type=Path, required=True, help="`directory` of the description")
    foreground.add_argument("--address", required=True, help="an address of this network namespace")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "build":
            requirements.check()
            os.umask(0o022)
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
            made = mirror.build(
                edition(arguments.kubernetes),
                arguments.dpkg_status,
                small=arguments.small,
                for_tests=arguments.for_tests,
            )
            print(json.dumps(made))
        elif arguments.verb == "info":
            print(json.dumps(mirror.info(mirror.newest(edition(arguments.kubernetes)))))
        elif arguments.verb == "requirements":
            print(" ".join(requirements.missing()))
        else:
            serve(arguments.directory, arguments.address)
    except ProvisionerError as error:
        print(f"mirror: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
