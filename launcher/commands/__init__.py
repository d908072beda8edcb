"""One module a group of `drape` commands, and what they print.

- `run`: up, serve, worker, timer, healthy, doctor
- `project`: palettes, connect, prelabel, withdraw, embed, evaluate, train
- `data`: import, export
- `models`: models list, show, promote, rollback, prune, export
- `backup`: backup, restore
- `label_config`: the label config that options ask for
- `terminal`: where commands print
- `progress_bar`: a bar for jobs that run elsewhere
- `score_table`: what `models show` and `evaluate` print
- `import_table`: what `import` prints
- `export_table`: what `models export` prints
"""
