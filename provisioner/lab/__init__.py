"""The lab: blank virtual machines on this machine, for people without a rack and for the end-to-end tests."""
