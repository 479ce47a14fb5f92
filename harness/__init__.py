"""The command line: from a configuration to trials, records and reports."""
