"""Which frames of a video to take, in exact arithmetic: no float decides between two frames.

The frame showing at t is the last one whose presentation time is <= t, where 0 is the presentation
time of the stream's first frame.
"""

from fractions import Fraction
from math import ceil

from encoders.media.types import FramePolicy


def target_times(policy: FramePolicy, duration: Fraction, *, most: int) -> list[Fraction]:
    """0, every, 2*every ... below `duration`, in seconds.

    Where that gives more than min(policy.max, most) times, the step is widened to duration / that
    number, so that they span the whole video. A video of no duration has one time, 0.
    """
    if not policy.every > 0 or policy.max < 1 or most < 1:
        raise ValueError(f"frames need every > 0 and max >= 1, got {policy} and at most {most}")
    step = Fraction(str(policy.every))  # 0.1 means a tenth, not its binary neighbour
    count = max(1, ceil(duration / step))
    limit = min(policy.max, most)
    if count > limit:
        count, step = limit, duration / limit
    return [k * step for k in range(count)]
