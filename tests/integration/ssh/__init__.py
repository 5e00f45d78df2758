"""The engine against a real sshd and a real sudo, over a real (virtual) network."""
