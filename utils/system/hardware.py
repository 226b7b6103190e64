"""What this machine computes with; known without loading TensorFlow."""

import os
import platform
import re
import subprocess

from utils.system.environment import available_cores

# Those that decide how fast a network's convolutions are, slowest first.
VECTOR_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
HIDING_ALL = ("", "-1", "NoDevFiles")


def gpu_names():
    """The names of the NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves visible; empty where there is none."""
    names = _all_gpu_names()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names if visible is None else _chosen(names, visible)


def _all_gpu_names():
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
        )
    except OSError:
        return []
    # A driver that does not answer fails here, and TensorFlow finds no GPU either.
    return re.findall(r"^GPU \d+: (.+?) \(UUID", listing.stdout, re.MULTILINE) if listing.returncode == 0 else []


def _chosen(names, visible):
    """CUDA's rule: devices by number or identifier, up to the first that does not exist."""
    chosen = []
    for entry in visible.split(","):
        entry = entry.strip()
        if not names or entry in HIDING_ALL or (entry.isdigit() and int(entry) >= len(names)):
            break
        # Identifiers of GPUs and of their slices say nothing of the model; one machine has one model.
        chosen.append(names[int(entry)] if entry.isdigit() else names[0])
    return chosen


def cpu_name():
    """The processor's model, such as "Intel(R) Xeon(R) Platinum 8488C"."""
    return _first_processor("model name") or platform.processor() or platform.machine()


def vector_instructions():
    """Those of VECTOR_INSTRUCTIONS that the processor has; empty where the system does not tell."""
    known = _first_processor("flags").split()
    return [name for name in VECTOR_INSTRUCTIONS if name in known]


def _first_processor(entry):
    """What Linux says of the first processor; "" where it says nothing."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^{}\s*: (.+)$".format(entry), file.read(), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def describe():
    """The machine as a dict: "cpu" (name), "instructions", "cores" (those this process may use), "gpus" (names)."""
    return {
        "cpu": cpu_name(),
        "instructions": vector_instructions(),
        "cores": available_cores(),
        "gpus": gpu_names(),
    }


def in_words(machine):
    """What `describe` returns, as people say it."""
    cpu = "{} cores of {}".format(machine["cores"], machine["cpu"])
    if machine["instructions"]:
        cpu += " ({})".format(", ".join(machine["instructions"]))
    gpus = machine["gpus"]
    kinds = ["{} x {}".format(gpus.count(name), name) for name in sorted(set(gpus))]
    return " and ".join(kinds + [cpu])
