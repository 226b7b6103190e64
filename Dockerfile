# Any NGC TensorFlow 1 container: 20.06-tf1-py3 as published with the recipe; 23.03-tf1-py3, the last one, for Ampere and
# Hopper GPUs:
#   docker build --build-arg FROM_IMAGE_NAME=nvcr.io/nvidia/tensorflow:23.03-tf1-py3 -t vnet_tf .
ARG FROM_IMAGE_NAME=nvcr.io/nvidia/tensorflow:20.06-tf1-py3
FROM ${FROM_IMAGE_NAME}

WORKDIR /workspace/vnet_tf

# What the image lacks. Its TensorFlow, NumPy and Horovod are built for its GPU libraries and stay as they are.
COPY requirements.txt .
RUN python -m pip install --no-cache-dir -r requirements.txt

COPY . .
