"""A tracker for CVAT's agents, which need no server of functions: a machine of yours asks CVAT for work.

    pip install cvat-cli trk-engine[cpu]
    cvat-cli function create-native "trk" --function-file cvat_agent.py -p bundle=str:my.trk      # prints an ID
    cvat-cli function run-agent ID --function-file cvat_agent.py -p bundle=str:my.trk

`-p ...` may be left out: then it is the default bundle. CVAT's interface: cvat_sdk.auto_annotation.TrackingFunction.
"""

import cvat_sdk.auto_annotation as cvat
import numpy as np

import trk


class TrackingFunction:
    """Follows rectangles. A state lives in the agent, which hands it back with the next picture."""

    spec = cvat.TrackingFunctionSpec(supported_shape_types=["rectangle"])

    def __init__(self, tracker: trk.Tracker):
        self._tracker = tracker

    def preprocess_image(self, context, image):
        """The picture once for all its shapes: BGR, as trk has it."""
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])

    def init_tracking_state(self, context, pp_image, shape):
        left, top, right, bottom = shape.points
        self._tracker.init(pp_image, (left, top, right - left, bottom - top))
        return self._tracker.state

    def track(self, context, pp_image, state):
        """The rectangle in this picture; None where the target is lost."""
        self._tracker.state = state
        result = self._tracker.update(pp_image)
        x, y, w, h = result.box
        return None if result.lost else cvat.TrackableShape(type="rectangle", points=[x, y, x + w, y + h])


def create(bundle: str | None = None) -> TrackingFunction:
    """Called by cvat-cli with what `-p` says."""
    return TrackingFunction(trk.Tracker(bundle))
