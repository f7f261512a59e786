"""From a scan to a mask in the scan's own grid: a stack, a case, files of any format. Stop 05."""

MASK, PROBABILITY, COMPONENTS = "_pred", "_probability", "_components"
"""What the names of a predicted mask, of its probabilities and of its components' table add to the scan's."""
