"""Turn machines that answer SSH into a kubeadm cluster, and prove from the wire that it works."""

__version__ = "0.1.0"
