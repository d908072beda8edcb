"""A version's HTML report, and the labels worth a second look."""
