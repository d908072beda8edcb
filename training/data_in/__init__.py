"""Annotated sets of others, and photographs, on their way into a project.

- `import_data`: opened, mapped, cleaned, written
- `importer`: images becoming tasks with regions
- `annotated_image`: what every format is read into
- `class_mapping`: which label a class becomes
- `mask_cleaning`: holes, specks, regions taken apart
- `picture_folder`: where a set's images lie
- `project_tasks`: a project's tasks, known by their images
- `evaluation_set`: a set as what models are judged on
- `tally`: what came in, counted
- `formats`: one module a format
"""
