"""What is logged, counted and reported."""
