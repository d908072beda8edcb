"""The `drape` command: builds the environments, starts and supervises the processes, provisions Label Studio.

- `cli`: every command, by name
- `bootstrap`: the two virtual environments; runs before anything is installed
- `errors`: what keeps `drape` from going on
- `commands`: one module a group of commands
- `stack`: `drape up`
- `backup`: `drape backup` and `drape restore`
- `doctor`: `drape doctor`
- `dev`: generated pages, and the audit
"""
