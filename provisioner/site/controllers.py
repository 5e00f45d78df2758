"""Which ingress controller a site has."""

from __future__ import annotations

from provisioner.catalogue import minor_of
from provisioner.site.model import Site

_NGINX_FROM = (1, 28)  # the oldest minor that NGINX's controller 5.x is tested with


def ingress_controller(site: Site) -> str:
    """Return the site's ingress controller, "nginx", "haproxy" or "traefik"; by Kubernetes version unless chosen."""
    return site.ingress.controller or ("nginx" if minor_of(str(site.version)) >= _NGINX_FROM else "haproxy")
