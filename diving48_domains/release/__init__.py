"""Releases of what belongs to Diving48: recipe and masks of its domains, labelled frames, and mini-Diving48.

``contents`` what every kind has in common; ``masks``, ``frames``, ``mini`` a kind each; ``kinds`` their table;
``build`` writes a folder, ``verify`` proves one, ``rebuild`` makes clips again.
"""
