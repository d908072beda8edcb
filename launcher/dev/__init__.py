"""The generated pages of `docs/`, and the audit of known vulnerabilities.

- `settings_page`: docs/settings.md
- `metrics_page`: docs/metrics.md
- `licences_page`: docs/licences.md
- `vulnerabilities`: `make audit`
"""
