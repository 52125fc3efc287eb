#!/usr/bin/env python3
"""How well certificates hold on a real model: calibrates the estimate's factor on one text, checks it on others.

    tools/certificate.py CALIBRATION.csv HELD_OUT.csv...
    tools/certificate.py --shipped ROWS.csv...

The files are the output of the program certificate_rows (cmake --build build --target certificate_rows). Prints the factor
for 95 % of the calibration's rows (with --shipped: takes the library's) and, for each file, what the certificate says beside
what is true: of all rows and of the layer where it holds worst.
"""
import csv
import math
import os
import re
import sys

PROBABILITY = 0.95
TINY = 1e-4  # relative errors below it are roundings
HEADER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src", "attention", "certify.h")


def rows_of(path):
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def quantile(values, share):
    values = sorted(values)
    return values[min(int(len(values) * share), len(values) - 1)]


def ratios(rows):
    return [row["relative_error"] / row["raw_estimate"] for row in rows if row["raw_estimate"] > 0]


def shipped_factor():
    with open(HEADER, encoding="utf-8") as file:
        return float(re.search(r"#define FV_CERTIFICATE_FACTOR ([\d.]+)f", file.read()).group(1))


def worst_layer(rows, share_of):
    """The layer with the largest share, and that share."""
    layers = {row["layer"] for row in rows}
    return max((share_of([row for row in rows if row["layer"] == layer]), int(layer)) for layer in layers)


def above_estimate(rows, factor):
    return sum(row["relative_error"] > max(TINY, factor * row["raw_estimate"]) for row in rows) / len(rows)


def above_quality(rows, factor, quality):
    """Rows whose estimate says that `quality` is kept, so that no more is read, and whose error is above it."""
    return sum(factor * row["raw_estimate"] <= quality < row["relative_error"] for row in rows) / len(rows)


def report(path, rows, factor):
    finite = [row["relative_bound"] for row in rows if math.isfinite(row["relative_bound"])]
    bounds = [row["error_bound"] / row["error"] for row in rows if row["error"] > 0]
    broken = sum(row["error_bound"] < row["error"] * (1 - 1e-5) for row in rows)
    print("%s: %d rows" % (path, len(rows)))
    print("  true relative error: median %.4f, 95 %% %.4f" % (quantile([r["relative_error"] for r in rows], 0.5),
                                                            quantile([r["relative_error"] for r in rows], 0.95)))
    print("  estimate: covers %.2f %% of the rows, median %.1f times the true error" % (
        100 * (1 - above_estimate(rows, factor)), quantile([factor * row["raw_estimate"] / row["relative_error"] for row in rows
                                 if row["relative_error"] > 0], 0.5)))
    above, layer = worst_layer(rows, lambda some: above_estimate(some, factor))
    print("  worst layer %d: covers %.2f %%" % (layer, 100 * (1 - above)))
    print("  bound: violated %d times, median %.1f times the true error, relative bound finite in %.2f %% of the rows, "
          "below 2 max |value| in %.1f %%, below half of that in %.1f %%" % (
              broken, quantile(bounds, 0.5), 100 * len(finite) / len(rows),
              100 * sum(row["error_bound"] < row["trivial"] for row in rows) / len(rows),
              100 * sum(row["error_bound"] < row["trivial"] / 2 for row in rows) / len(rows)))
    for quality in (0.1, 0.03, 0.01):
        share = sum(factor * row["raw_estimate"] > quality for row in rows) / len(rows)
        above, layer = worst_layer(rows, lambda some: above_quality(some, factor, quality))
        print("  quality=%g: %.1f %% of the rows would read more, %.2f %% do not and are above; in layer %d, the worst, %.2f %%" % (
            quality, 100 * share, 100 * above_quality(rows, factor, quality), layer, 100 * above))


def main():
    shipped = sys.argv[1:2] == ["--shipped"]
    paths = sys.argv[2 if shipped else 1:]
    if not paths:
        sys.exit(__doc__)
    factor = shipped_factor() if shipped else quantile(ratios(rows_of(paths[0])), PROBABILITY)
    print("factor of the library: %g" % factor if shipped else "factor for %.0f %%: %.3f" % (100 * PROBABILITY, factor))
    for path in paths:
        report(path, rows_of(path), factor)


if __name__ == "__main__":
    main()
