"""Solutions to the exercise of 09_viewer.ipynb, and answers to its questions.

1. Nothing is wrong with the scan: 5 mm lie between its slices, and 0.7 mm between its pixels. A viewer that draws at
   true scale draws steps. One that smooths them has drawn what nobody measured.
2. Lung and mediastinum differ by 800 HU, so no window of 400 HU shows structure in both. Radiologists look at each
   patient in several windows, one after the other.
3. By a number that needs no truth: how far networks that learned apart agree (08), or the mean probability of the
   surest piece. Such a list hides what all networks miss. An empty prediction gives nothing to rank, and networks of
   one recipe make the same mistake together. So everything has to be looked at.
"""


def next_find(table, seen):
    left = table[~table["component"].isin(seen)]
    if left.empty:
        return None
    return int(left.loc[left["mean_probability"].idxmax(), "component"])
