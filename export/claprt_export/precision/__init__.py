"""Lower precisions: graphs in int8, float16 and bfloat16, and the measurement that admits them.

    lower           lowered graphs of a tower, each measured
    int8            linear layers of bytes
    fp16            float16 with islands of float32
    single_form     whether OpenVINO computes rightly in its form for one row
    labelled_sets   inputs that ranges are taken from, and labelled ones to measure on
    quality_gate    whether a lowered graph is good enough
    paired_test     statistics of the quality gate
    carry_over      lowered graphs and other additions, kept when a bundle is exported again

Imports `graphs`, `synthesis` and below.
"""

from claprt_export.precision.lower import Exported, Material, with_lowered

__all__ = ["Exported", "Material", "with_lowered"]
