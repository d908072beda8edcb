"""The answers of `/predict`: prompts, whole images, what is done ahead."""
