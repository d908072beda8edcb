"""The RQ jobs that pre-annotate images and encode them ahead."""
