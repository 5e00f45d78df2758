"""`python -m provisioner.lab.nfs COMMAND …`: what the node's mount.nfs, exportfs and units call."""

import json
import sys
from pathlib import Path

from provisioner.lab.nfs import client, server
from provisioner.lab.nfs.options import Mount


def main() -> int:
    """Run the command that the first word names."""
    command, arguments = sys.argv[1], sys.argv[2:]
    match command:
        case "mount":
            return client.main(arguments)
        case "serve":
            return client.serve(Mount(**json.loads(arguments[0])), Path(arguments[1]))
        case "configure":
            server.configure(arguments[0])
        case "ready":
            server.wait_until_ready()
        case "exports":
            server.refresh()
        case _:
            raise SystemExit(f"unknown command {command}")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (OSError, TimeoutError) as error:
        raise SystemExit(f"{sys.argv[1]}: {error}") from error
