"""The `drape` commands: one module for each group of commands, and modules that print their output.

- `run`: up, serve, worker, timer, healthy, doctor
- `project`: palettes, connect, prelabel, withdraw, embed, evaluate, compare, train
- `data`: import, export
- `wardrobe`: wardrobe
- `models`: models list, show, promote, rollback, prune, export
- `backup`: backup, restore
- `options`: options that several commands share, and the label config that options select
- `terminal`: the console that commands print to
- `progress_bar`: progress bars for loops, and for jobs that workers run
- `score_table`: the metrics that `models show`, `evaluate` and `compare` print
- `import_table`: the output of `import`
- `export_table`: the output of `models export`
"""
