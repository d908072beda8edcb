"""`make flywheel`: trainings in turn with simulated annotators."""
