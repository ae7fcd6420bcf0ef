import numpy as np
def test_x(border_clip, border_trk):
    from trk import Tracker
    t = Tracker(border_trk, threads=1); t.init(border_clip.frames[0], border_clip.box); print(t.state.target)
    for f in border_clip.frames[1:]:
        r=t.update(f); print([round(v,3) for v in r.box], r.score)
    border_clip.boxes_of_the_engine(border_trk)
