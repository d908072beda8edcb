"""The `drape` command: builds the environments, starts and supervises the processes, provisions Label Studio.

- `cli`: registers every command by its name
- `bootstrap`: builds the two virtual environments; runs before anything is installed
- `errors`: the error that ends a command, in one sentence
- `commands`: one module for each group of commands
- `stack`: `drape up`
- `backup`: `drape backup` and `drape restore`
- `doctor`: `drape doctor`
- `dev`: generated documentation pages, and the audit of dependencies
"""
