"""Logs of trainings, as DLLogger writes them."""

import json


def write_log(path, *events, tail=""):
    """Write the events (dicts, "type" LOG unless they say otherwise) and what a killed run leaves; return the path."""
    lines = ["DLLL " + json.dumps(dict({"type": "LOG"}, **event)) + "\n" for event in events]
    path.write_text("".join(lines) + tail)
    return str(path)


def epoch(step, **data):
    """The event of an epoch's metrics."""
    return {"step": step, "data": data}
