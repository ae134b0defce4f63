"""Diving48: its vocabulary now; segmentation and the shape and texture domains follow (section 3.3)."""
