"""From a scan to a mask in the scan's own grid: a stack, a case, files of any format. Stop 05."""

MASK, PROBABILITY = "_pred", "_probability"
"""What the names of a predicted mask and of its probabilities add to the scan's."""
