"""Mini-Diving48: a procedural Diving48 whose masks, boxes, joints and texture bias are known."""
