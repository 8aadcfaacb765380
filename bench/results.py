"""Figures with their goals, as they are found."""


class Results:
    def __init__(self):
        self.rows = []

    def add(self, what, value, unit, goal, met, detail=""):
        self.rows.append({"what": what, "value": round(value, 3), "unit": unit, "goal": goal, "met": met, "detail": detail})
        print(f"{'ok  ' if met else 'MISS'} {what:<58} {value:>10.3f} {unit:<6} goal {goal:<12} {detail}", flush=True)

    def at_most(self, what, value, bound, unit, detail=""):
        self.add(what, value, unit, f"<= {bound}", value <= bound, detail)

    def at_least(self, what, value, bound, unit, detail=""):
        self.add(what, value, unit, f">= {bound}", value >= bound, detail)

    def rate(self, what, ours, theirs, bound):
        """Requests a second, ours over theirs. wrk counts failed ones as well, so none may have failed on either side."""
        ratio = ours.per_second / theirs.per_second
        self.add(what, ratio, "x", f">= {bound}", ratio >= bound and ours.errors == theirs.errors == 0,
                 f"{ours.per_second:.1f} / {theirs.per_second:.1f} a second, {ours.errors} / {theirs.errors} errors")

    def note(self, what, value, unit, detail=""):
        """A figure without a goal."""
        self.rows.append({"what": what, "value": round(value, 3), "unit": unit, "goal": None, "met": None, "detail": detail})
        print(f"     {what:<58} {value:>10.3f} {unit:<6} {'':<17} {detail}", flush=True)

    def summary(self):
        met = [row["met"] for row in self.rows if row["met"] is not None]
        return f"{sum(met)} goals met, {len(met) - sum(met)} missed"
