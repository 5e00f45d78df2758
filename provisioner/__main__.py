"""Run the command line as `python -m provisioner`."""

from provisioner.cli import main

main()
