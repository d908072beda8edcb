"""The generated pages of `docs/`, and the audit of known vulnerabilities."""
