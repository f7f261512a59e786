"""Where scans come from: found, imported, fetched, or made; and whether a whole data set is sound. Stop 01."""
