"""The review sheet, `GET /review`: predictions that nobody has approved yet, twelve at a time, to approve at a look.

- `outlines`: a prediction's regions as paths to draw over a photograph
- `thumbnails`: photographs as small pictures, kept in memory
- `sheet`: what is on a sheet
- `approval_mark`: what an annotation needs to count as approved in a project
- `approve`: stores what a person approved, and undoes it
- `routes`: the page, its assets, and what its keys ask for
"""
