"""Label configs, the demo figures, and the code that sets a Label Studio project up."""
