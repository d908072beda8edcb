"""Which predictions are accepted without a person, how they are marked and withdrawn."""
