"""End-to-end tests on the lab: blank VMs become a cluster although apply is killed on the way."""
