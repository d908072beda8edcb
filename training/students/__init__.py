"""`drape compare`: other architectures, trained on a project's approved images and judged on the same held-out ones.

- `student`: what a student is: it learns, answers, has a size, and can be exported
- `roster`: the students by name; a new one is a module in `families` and a line there
- `families`: the architectures, a module each
- `lesson`: the images that all students learn from, and those that judge them
- `budget`: how long a student may learn, in minutes or epochs of training alone
- `torch_student`: trains any PyTorch network by its own loss, and resumes
- `pictures`: images and ground truth as networks learn from them
- `weights`: pretrained weights, on disk or from the internet
- `scores`: judges a student's answers
- `compare`: trains and judges one student, and keeps what came of it
- `project`: compares students on a project's approved annotations
- `page`: the table, as HTML page, Markdown and JSON
"""
