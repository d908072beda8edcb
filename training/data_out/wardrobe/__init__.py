"""`drape wardrobe`: a page over the cut-outs of a project, which needs no server.

- `make`: exports the garments with their page, and replaces the earlier ones
- `page`: collects the page's contents, and renders them
- `neighbours`: finds garments of the same label and like colours
- `colour_distance`: the distance of colours as people see them
- `pictures`: small pictures of photographs and garments, and the garments' outlines
"""
