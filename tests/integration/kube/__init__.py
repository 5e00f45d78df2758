"""Tests of provisioner.kube and its callers against a real API server."""
