"""Label Studio's API, JSON and XML."""
