"""From a case's files to the arrays that the network gets: normalised, brought to its shape, and cached on disk.

What training finds out about the cases lives here too: shapes, intensities of CT, foreground and border weights.
Reading files is in `utils/imaging`, cutting samples out of prepared cases in `utils/sampling`.
"""
