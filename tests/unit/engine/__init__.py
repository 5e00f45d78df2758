"""The engine without a network: facts, lock, runner, report, command line."""
