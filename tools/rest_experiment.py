#!/usr/bin/env python3
"""What could stand for the keys that were not chosen, at equal bytes: forms fitted on one text and judged on another.

    rows_dump MODEL TEXT CONTEXT SKIP STEP FIRST FOLDER LAYER...    (tests/certificate/rows_dump.c; once for each text)
    tools/rest_experiment.py FITTED_FOLDER JUDGED_FOLDER [--every N]

Prints a Markdown table: squared error of attention's output over its square, mean over rows and heads, of the judged text.
A row reads sinks, window, the pages that weigh most by 2-bit codes, and in place of some of these what its form wants: all
forms of a line of budget read as many bytes as "nothing". Wants numpy.
"""
import argparse
import concurrent.futures
import os
import struct

import numpy as np

PAGE, WINDOW = 16, 128
PAGE_BYTES, KEY_BYTES, VALUE_BYTES = 4096, 256, 128  # f16, head_dim 64, keys and values; of one token; of its value
BUDGETS = (0.08, 0.12, 0.16)
BITS_BYTES = {2: 288, 3: 416, 4: 544, 8: 1056, 16: 2048}  # a page's values: codes and a bf16 step a token
NOISES = (-1.0, -0.5, 0.0, 0.5, 1.0)  # halves of the variance of a score's error that are taken off it
GAINS = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of what stands for the rest


