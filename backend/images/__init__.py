"""Finds a task's image, fetches it safely and decodes it within limits.

- `task_image`: a task's image, by its label config
- `fetch`: from an address to pixels, with Label Studio's credentials and a cache in memory; which hosts are refused
- `pinned_host`: looks up a host's IP address once; which IP addresses are refused
- `same_server`: recognises Label Studio under another name
- `decode`: from an image file to upright RGB pixels, within limits
- `open_picture`: Pillow's own function that opens a file
- `sample`: a sample of images from all over a project
"""
