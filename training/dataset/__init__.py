"""Approved annotations become a YOLO data set."""
