"""Cases through the network, and its probabilities back on each scan's grid as a mask in a file.

Batch sizes of prediction and the clearing of stray parts live here too.
The windows that a large case is cut into are in `utils/sampling`, the scores of masks in `utils/evaluation`.
"""
