"""The product's view of the Kubernetes API, against a real API server."""
