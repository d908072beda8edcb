"""The `drape` command: builds the environments, starts and supervises the processes, provisions Label Studio."""
