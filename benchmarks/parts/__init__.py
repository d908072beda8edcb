"""`make bench`: one module a part."""
