"""The command line: commands in modules that are imported at first use; `main.main` is the entry point."""

__all__ = ["main"]
