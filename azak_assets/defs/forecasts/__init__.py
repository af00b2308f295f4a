"""Models, prompts and what they predicted."""
