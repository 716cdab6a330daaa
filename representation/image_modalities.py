"""The images that every task offers."""

from __future__ import annotations

from vtenv.modalities import Modality
from vtenv.sensing.images import MAX_DEPTH
from vtenv.tasks.insertion.scene import GEL_THICKNESS

IMAGE_MODALITIES: dict[str, Modality] = {
    modality.key: modality
    for modality in (
        Modality(
            "depth",
            "Depth",
            "m",
            (1,),
            0.0,
            MAX_DEPTH,
            size_setting="image_size",
            encoded_range=(0.25, 0.45),
            missing_at_zero=True,
        ),
        Modality(
            "contact",
            "Contact",
            "1",
            (2,),
            0,
            1,
            "uint8",
            size_setting="contact_size",
            encoded_range=(0.0, 1.0),
        ),
        Modality(
            "gel",
            "Indentation",
            "mm",
            (2,),
            0.0,
            GEL_THICKNESS * 1e3,
            size_setting="contact_size",
            encoded_range=(0.0, 2.0),
        ),
    )
}
"""By key."""
