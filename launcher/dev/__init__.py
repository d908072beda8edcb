"""The generated pages of `docs/`, the check of the built site, and the audit of known vulnerabilities.

- `generated_page`: pages with a part that is written by hand and a part that is made from the code
- `settings_page`: docs/reference/settings.md
- `cli_page`: docs/reference/command-line.md
- `http_page`: docs/reference/http.md
- `metrics_page`: docs/reference/metrics.md
- `licences_page`: docs/explanation/licences.md
- `docs_site`: links, navigation and what pages load, in the built site
- `vulnerabilities`: `make audit`
"""
