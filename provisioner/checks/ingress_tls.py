"""Whether HTTPS presents the site's certificate for each host name that the workload's file has one for."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence

from provisioner.checks import http_client
from provisioner.checks.check import NAMESPACE, Context, Finding, failed, passed, skipped, wait_for
from provisioner.checks.ingress_endpoints import Endpoint, named
from provisioner.checks.ingress_routes import Pages, Route
from provisioner.kube import Object, certificates


def hosts(ingress: Object) -> dict[str, str]:
    """Return the Secret of each host name that an Ingress has a certificate for; "" for those that none names."""
    return {
        host: str(entry.get("secretName", ""))
        for entry in ingress["spec"].get("tls") or ()
        for host in entry.get("hosts") or ("",)
    }


def judge(
    context: Context, ingress: Object, live: Object, ways: Sequence[Endpoint], known: Sequence[Route]
) -> Iterator[tuple[Route | None, Finding]]:
    """Yield what HTTPS presents for each host name of the file's Ingress, with the route that was asked for.

    live: that Ingress in the cluster, which may say less.
    """
    for host, secret in hosts(ingress).items():
        route = next((one for one in known if one.host == host and one.service), None) if host else None
        if route is None:
            yield None, _unasked(ingress, host, secret)
            continue
        lost = "" if host in hosts(live) else f"Ingress {NAMESPACE}/{route.ingress} in the cluster has no TLS for it"
        for finding in _presented(context, secret, ways, route, lost):
            yield route, finding


def _unasked(ingress: Object, host: str, secret: str) -> Finding:
    where = f"Ingress {NAMESPACE}/{ingress['metadata']['name']}"
    if host:
        said = f"has a certificate in {where} and no rule of exactly this host: what it presents was not tried"
        return skipped(f"https://{host}", said)
    named_secret = f" {secret}" if secret else ""
    return skipped(where, f"names no host for the Secret{named_secret} in spec.tls: that certificate was not tried")


def _presented(context: Context, name: str, ways: Sequence[Endpoint], route: Route, lost: str) -> Iterator[Finding]:
    """Yield what each door presents for a route's host name. name: of the Secret. lost: why it may be another."""
    secret = context.cluster.get("Secret", name, NAMESPACE)
    pem = base64.b64decode(((secret or {}).get("data") or {}).get("tls.crt", ""))
    ours, subject = certificates.der(pem), f"https://{route.host}"
    if not ours:
        why = f"has no certificate: Secret {NAMESPACE}/{name} is missing or holds none"
        yield failed("INGRESS_TLS_NO_CERTIFICATE", subject, why, "provisioner apply", lost)
        return
    closed = [door for door in ways if not door.tls_port]
    if closed:
        why = f"is closed where HTTP is served, at {named(closed)}: the controller's Service has no port 443 there"
        yield failed("INGRESS_TLS_CLOSED", subject, why, "provisioner apply", lost)
    open_ = [door for door in ways if door.tls_port]
    if open_:
        yield _through(context, open_, route, secret=f"Secret {NAMESPACE}/{name}", ours=ours, lost=lost)


def _through(
    context: Context, open_: Sequence[Endpoint], route: Route, *, secret: str, ours: bytes, lost: str
) -> Finding:
    subject = f"https://{route.host}"

    def look() -> Pages:
        return {door: door.ask(context, route.path, route.host, tls=True) for door in open_}

    def wrong(each: Pages) -> Mapping[Endpoint, http_client.Response]:
        return {door: page for door, page in each.items() if page.certificate != ours or not route.right(page)}

    each = wait_for(context, f"{subject} to present its certificate", look, lambda seen: not wrong(seen), timeout=60)
    if not wrong(each):
        places = named([Endpoint(door.address, door.tls_port, 0, door.node) for door in open_])
        said = f"presents the site's certificate ({certificates.described(ours)}) through {places}"
        return passed("INGRESS_TLS", subject, said)
    door, page = next(iter(wrong(each).items()))
    if not page.certificate:
        said = f"has no TLS through {door}: {page}"
    elif page.certificate != ours:
        said = f"presents another certificate through {door}: one {certificates.described(page.certificate)}"
    else:
        said = f"presents the site's certificate through {door} and then gives: {page}"
    return failed(
        "INGRESS_TLS_WRONG",
        subject,
        said,
        "provisioner apply" if lost else f"kubectl -n {NAMESPACE} describe ingress {route.ingress}",
        f"{secret} holds one {certificates.described(ours)}",
        lost,
    )
