"""`make flywheel`: trainings in turn, with simulated annotators on annotated photographs.

- `__main__`: the command
- `work`: what annotators did to an image
- `prices`: what that takes, by the keystroke-level model
- `generation`: what is known of each generation, and the file that it is kept in
- `photographs`: which photographs are labelled, which judge, and their truth
- `matching`: which shown region an annotator keeps, fixes, relabels or deletes
- `open_task`: a task in Label Studio, as an annotator has it open
- `annotators`: people who label what Label Studio serves, down to each prompt
- `judge`: what a model does with the photographs that judge
- `turn`: trainings, judging and labelling in turn
- `report`: tables and a plot
"""
