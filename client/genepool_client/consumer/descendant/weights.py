"""The tensors of a verified folder, for torch; timm is not needed to look at them."""

import numpy as np
import torch

from genepool_client.consumer.descendant.folder import read_small, tampered
from genepool_client.consumer.descendant.verify import Descendant
from genepool_protocol.learngene import descendant, tensors
from genepool_protocol.selection import net
from genepool_protocol.trust import digest


def read_weights(verified: Descendant) -> net.Weights:
    """The tensors of model.safetensors by timm's names, without the zero head.

    Raises:
        VerificationError: FOLDER_TAMPERED, the bytes are not those that were verified.
    """
    layout = descendant.layout(verified.blueprint, verified.lineage.size)
    path = verified.folder / descendant.MODEL_FILE
    raw = read_small(path, descendant.total_bytes(verified.blueprint, verified.lineage.size))
    if digest.sha256_hex(raw) != verified.lineage.model:
        raise tampered(f"{path} changed after it was verified", "verify the folder again")
    header = tensors.parse_header(raw, len(raw), max_size=len(raw))
    values = np.frombuffer(raw, dtype="<f4", offset=header.length)
    return {
        name: torch.from_numpy(values[tensor.begin // 4 : tensor.end // 4].reshape(layout[name]).astype(np.float32))
        for name, tensor in header.tensors.items()
        if not name.startswith("head.")
    }