def load(folder):
    """Rows (layer, kv head, position, queries) and {(layer, head): keys and values}."""
    def kv_of(layer, head):
        flat = np.fromfile(os.path.join(folder, "kv_%d_%d.bin" % (layer, head)), np.float32)
        return flat.reshape(2, -1, 64)

    with open(os.path.join(folder, "q.bin"), "rb") as file:
        raw = file.read()
    layer, head = struct.unpack_from("2i", raw)
    size = 12  # of a record: the queries of a group follow three numbers; the next record begins with the same layer
    while size < len(raw) and struct.unpack_from("3i", raw, size)[0] != layer:
        size += 64 * 4
    rows = []
    for at in range(0, len(raw), size):
        layer, head, position = struct.unpack_from("3i", raw, at)
        rows.append((layer, head, position, np.frombuffer(raw, np.float32, size // 4 - 3, at + 12).reshape(-1, 64)))
    return rows, {(layer, head): kv_of(layer, head) for layer, head in {row[:2] for row in rows}}


def rotation():
    h = np.ones((1, 1))
    while len(h) < 64:
        h = np.block([[h, h], [h, -h]])
    return (np.diag(np.random.default_rng(1).choice([-1, 1], 64)) @ h / 8).astype(np.float32)


def coded(x, bits):
    """Rotated vectors in so many bits a channel, a step each that least squares give for the best of some first steps."""
    if bits == 16:
        return x
    most, best, least = (2 ** bits - 1) / 2, None, np.full((len(x), 1), np.inf)
    rms = np.sqrt((x * x).mean(1, keepdims=True)) + 1e-20
    for reach in {2: (2.0,), 3: (2.1, 2.6, 3.2), 4: (2.4, 2.9, 3.5), 8: (4.0, 5.0)}[bits]:
        level = np.clip(np.floor(x / (rms * reach / (most + 0.5))) + 0.5, -most, most)
        step = (x * level).sum(1, keepdims=True) / (level * level).sum(1, keepdims=True)
        error = ((x - level * step) ** 2).sum(1, keepdims=True)
        best = np.where(error < least, level * step, 0 if best is None else best)
        least = np.minimum(error, least)
    return best.astype(np.float32)


def in_bytes(x):
    top = np.abs(x).max(-1, keepdims=True) + 1e-20
    return np.round(x / top * 127) * top / 127


class Head:
    """One KV head as it is stored, rotated."""

    def __init__(self, kv, turn):
        self.keys, self.values = kv[0] @ turn, kv[1] @ turn
        means = self.keys.reshape(-1, 64, 64).mean(1)
        centre = np.vstack([np.zeros((1, 64), np.float32), means[:-1]]).repeat(64, 0)
        self.key_codes = centre + coded(self.keys - centre, 2)
        self.noise = ((self.keys - self.key_codes) ** 2).mean(1)  # a token's step tells it: some hundredths off
        self.fine_keys = centre + coded(self.keys - centre, 4)
        pages = self.keys.reshape(-1, PAGE, 64)
        self.means = in_bytes(pages.mean(1))
        self.radii = np.sqrt(((pages - pages.mean(1, keepdims=True)) ** 2).sum(2).mean(1))
        self.value_means = in_bytes(self.values.reshape(-1, PAGE, 64).mean(1))
        self.codes = {bits: coded(self.values, bits) for bits in BITS_BYTES}
        self.running = np.cumsum(self.values, 0, dtype=np.float64)


def mass_of(score):
    top = score.max(-1, keepdims=True)
    return (top + np.log(np.exp(score - top).sum(-1, keepdims=True)))[..., 0]


def share_of(mass):
    weight = np.exp(mass - mass.max(1, keepdims=True))
    return (weight / weight.sum(1, keepdims=True)).max(0)


class Row:
    """A row, all that is read of it, and the error of what is put in the place of the rest."""

    def __init__(self, head, position, query, turn, cascade, seed):
        self.head, self.position = head, position
        self.random = np.random.default_rng(seed)
        query = query @ turn
        self.visible, self.pages, self.window = position + 1, position // PAGE, (position + 1 - WINDOW) // PAGE
        self.score = query @ head.keys[:self.visible].T / 8
        self.top = self.score.max(1, keepdims=True)
        self.weight = np.exp(self.score - self.top)
        self.dense = self.weight @ head.values[:self.visible] / self.weight.sum(1, keepdims=True)
        self.square = (self.dense ** 2).sum(1)
        rounded = in_bytes(query)
        self.guess = rounded @ head.key_codes[:self.pages * PAGE].T / 8
        self.fine = rounded @ head.fine_keys[:self.pages * PAGE].T / 8
        self.halves = (query ** 2).sum(1, keepdims=True) / 64 * head.noise[:self.pages * PAGE] / 2
        self.best = share_of(mass_of(self.guess.reshape(len(query), -1, PAGE)))
        reach = 1.5 / 64 * np.sqrt((query ** 2).sum(1, keepdims=True))
        self.first = share_of(rounded @ head.means[:self.pages].T / 8 + reach * head.radii[:self.pages])
        self.cascade = cascade

    def begin(self, budget):
        """How many pages may be chosen, if nothing else is read; the pages that may be, best first."""
        self.allowance = int(budget * self.visible) // PAGE - 1 - (self.pages + 1 - self.window)
        order = np.arange(1, self.window)
        self.by_means = order[np.argsort(-self.first[order], kind="stable")]
        if self.cascade and self.allowance > 0:
            self.looked_at(2 * self.allowance + self.pages // 8)
        else:
            self.looked_at(len(order))
        return self.allowance

    def looked_at(self, width):
        order = np.sort(self.by_means[:width])
        self.order = order[np.argsort(-self.best[order], kind="stable")]
        self.bytes = (18 + 72 * self.cascade) * self.pages + 288 * (len(order) + 1 + self.pages - self.window)

    def read(self, count, tokens=()):
        """Sums over what is read exactly: sinks, window, the best `count` pages, some tokens."""
        self.taken = np.zeros(self.visible, bool)
        self.taken[:PAGE] = self.taken[self.window * PAGE:] = True
        for page in self.order[:count]:
            self.taken[page * PAGE:page * PAGE + PAGE] = True
        self.taken[list(tokens)] = True
        weight = self.weight[:, self.taken]
        self.above, self.below = weight @ self.head.values[:self.visible][self.taken], weight.sum(1, keepdims=True)

    def error(self, above, below):
        return (((above / below - self.dense) ** 2).sum(-1) / self.square)

    def errors(self, above, below):
        """[heads][noises][gains]; above [noises][heads][64], below [noises][heads][1]."""
        return np.stack([np.stack([self.error(self.above + gain * a, self.below + gain * b) for gain in GAINS], -1)
                         for a, b in zip(above, below)], 1)

    def guesses(self, tokens, fine=False):
        """Weights by the codes, for each noise."""
        if fine:
            return [np.exp(self.fine[:, tokens] - self.top)] * len(NOISES)
        return [np.exp(np.minimum(self.guess[:, tokens] - noise * self.halves[:, tokens] - self.top, 40)) for noise in NOISES]

    def nothing(self):
        self.read(self.allowance)
        return self.errors([0 * self.above] * len(NOISES), [0 * self.below] * len(NOISES))

    def pages_left(self, count, most=None):
        return self.order[count:] if most is None else self.order[count:count + most]

    def coded_rest(self, bits, part, fine=False, count=None):
        """Values in few bits, weights by the codes of keys. part: of the pages that could be read, those given up for it;
        None: as many as it takes to cover all candidates. fine: two more bits of the keys are read."""
        cost = (BITS_BYTES[bits] + 256 * fine) / PAGE_BYTES
        most = None
        if part:
            count = self.allowance - int(round(part * self.allowance))
            most = int((self.allowance - count) / cost)
        elif count is None:
            count = self.allowance - int(np.ceil((len(self.order) - self.allowance) * cost / (1 - cost)))
        if count < 0 or count == self.allowance:
            return None
        self.read(count)
        tokens = (self.pages_left(count, most)[:, None] * PAGE + np.arange(PAGE)).ravel()
        weights = self.guesses(tokens, fine)
        values = self.head.codes[bits][tokens]
        return self.errors([w @ values for w in weights], [w.sum(1, keepdims=True) for w in weights])

    def wider_rest(self, part):
        """Values in 2 bits for all candidates of a cascade, of which there are more: for these their keys' codes are read too."""
        before, cost = self.order, 288 / PAGE_BYTES
        count = self.allowance - int(round(part * self.allowance))
        more = int(((self.allowance - count) / cost - (len(before) - count)) / 2)
        if not self.cascade or more <= 0:
            return None
        self.looked_at(len(before) + more)
        errors = self.coded_rest(2, None, count=count)
        self.looked_at(len(before))
        return errors

    def mean_rest(self):
        """A page's mean value (8 bits a channel), its mass by the codes of keys, for all candidates."""
        cost = 68 / PAGE_BYTES
        count = self.allowance - int(np.ceil((len(self.order) - self.allowance) * cost / (1 - cost)))
        if count < 0:
            return None
        self.read(count)
        pages = self.pages_left(count)
        tokens = (pages[:, None] * PAGE + np.arange(PAGE)).ravel()
        masses = [w.reshape(len(w), -1, PAGE).sum(2) for w in self.guesses(tokens)]
        values = self.head.value_means[pages]
        self.rest = [m @ values for m in masses], [m.sum(1, keepdims=True) for m in masses]
        return self.errors(*self.rest)

    def running_rest(self):
        """The mean value of all tokens so far (one vector, next to free), with the mass that the codes give the rest."""
        self.read(self.allowance)
        tokens = (self.pages_left(self.allowance)[:, None] * PAGE + np.arange(PAGE)).ravel()
        masses = [w.sum(1, keepdims=True) for w in self.guesses(tokens)]
        mean = (self.head.running[self.position] / self.visible).astype(np.float32)
        self.rest = [m * mean for m in masses], masses
        return self.errors(*self.rest)

    def single_rest(self, part):
        """The keys of unread pages that weigh most by their codes, one by one."""
        count = self.allowance - int(round(part * self.allowance))
        if count == self.allowance:
            return None
        tokens = (self.pages_left(count)[:, None] * PAGE + np.arange(PAGE)).ravel()
        weight = share_of(self.guess[:, tokens])
        best = tokens[np.argsort(-weight, kind="stable")[:(self.allowance - count) * PAGE]]
        self.read(count, best)
        return self.errors([0 * self.above] * len(NOISES), [0 * self.below] * len(NOISES))

    def value_rest(self, part):
        """Likewise, but their values only: the weights are by the codes."""
        count = self.allowance - int(round(part * self.allowance))
        if count == self.allowance:
            return None
        tokens = (self.pages_left(count)[:, None] * PAGE + np.arange(PAGE)).ravel()
        order = np.argsort(-share_of(self.guess[:, tokens]), kind="stable")
        best = tokens[order[:(self.allowance - count) * PAGE_BYTES // VALUE_BYTES]]
        self.read(count)
        weights, values = self.guesses(best), self.head.values[best]
        return self.errors([w @ values for w in weights], [w.sum(1, keepdims=True) for w in weights])

    def sampled_rest(self, part, values_only):
        """Keys of unread pages drawn with a probability like their share by the codes, systematically (strata of equal
        share in the order of the text), over that probability. values_only: the weight itself is by the codes."""
        count = self.allowance - int(round(part * self.allowance))
        if count == self.allowance:
            return None
        tokens = np.sort((self.pages_left(count)[:, None] * PAGE + np.arange(PAGE)).ravel())
        share = share_of(self.guess[:, tokens]) + 1e-9
        wanted = (self.allowance - count) * PAGE_BYTES // (VALUE_BYTES if values_only else KEY_BYTES)
        if wanted >= len(tokens):
            return None
        chance, sure = share * wanted / share.sum(), np.zeros(len(share), bool)
        for _ in range(20):  # what is surer than sure is taken, and the others share what is left
            sure |= chance >= 1
            if sure.sum() >= wanted:
                break
            chance = np.where(sure, 1.0, share * (wanted - sure.sum()) / share[~sure].sum())
        at = np.cumsum(np.minimum(chance, 1))
        drawn = np.diff(np.floor(np.concatenate([[0], at]) + self.random.random())) >= 1
        picked, over = tokens[drawn], np.minimum(chance[drawn], 1)
        self.read(count)
        if not values_only:
            weight = self.weight[:, picked] / over
            return self.errors([weight @ self.head.values[picked]] * len(NOISES), [weight.sum(1, keepdims=True)] * len(NOISES))
        weights = self.guesses(tokens)
        ratio = [w[:, drawn] / over for w in weights]
        mean = [(r @ self.head.values[picked]) / r.sum(1, keepdims=True) for r in ratio]
        below = [w.sum(1, keepdims=True) for w in weights]
        return self.errors([m * b for m, b in zip(mean, below)], below)

    def page_sampled_rest(self):
        """One key of each unread candidate page, drawn evenly, with sixteen times its weight."""
        cost = KEY_BYTES / PAGE_BYTES
        count = self.allowance - int(np.ceil((len(self.order) - self.allowance) * cost / (1 - cost)))
        if count < 0:
            return None
        pages = self.pages_left(count)
        picked = pages * PAGE + self.random.integers(0, PAGE, len(pages))
        self.read(count)
        weight = self.weight[:, picked] * PAGE
        return self.errors([weight @ self.head.values[picked]] * len(NOISES), [weight.sum(1, keepdims=True)] * len(NOISES))


FORMS = {"nothing": lambda row: row.nothing()}
for bits in (2, 3, 4):
    FORMS["V in %d bits, all candidates" % bits] = lambda row, bits=bits: row.coded_rest(bits, None)
for bits, parts in ((2, (0.08, 0.15, 0.3, 0.5)), (3, (0.15, 0.3)), (4, (0.15, 0.3)), (8, (0.3,)), (16, (0.3,))):
    for part in parts:
        FORMS["V in %d bits, %d %% of the pages" % (bits, 100 * part)] = lambda row, bits=bits, part=part: row.coded_rest(bits, part)
for part in (0.2, 0.3, 0.5):
    FORMS["V in 2 bits, more candidates, %d %% of the pages" % (100 * part)] = lambda row, part=part: row.wider_rest(part)
for bits in (2, 4):
    FORMS["V in %d bits, K in 4, 30 %% of the pages" % bits] = lambda row, bits=bits: row.coded_rest(bits, 0.3, True)
FORMS["mean values of pages"] = lambda row: row.mean_rest()
FORMS["mean value of all tokens"] = lambda row: row.running_rest()
for part in (0.15, 0.3, 0.5, 1.0):
    FORMS["single best keys, %d %% of the pages" % (100 * part)] = lambda row, part=part: row.single_rest(part)
for part in (0.15, 0.3, 0.5):
    FORMS["single best values, %d %% of the pages" % (100 * part)] = lambda row, part=part: row.value_rest(part)
for part in (0.15, 0.3):
    FORMS["keys drawn by share, %d %% of the pages" % (100 * part)] = lambda row, part=part: row.sampled_rest(part, False)
    FORMS["values drawn by share, %d %% of the pages" % (100 * part)] = lambda row, part=part: row.sampled_rest(part, True)
FORMS["one key of each page"] = lambda row: row.page_sampled_rest()
LEARNED = ("mean values of pages", "mean value of all tokens")


def measure(folder, every):
    """{(cascade, budget, form): (heads [n][3], errors [n][noises][gains])} and, for LEARNED, what a linear map is fitted to."""
    turn, (rows, kv) = rotation(), load(folder)
    heads = {place: Head(x, turn) for place, x in kv.items()}
    found, linear = {}, {}
    for n, (layer, kv_head, position, query) in enumerate(rows):
        if position // 128 % every:
            continue
        for cascade in (False, True):
            row = Row(heads[layer, kv_head], position, query, turn, cascade, n)
            for budget in BUDGETS:
                if row.begin(budget) < 4:
                    continue
                linear.setdefault((cascade, budget), []).append(budget + row.bytes / (PAGE_BYTES * (row.pages + 1)))
                made = {form: function(row) for form, function in FORMS.items() if form not in LEARNED}
                for form in LEARNED:
                    made[form] = FORMS[form](row)
                    if made[form] is None:
                        continue
                    out, (above, below) = row.above / row.below, (row.rest[0][1], row.rest[1][1])
                    share = below / (below + row.below)
                    linear.setdefault((cascade, budget, form), []).append(
                        (layer, kv_head, share * (above / below - out), share, out, row.dense))
                for form, errors in made.items():
                    key = (cascade, budget, form)
                    names, values = found.setdefault(key, ([], []))
                    if errors is None:
                        names.append(None)
                        continue
                    names.append(n)
                    values.append((layer, kv_head, errors))
    return found, linear


def whole(entry):
    """Errors of all rows, if the form could be had in each."""
    names, values = entry
    return None if None in names else values


def fitted_all(fit, judge):
    errors = np.concatenate([e for _, _, e in fit])
    best = np.unravel_index(errors.mean(0).argmin(), errors.shape[1:])
    own = np.concatenate([e for _, _, e in judge])
    return own[:, best[0], best[1]].mean(), " [%g, %g]" % (NOISES[best[0]], GAINS[best[1]])


def fitted_heads(fit, judge):
    """A noise and a gain for each query head."""
    sums, total = {}, []
    for layer, head, errors in fit:
        sums[layer, head] = sums.get((layer, head), 0) + errors
    for layer, head, errors in judge:
        for g, own in enumerate(sums[layer, head]):
            best = np.unravel_index(own.argmin(), own.shape)
            total.append(errors[g][best])
    return np.mean(total), ""


def fitted_map(fit, judge):
    """dense - out ~ map (share * (mean - out)) + share * constant, ridge, for each KV head; the ridge is chosen on the last
    quarter of the fitted text."""
    def features(entry):
        return np.concatenate([entry[2], entry[3]], 1)

    def solve(entries, ridge):
        x = np.concatenate([features(e) for e in entries])
        scale = np.concatenate([1 / np.sqrt((e[5] ** 2).sum(1, keepdims=True)) for e in entries])
        y = np.concatenate([e[5] - e[4] for e in entries])
        x, y = x * scale, y * scale
        return np.linalg.solve(x.T @ x + ridge * np.trace(x.T @ x) / 65 * np.eye(65) + 1e-12 * np.eye(65), x.T @ y)

    def errors(entries, a):
        return [(((e[4] + features(e) @ a - e[5]) ** 2).sum(1) / (e[5] ** 2).sum(1)).mean() for e in entries]

    total = []
    for place in sorted({e[:2] for e in fit}):
        own = [e for e in fit if e[:2] == place]
        cut = len(own) * 3 // 4
        ridge = min((0.03, 0.1, 0.3, 1, 3, 10, 30, 1000), key=lambda r: np.mean(errors(own[cut:], solve(own[:cut], r))))
        total += errors([e for e in judge if e[:2] == place], solve(own, ridge))
    return np.mean(total), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fitted")
    parser.add_argument("judged")
    parser.add_argument("--every", type=int, default=1, help="of the dumped rows every N-th")
    options = parser.parse_args()
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        (fit, fit_linear), (judge, judge_linear) = pool.map(measure, (options.fitted, options.judged), [options.every] * 2)
    for cascade in (False, True):
        base = {budget: fitted_all(whole(fit[cascade, budget, "nothing"]), whole(judge[cascade, budget, "nothing"]))[0]
                for budget in BUDGETS}
        print("\n| %s | %s |" % ("candidates of a cascade" if cascade else "all pages are candidates",
                                " | ".join("%g %%, all bytes %.1f %%" % (100 * b, 100 * np.mean(judge_linear[cascade, b])) for b in BUDGETS)))
        print("|---|" + "---:|" * len(BUDGETS))
        for form in FORMS:
            ways = [("", fitted_all)]
            if form != "nothing" and "single best keys" not in form:
                ways.append((", a gain for each head", fitted_heads))
            if form in LEARNED:
                ways.append((", a linear map for each KV head", fitted_map))
            for how, fitted in ways:
                cells = []
                for budget in BUDGETS:
                    key = (cascade, budget, form)
                    a, b = (fit_linear, judge_linear) if fitted is fitted_map else (fit, judge)
                    if whole(fit[key]) is None or whole(judge[key]) is None:
                        cells.append("–")
                        continue
                    error = fitted(a[key], b[key]) if fitted is fitted_map else fitted(whole(a[key]), whole(b[key]))
                    cells.append("%.4f (%+.0f %%)%s" % (error[0], 100 * (error[0] / base[budget] - 1), error[1]))
                print("| %s%s | %s |" % (form, how, " | ".join(cells)))


if __name__ == "__main__":
    main()
