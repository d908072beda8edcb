"""What `GET /status` and the page know of projects.

- `project_status`: models, settings, queues, gathered for both
- `survey`: where a project stands, as workers counted it
- `audits`: what audits of accepted regions found
- `plots`: plots as SVG
"""
