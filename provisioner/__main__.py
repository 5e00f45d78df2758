"""Run the command line as `python -m provisioner`."""

from provisioner.cli.main import main

main()
