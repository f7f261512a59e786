"""The exercise of notebook 09: plausible wrong answers, which ``test_exercises`` gives to its check."""


def _first(table, seen, column="mean_probability", lowest=False, skip=True, number=True):
    left = table[~table["component"].isin(seen)] if skip else table
    if left.empty:
        return None
    place = left[column].idxmin() if lowest else left[column].idxmax()
    return int(left.loc[place, "component"]) if number else int(place)


WRONG = {
    "next_find": [
        lambda table, seen: _first(table, seen, "ml"),
        lambda table, seen: _first(table, seen, "component", lowest=True),
        lambda table, seen: _first(table, seen, "highest_probability"),
        lambda table, seen: _first(table, seen, lowest=True),
        lambda table, seen: _first(table, seen, skip=False),
        lambda table, seen: _first(table, seen, number=False),
        lambda table, seen: _first(table, seen) or 0,
        lambda table, seen: None,
        lambda table, seen: table.iloc[0],
        lambda table, seen: [*table.sort_values("mean_probability")["component"][::-1], None][len(seen)],
    ],
}
