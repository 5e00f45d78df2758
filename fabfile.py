"""The tasks of provisioner/tasks.py, for `fab -l`."""

from provisioner.tasks import namespace  # noqa: F401
