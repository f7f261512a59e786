"""A scan in the browser: to be looked at in a notebook, or on a page that takes one's own scan. Stop 09."""
