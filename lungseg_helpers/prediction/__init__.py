"""From a scan to a mask in the scan's own grid: a stack, a case, files of any format. Stop 05."""
