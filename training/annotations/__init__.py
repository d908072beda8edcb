"""What people approved, what it shows, what they corrected.

- `approvals`: which annotations count
- `count`: asking Label Studio for them, by what changed
- `truth`: an annotation's garments
- `corrections`: what people made of predictions
- `survey`: where a project stands
"""
