"""A task's image: its address, fetching it safely, decoding it within limits.

- `task_image`: a task's image by its label config
- `fetch`: from an address to pixels, by Label Studio's credentials, kept in memory
- `pinned_host`: where a host name leads, looked up once
- `decode`: an image file as upright RGB pixels, within limits
- `open_picture`: Pillow's own way to open a file
- `sample`: some images from all over a project
"""
