"""An interactive tracker for CVAT, as a Nuclio function: every request brings the picture and the states.

CVAT sends {"image": base64, "shapes": [[left, top, right, bottom], ...], "states": [...]} and wants new shapes and
states back (cvat-ai/cvat:serverless, functions of kind tracker). The states are JSON, so any worker can take the next
request, after a restart too.
"""

import base64
import json
import os

import cv2
import numpy as np

import trk
from trk.engine.stateless import Step


def init_context(context):
    """Called by Nuclio once a worker. TRK_BUNDLE names a bundle; the default one is taken without."""
    context.user_data.step = Step(trk.Tracker(os.environ.get("TRK_BUNDLE")))


def handler(context, event):
    """Called by Nuclio for every frame."""
    data = event.body
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data["image"]), np.uint8), cv2.IMREAD_COLOR)
    answer = infer(context.user_data.step, image, data.get("shapes") or [], data.get("states") or [])
    return context.Response(body=json.dumps(answer), headers={}, content_type="application/json", status_code=200)


def infer(step, image, shapes, states):
    """Shapes and states of the targets in this picture; a target without a state begins with its shape."""
    answer = {"shapes": [], "states": []}
    for number, shape in enumerate(shapes):
        state = states[number] if number < len(states) else None
        if state is None:
            left, top, right, bottom = shape[:4]
            state = step.start(image, (left, top, right - left, bottom - top))
        else:
            results, state = step.run(state, [image])
            x, y, w, h = results[0].box
            shape = [x, y, x + w, y + h]
        answer["shapes"].append(list(shape))
        answer["states"].append(state)
    return answer
