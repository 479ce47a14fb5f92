"""What a command line means: composition, schema, help, and the nearest right name for a wrong one."""
