"""The command line: a module a command, imported when the command is used; `main.main` is the entry point."""

__all__ = ["main"]
