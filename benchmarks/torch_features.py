"""Times Inception features by pytorch-fid or torch-fidelity, in a process of its own.

Started by features.py. Their networks' classes are taken with random weights in place of the
downloaded ones: the arithmetic is the same whatever the numbers. Prints "ready", and then, for each
line it reads, the seconds and the processor seconds that the features of all images took.
"""

from __future__ import annotations

import sys
import time
from unittest import mock

import numpy as np
import torch

PEERS = ("pytorch-fid", "torch-fidelity")


def pytorch_fid():
    """uint8 (n, 3, h, w) -> pool_3 features, as ``pytorch_fid.fid_score`` computes them."""
    from pytorch_fid import inception

    with (
        mock.patch.object(inception, "load_state_dict_from_url", return_value={}),
        mock.patch.object(torch.nn.Module, "load_state_dict", return_value=None),
    ):
        network = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
    return lambda batch: network(batch.float() / 255)[0]


def torch_fidelity():
    """uint8 (n, 3, h, w) -> pool_3 features, by torch-fidelity's extractor."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with (
        mock.patch.object(module, "load_state_dict_from_url", return_value={}),
        mock.patch.object(torch.nn.Module, "load_state_dict", return_value=None),
    ):
        network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).eval()
    return lambda batch: network(batch)[0]


def main(peer: str, n: int, side: int, batch_size: int) -> None:
    network = pytorch_fid() if peer == "pytorch-fid" else torch_fidelity()
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    batches = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).split(batch_size)
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for batch in batches:
                network(batch)
        print("took", time.perf_counter() - wall, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
