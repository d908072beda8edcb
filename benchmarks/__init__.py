"""What Drape takes and how good it is, measured side by side with what there was before.

- `__main__`: `make bench`
- `parts`: its parts
- `gpu`: `make bench-gpu`
- `photographs`: `make photographs`
- `flywheel`: `make flywheel`
- `soak`: `make soak`
- `faults`: `make faults`
- `hosts`: `make hosts`
- `command`: what their commands share
- `services`: real services, started for a measurement
- `serving_order`: the order in which Label Studio serves images, and how many labels it saves
- `invariants`: what must hold after whatever happened
- `random_weights`: weights of the right shapes, by chance
- `table`: rows of figures, and timing
- `record`: what was measured last, and the page of docs that shows it
"""
