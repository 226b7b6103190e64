"""How many channels V-Net's first convolution gives; each level doubles them. Known without loading TensorFlow."""

BASE_FILTERS = 16
