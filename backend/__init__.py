"""The service that Label Studio talks to: prompts become polygons, images become pre-annotations."""
