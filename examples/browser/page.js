// The page: choose a bundle and a video, draw a box, watch. The tracking is in trk.js.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { Tracker, openBundle } from "./trk.js";

ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1; // threads need these headers

const $ = (id) => document.getElementById(id);
const canvas = $("picture"), pen = canvas.getContext("2d", { willReadFrequently: true });
const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
const FRAME_MS = 33; // of a video with 30 pictures a second
let bundle = null, box = null, from = null, running = false;

const say = (text) => { $("says").textContent = text; };
const orSay = (work) => (...args) => work(...args).catch((error) => say(error.message));

$("bundle").onchange = orSay(async (event) => {
  say("Loading the bundle...");
  bundle = await openBundle(ort, await event.target.files[0].arrayBuffer());
  ready();
});

$("video").onchange = orSay(async (event) => {
  running = false;
  box = null;
  video.src = URL.createObjectURL(event.target.files[0]);
  await new Promise((resolve, reject) => {
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error("This browser can't play that video."));
  });
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  await video.play(); // a video that has never played has no picture to draw yet
  await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
  video.pause();
  video.currentTime = 0;
  await new Promise((resolve) => { video.onseeked = resolve; });
  ready();
});

function ready() {
  paint();
  $("start").disabled = !(bundle && box);
  say(!bundle ? "Choose a bundle (.trk)." : !video.videoWidth ? "Choose a video." : box ? "Press Start." : "Draw a box around the target.");
}

function paint(words = "") {
  if (video.videoWidth) pen.drawImage(video, 0, 0);
  if (!box) return;
  pen.lineWidth = Math.max(2, canvas.width / 320);
  pen.strokeStyle = "#44de5e";
  pen.strokeRect(...box);
  pen.font = `600 ${Math.max(14, canvas.width / 50)}px system-ui, sans-serif`;
  pen.fillStyle = "#44de5e";
  pen.fillText(words, box[0], Math.max(box[1] - 6, 16));
}

const at = ({ clientX, clientY }) => {
  const place = canvas.getBoundingClientRect();
  return [(clientX - place.left) * canvas.width / place.width, (clientY - place.top) * canvas.height / place.height];
};
canvas.onpointerdown = (event) => {
  if (running || !video.videoWidth) return;
  canvas.setPointerCapture(event.pointerId);
  from = at(event);
};
canvas.onpointermove = (event) => {
  if (!from) return;
  const to = at(event);
  box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])];
  paint();
};
canvas.onpointerup = () => {
  from = null;
  if (box && Math.min(box[2], box[3]) < 4) box = null;
  if (video.videoWidth) ready();
};

$("start").onclick = orSay(async () => {
  const tracker = new Tracker(bundle), picture = () => pen.getImageData(0, 0, canvas.width, canvas.height);
  running = true;
  video.playbackRate = 0.0625; // until it is known how long a picture takes
  $("start").disabled = true;
  pen.drawImage(video, 0, 0);
  await tracker.init(picture(), box);
  await video.play();
  for (let frames = 1, spent = 0; running && !video.ended; frames++) {
    await new Promise((resolve) => { video.requestVideoFrameCallback(resolve); video.onended = resolve; });
    pen.drawImage(video, 0, 0);
    const image = picture(), began = performance.now(), found = await tracker.update(image);
    spent += performance.now() - began;
    box = found.box;
    paint(found.score.toFixed(2));
    // A slow machine plays slowly: every picture left out is a jump that the tracker has to make.
    video.playbackRate = Math.min(1, Math.max(0.0625, 0.8 * FRAME_MS / (spent / frames)));
    say(`${video.currentTime.toFixed(1)} s · score ${found.score.toFixed(2)} · ${(spent / frames).toFixed(0)} ms a frame`);
  }
  running = false;
});
