"""The table of ``--exec_mode check``: a line per case."""

GAP = "  "


def table_lines(findings, structures):
    """The lines of a table of ``Finding``, heading first; numbers to the right, words to the left."""
    heading = ["case", "part", "size", "spacing mm", "axes", "intensity"]
    unit = "pixels" if any(finding.is_stack for finding in findings) else "ml (voxels)"
    heading += ["{} {}".format(structure, unit) for structure in structures] + ["what is wrong"]
    rows = [heading] + [_row(finding, len(structures)) for finding in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    return [
        GAP.join(
            cell.rjust(width) if column in range(2, len(heading) - 1) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def _row(finding, structures):
    cells = [finding.case.name, finding.part]
    if finding.size is None:
        cells += ["-"] * 4
    else:
        cells += [
            " x ".join(str(size) for size in finding.size),
            "-" if finding.is_stack else " x ".join("{:.3g}".format(spacing) for spacing in finding.spacing),
            finding.axes or "-",
            ", ".join("{:.5g} to {:.5g}".format(low, high) for low, high in finding.intensities),
        ]
    if finding.voxels is None:
        cells += ["-"] * structures
    elif finding.is_stack:
        cells += [str(count) for count in finding.voxels]
    else:
        cells += ["{:.3f} ({})".format(volume, count) for volume, count in zip(finding.volumes_ml(), finding.voxels)]
    return cells + ["; ".join(remarks(finding))]


def remarks(finding):
    """What is wrong with a case, in short: files by what they are to the case instead of by their paths."""
    return ["BAD " + _short(finding, problem) for problem in finding.problems] + list(finding.warnings)


def _short(finding, problem):
    for word, path in (("label", finding.case.label), ("image", finding.case.image)):
        if path is not None and problem.startswith(path + ": "):
            return "{}: {}".format(word, problem[len(path) + 2 :])
    return problem
