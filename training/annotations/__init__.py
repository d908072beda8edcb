"""What people approved, what it shows, what they corrected."""
