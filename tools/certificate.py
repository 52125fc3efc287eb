#!/usr/bin/env python3
"""How well certificates hold on a real model: calibrates the estimate's factor on one text, checks it on others.

    tools/certificate.py CALIBRATION.csv HELD_OUT.csv...

The files are the output of the program certificate_rows (cmake --build build --target certificate_rows). Prints the factor
for 95 % of the calibration's rows and, for each file, what the certificate says beside what is true.
"""
import csv
import math
import sys

PROBABILITY = 0.95


def rows_of(path):
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def quantile(values, share):
    values = sorted(values)
    return values[min(int(len(values) * share), len(values) - 1)]


def ratios(rows):
    return [row["relative_error"] / row["raw_estimate"] for row in rows if row["raw_estimate"] > 0]


def report(path, rows, factor):
    covered = sum(row["relative_error"] <= factor * row["raw_estimate"] for row in rows) / len(rows)
    finite = [row["relative_bound"] for row in rows if math.isfinite(row["relative_bound"])]
    bounds = [row["error_bound"] / row["error"] for row in rows if row["error"] > 0]
    broken = sum(row["error_bound"] < row["error"] * (1 - 1e-5) for row in rows)
    print("%s: %d rows" % (path, len(rows)))
    print("  true relative error: median %.4f, 95 %% %.4f" % (quantile([r["relative_error"] for r in rows], 0.5),
                                                            quantile([r["relative_error"] for r in rows], 0.95)))
    print("  estimate: covers %.2f %% of the rows, median %.1f times the true error" % (
        100 * covered, quantile([factor * row["raw_estimate"] / row["relative_error"] for row in rows
                                 if row["relative_error"] > 0], 0.5)))
    print("  bound: violated %d times, median %.1f times the true error, relative bound finite in %.2f %% of the rows, "
          "below 2 max |value| in %.1f %%, below half of that in %.1f %%" % (
              broken, quantile(bounds, 0.5), 100 * len(finite) / len(rows),
              100 * sum(row["error_bound"] < row["trivial"] for row in rows) / len(rows),
              100 * sum(row["error_bound"] < row["trivial"] / 2 for row in rows) / len(rows)))
    for quality in (0.1, 0.03, 0.01):
        share = sum(factor * row["raw_estimate"] > quality for row in rows) / len(rows)
        print("  quality=%g: %.1f %% of the rows would read more" % (quality, 100 * share))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    calibration = rows_of(sys.argv[1])
    factor = quantile(ratios(calibration), PROBABILITY)
    print("factor for %.0f %%: %.3f" % (100 * PROBABILITY, factor))
    report(sys.argv[1], calibration, factor)
    for path in sys.argv[2:]:
        report(path, rows_of(path), factor)


if __name__ == "__main__":
    main()
