"""Redis and RQ: jobs, whose turn it is, claims, workers, the timer, the event inbox."""
