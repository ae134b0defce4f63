"""Train, evaluate and score video models across domains (sections 3.1 and 4)."""
