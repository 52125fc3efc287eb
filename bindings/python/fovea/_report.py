"""What a call of attention did, counted: the fields of fv_report, include/fovea/report.h."""
from __future__ import annotations

import dataclasses
import html


@dataclasses.dataclass(frozen=True)
class Report:
    """Counters of one call. Keys are counted per query row and KV head.

    ================= ====================================================================================
    keys_visible      keys that dense attention would read
    keys_read         of those, keys read exactly
    bytes_read        bytes of keys, values and summaries that were read (whole cache lines)
    local_keys        keys read under the model's own sliding window; not in the two above
    error_bound       certified: at least the largest difference to dense attention; NaN if not asked for
    relative_bound    the same over the root mean square of the dense output; infinity: nothing is known
    relative_estimate the same by estimate, which is no bound
    *_keys, *_rows    where keys were read for a reason; see `reasons`
    isa               number of the instruction set that ran; `fovea.isa()` has its name
    ================= ====================================================================================
    """

    isa: int
    keys_visible: int
    keys_read: int
    bytes_read: int
    local_keys: int
    error_bound: float
    selected_keys: int
    relative_bound: float
    relative_estimate: float
    certified_rows: int
    vacuous_rows: int
    whole_rows: int
    sink_keys: int
    window_keys: int
    whole_keys: int

    @property
    def density(self) -> float:
        """Share of the visible keys that was read, 0 to 1; 1 where there was nothing to read."""
        return self.keys_read / self.keys_visible if self.keys_visible else 1.0

    @property
    def bytes(self) -> int:
        """`bytes_read`."""
        return self.bytes_read

    @property
    def reasons(self) -> dict[str, int]:
        """Keys read, by reason: sinks, window, chosen by the queries, and whole rows; the rest is a pattern's strides."""
        said = {"sinks": self.sink_keys, "window": self.window_keys, "chosen": self.selected_keys, "whole": self.whole_keys}
        other = self.keys_read - sum(said.values())
        return {**said, "pattern": other} if other > 0 else said

    @property
    def estimate(self) -> float | None:
        """The estimated relative error to dense attention, None without a certificate. It is no bound."""
        return self.relative_estimate if self.certified_rows else None

    @property
    def bound(self) -> float | None:
        """At least the relative error to dense attention; infinity where nothing is known, None without a certificate."""
        return self.relative_bound if self.certified_rows else None

    def __str__(self) -> str:
        text = "read %.1f %% of the keys, %s bytes" % (100 * self.density, format(self.bytes_read, ","))
        return text if self.estimate is None else text + ", estimated relative error %.2g" % self.estimate

    def _repr_html_(self) -> str:
        """A table and a bar for notebooks."""
        total = max(self.keys_visible, 1)
        colours = {"sinks": "#b07aa1", "window": "#4e79a7", "chosen": "#f28e2b", "whole": "#76b7b2", "pattern": "#9c755f"}
        bar = "".join('<span title="%s" style="display:inline-block;height:1em;width:%.2f%%;background:%s"></span>'
                      % (name, 100 * count / total, colours[name]) for name, count in self.reasons.items() if count)
        rows = [("keys read", "%s of %s (%.1f&nbsp;%%)" % (format(self.keys_read, ","), format(self.keys_visible, ","),
                                                        100 * self.density)),
                ("bytes read", format(self.bytes_read, ","))]
        rows += [(name, format(count, ",")) for name, count in self.reasons.items() if count]
        if self.estimate is not None:
            rows.append(("estimated relative error", "%.3g" % self.estimate))
            rows.append(("bound of it", "%.3g" % self.relative_bound))
        cells = "".join("<tr><th style='text-align:left'>%s</th><td>%s</td></tr>" % (html.escape(name), value) for name, value in rows)
        return ("<div><div style='width:24em;background:#eee;line-height:1em'>%s</div><table>%s</table></div>" % (bar, cells))
