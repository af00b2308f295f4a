"""Models, prompts and what they predicted.

Does not belong here: asking a model (`forecast`), and what a forecast was worth (`defs.scores`).
"""
