"""`make faults`: random faults in the whole stack, and what must hold after each."""
