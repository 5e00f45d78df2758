"""Rules about the code itself that `make lint` holds beside ruff, mypy and import-linter's own contracts."""
