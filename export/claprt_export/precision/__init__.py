"""Lower precisions: graphs in int8, float16 and bfloat16, and the measurement that admits them."""

from claprt_export.precision.lower import Exported, Material, with_lowered

__all__ = ["Exported", "Material", "with_lowered"]
