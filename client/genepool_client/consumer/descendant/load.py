"""From a verified folder to a timm Vision Transformer, every tensor accounted for.

timm loads non-strictly as soon as another number of classes is asked for, and only logs what it lacks. So names and
shapes are held against the blueprint here, and the net is loaded strictly; only a head may be fresh.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import timm
import torch
from safetensors import SafetensorError
from timm.models.vision_transformer import VisionTransformer

from genepool_client.consumer.descendant import head_file
from genepool_client.consumer.descendant.head import Head
from genepool_client.consumer.descendant.verify import Descendant
from genepool_client.consumer.descendant.weights import read_weights
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.trust import strict_json
from genepool_protocol.wire.errors import InvalidInput

_OS_ERROR: Final = re.compile(r"os error (\d+)")


def load(verified: Descendant, num_classes: int | None = None) -> VisionTransformer:
    """The net of a verified folder, in eval mode on the CPU; its lineage is the attribute `genepool`.

    Args:
        verified: from `verify`; its bytes are hashed once more as they are loaded.
        num_classes: of the head; by default that of head.safetensors, or 0 (pooled features) when there is none.

    Returns:
        A timm VisionTransformer. The closed-form head is used where it has so many classes; another head is fresh.

    Raises:
        VerificationError: FOLDER_TAMPERED, the folder changed since it was verified.
        InvalidInput: ARCH_MISMATCH, timm builds another net than the blueprint describes.
    """
    classes = len(verified.classes) if num_classes is None else num_classes
    model = empty(verified.blueprint, verified.lineage.size, classes, verified.classes)
    head: Head | None = None
    if classes and classes == len(verified.classes):
        head = head_file.read(verified.folder, verified.blueprint.width(verified.lineage.heads)).head
    put_weights(model, read_weights(verified), head)
    model.genepool = verified.lineage
    return model.eval()


def empty(blueprint: Blueprint, size: Size, classes: int, names: Sequence[str] = ()) -> VisionTransformer:
    """Timm's net of that size with timm's own initialization, and a pretrained_cfg that tells how to prepare images.

    Args:
        blueprint: the family.
        size: depth and heads.
        classes: of the head; 0: pooled features.
        names: of the classes, when there are as many.
    """
    config = strict_json.loads(descendant.config_json(blueprint, size), max_bytes=1 << 16, what="config", floats=True)
    stated = config["pretrained_cfg"].items()
    pretrained: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stated}
    pretrained["num_classes"] = classes
    if len(names) == classes and classes:
        pretrained["label_names"] = list(names)
    return timm.create_model(
        descendant.TIMM_ARCHITECTURE,
        pretrained=False,
        pretrained_cfg=pretrained,
        num_classes=classes,
        **descendant.model_args(blueprint, size),
    )


def put_weights(model: VisionTransformer, body: Mapping[str, torch.Tensor], head: Head | None) -> None:
    """Load a net strictly: exactly these names and shapes; without a head, the net's own stays.

    Raises:
        InvalidInput: ARCH_MISMATCH.
    """
    own = model.state_dict()
    state = {**{name: tensor for name, tensor in own.items() if name.startswith("head.")}, **body}
    if head is not None:
        state["head.weight"], state["head.bias"] = (torch.from_numpy(np.array(a)) for a in (head.weight, head.bias))
    expected, given = ({name: tuple(tensor.shape) for name, tensor in d.items()} for d in (own, state))
    if expected != given:
        differing = min(set(expected.items()) ^ set(given.items()))[0]
        raise InvalidInput(
            "ARCH_MISMATCH",
            f"timm {timm.__version__} builds another net than the descendant is: {differing} differs",
            "install a version of timm from 1.0.20 on, or report this",
        )
    model.load_state_dict(state, strict=True)


def save(model: VisionTransformer, folder: Path, blueprint: Blueprint, size: Size) -> None:
    """Write a net of a descendant's architecture as a folder that stock timm loads.

    Raises:
        OSError: the disk.
    """
    from timm.models import save_for_hf

    try:
        save_for_hf(model, str(folder), model_args=descendant.model_args(blueprint, size), safe_serialization=True)
    except SafetensorError as exc:  # which has the system's number in its text alone
        number = _OS_ERROR.search(str(exc))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder / descendant.MODEL_FILE)) from exc
    # safetensors keeps what it writes to its owner; a model is for whoever may read the folder
    (folder / descendant.MODEL_FILE).chmod(0o644)
