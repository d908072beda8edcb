"""The state of projects, for `GET /status` and the status page.

- `project_status`: gathers models, settings and queues for both
- `survey`: stores where a project stands, as workers counted it
- `audits`: stores the results of audits
- `gone_projects`: stores which projects Label Studio no longer has
- `plots`: draws plots as SVG
"""
