"""Annotated sets of others, and photographs, on their way into a project: one module a format."""
