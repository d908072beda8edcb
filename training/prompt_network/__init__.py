"""`make prompt-network`: trains a small network for clicks on garments, from random weights.

In the manner of RITM (Sofiiuk, Petrov, Konushin 2021: simulated clicks, rounds of correction, the mask so far as an
input) and FocalClick (Chen and others, CVPR 2022: a nearer crop around the garment), made small.

- `__main__`: the command
- `pictures`: annotated pictures as memory maps
- `crops`: crops of training pictures, changed by chance
- `clicks`: a simulated annotator's prompts, and how the network is shown them
- `network`: the network
- `steps`: a step of each phase: losses and their gradients
- `learner`: the training
- `checkpoint`: where a training stands, and its log
- `curves`: the plot of the log
- `evaluate`: metrics on held-out pictures
- `export`: the network for OpenVINO
- `exported`: an exported network to start from
"""
