"""The API's load balancer of a lab with several control planes: HAProxy in the lab's namespace.

It stands for what a site has in front of its API servers, and is no part of the cluster.
"""

from provisioner.errors import ProvisionerError
from provisioner.lab import background, network
from provisioner.lab.settings import write_text
from provisioner.lab.spec import API_PORT, BALANCER, LabSpec

PROGRAM = "haproxy"
SERVE_SECONDS = 10.0
# An API server that is up but not ready, or has lost its etcd, must get no requests: so ask for /readyz, which anybody
# may read (the role system:public-info-viewer). A watch may be silent for long. Connections to a server that has gone
# are closed, since neither side may notice by itself that the other was unplugged.
_CONFIGURATION = """\
global
  uid 65534
  gid 65534

defaults
  mode tcp
  timeout connect 5s
  timeout client 4h
  timeout server 4h
  timeout check 5s

frontend api
  bind {address}:{port}
  default_backend control-planes

backend control-planes
  option httpchk GET /readyz
  http-check expect status 200
  default-server check check-ssl verify none inter 2s fall 3 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def configuration(spec: LabSpec) -> str:
    """Return HAProxy's configuration: every control plane of the lab is a server."""
    masters = [vm for vm in spec.vms if vm.role == "control-plane"]
    servers = "\n".join(f"  server {vm.name} {vm.address}:{API_PORT}" for vm in masters)
    return _CONFIGURATION.format(address=BALANCER, port=API_PORT, servers=servers)


def ensure(spec: LabSpec) -> None:
    """Start the load balancer with the current control planes as servers, if the lab has one and it is not running."""
    if not spec.endpoint:
        return
    file = spec.directory / "balancer.cfg"
    wanted = configuration(spec)
    if not file.exists() or file.read_text() != wanted:
        stop(spec)
        write_text(file, wanted)
    network.add_address(spec, BALANCER)
    if pid(spec) is None:
        argv = [PROGRAM, "-db", "-f", str(file)]
        background.start(spec.directory, "balancer", network.inside(spec.namespace, argv), spec.directory)
    ready = background.wait_until(lambda: pid(spec) is None or _listens(spec), SERVE_SECONDS)
    if not ready or pid(spec) is None:
        raise ProvisionerError("the API's load balancer did not start", f"see {spec.directory / 'balancer.log'}")


def pid(spec: LabSpec) -> int | None:
    """Return the PID of the load balancer, or None if it is not running."""
    return background.pid(spec.directory, "balancer", _marks(spec))


def stop(spec: LabSpec) -> None:
    """Stop the load balancer and wait until it is gone."""
    background.stop(spec.directory, "balancer", _marks(spec))


def _marks(spec: LabSpec) -> list[str]:
    return ["-db", str(spec.directory / "balancer.cfg")]


def _listens(spec: LabSpec) -> bool:
    return network.listens(spec.namespace, BALANCER, API_PORT)
