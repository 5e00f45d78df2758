"""Whether HTTPS presents the site's certificate for each host in the manifest's spec.tls, for the ingress check."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from provisioner.checks.check import NAMESPACE, Context, Finding, failed, passed, skipped, wait_for
from provisioner.checks.ingress_endpoints import Endpoint
from provisioner.checks.ingress_routes import Responses, Route
from provisioner.kube import Object, certificates
from provisioner.kube.objects import object_name
from provisioner.text import join_words


def hosts(ingress: Object) -> dict[str, str]:
    """Return the name of the Secret by host of an Ingress's spec.tls, "" for none."""
    return {
        host: str(entry.get("secretName", ""))
        for entry in ingress["spec"].get("tls") or ()
        for host in entry.get("hosts") or ("",)
    }


def judge(
    context: Context, ingress: Object, live: Object, endpoints: Sequence[Endpoint], routes: Sequence[Route]
) -> Iterator[tuple[Route | None, Finding]]:
    """Yield what HTTPS presents for each host of the manifest's Ingress, with the route that was requested.

    live: that Ingress in the cluster, which may lack something.
    """
    for host, secret in hosts(ingress).items():
        route = next((one for one in routes if one.host == host and one.service), None) if host else None
        if route is None:
            yield None, _not_requested(ingress, host, secret)
            continue
        cause = "" if host in hosts(live) else f"Ingress {NAMESPACE}/{route.ingress} in the cluster has no TLS for it"
        for finding in _presented(context, secret, endpoints, route, cause):
            yield route, finding


def _not_requested(ingress: Object, host: str, secret: str) -> Finding:
    where = object_name(ingress)
    if host:
        return skipped(f"https://{host}", f"was not tried: {where} has a certificate but no rule for this host")
    which = f" {secret}" if secret else ""
    return skipped(where, f"has a certificate that was not tried: spec.tls has no host for its Secret{which}")


def _presented(
    context: Context, name: str, endpoints: Sequence[Endpoint], route: Route, cause: str
) -> Iterator[Finding]:
    """Yield what each endpoint presents for a route's host. name: of the Secret. cause: of another certificate."""
    secret = context.cluster.get("Secret", name, NAMESPACE)
    pem = base64.b64decode(((secret or {}).get("data") or {}).get("tls.crt", ""))
    expected, subject = certificates.pem_to_der(pem), f"https://{route.host}"
    if not expected:
        detail = f"has no certificate: Secret {NAMESPACE}/{name} is missing or empty"
        yield failed("INGRESS_TLS_NO_CERTIFICATE", subject, detail, "provisioner apply", cause)
        return
    closed = [endpoint for endpoint in endpoints if not endpoint.tls_port]
    if closed:
        detail = f"is closed at {join_words(closed)}, where HTTP is served: the controller's Service has no port 443"
        yield failed("INGRESS_TLS_CLOSED", subject, detail, "provisioner apply", cause)
    serving = [endpoint for endpoint in endpoints if endpoint.tls_port]
    if serving:
        yield _responses(context, serving, route, secret=f"Secret {NAMESPACE}/{name}", expected=expected, cause=cause)


def _responses(
    context: Context, endpoints: Sequence[Endpoint], route: Route, *, secret: str, expected: bytes, cause: str
) -> Finding:
    subject = f"https://{route.host}"

    def request() -> Responses:
        return {endpoint: endpoint.get(context, route.path, route.host, tls=True) for endpoint in endpoints}

    def wrong(responses: Responses) -> Responses:
        return {
            endpoint: response
            for endpoint, response in responses.items()
            if response.certificate != expected or not route.accepts(response)
        }

    responses = wait_for(
        context, f"{subject} to present its certificate", request, lambda responses: not wrong(responses), timeout=60
    )
    if not wrong(responses):
        places = join_words(Endpoint(one.address, one.tls_port, 0, one.node) for one in endpoints)
        detail = f"presents the site's certificate ({certificates.describe(expected)}) through {places}"
        return passed("INGRESS_TLS", subject, detail)
    endpoint, response = next(iter(wrong(responses).items()))
    if not response.certificate:
        detail = f"does not speak TLS through {endpoint}: {response}"
    elif response.certificate != expected:
        detail = f"presents another certificate through {endpoint}: {certificates.describe(response.certificate)}"
    else:
        detail = f"presents the site's certificate through {endpoint}, then returns {response}"
    return failed(
        "INGRESS_TLS_WRONG",
        subject,
        detail,
        "provisioner apply" if cause else f"kubectl -n {NAMESPACE} describe ingress {route.ingress}",
        f"{secret} holds one {certificates.describe(expected)}",
        cause,
    )
