"""Imports photographs, and annotated data sets of others, into a Label Studio project.

- `import_data`: opens, maps, cleans and writes a data set
- `importer`: turns images into tasks with regions
- `annotated_image`: the types that every format is read into
- `class_mapping`: maps a data set's classes to labels
- `mask_cleaning`: fills holes, removes specks, separates regions
- `picture_folder`: finds a data set's images
- `project_tasks`: a project's tasks, identified by their images
- `evaluation_set`: a data set that models are evaluated on
- `text_files`: reads text, JSON and YAML, in UTF-8 or UTF-16
- `nesting`: refuses JSON that is nested too deep
- `rows_by_image`: groups the rows of a large file by image
- `tally`: counts what is imported and what is left out
- `formats`: one module for each format
"""
