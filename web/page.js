"use strict";
// Boxes are x, y, w, h in the video's own pixels everywhere; the canvas is as large as the video and scaled by CSS.

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") || "";
// The colours of the annotated video (video/draw.py, PALETTE), as CSS has them.
const PALETTE = ["#44de5e", "#3caaff", "#ffc83c", "#dc6ef0", "#3cdcd2", "#ff8c50", "#9678ff", "#a0dc96"];
const LOST = "#ff6042";
const SMALLEST = 4; // screen pixels: less is a click, not a box
const STATES = {
  choosing: "ready", running: "tracking", paused: "paused", done: "finished", failed: "failed",
  connecting: "connecting", disconnected: "disconnected",
};
const NAMES = {
  "boxes.csv": "CSV", "boxes.json": "JSON", "boxes.jsonl": "JSON lines", "boxes.mot.txt": "MOT",
  "boxes.coco.json": "COCO", "video.mp4": "Video (MP4)",
};

const canvas = $("picture"), pen = canvas.getContext("2d");
let about = null, status = null, picture = null, moments = [], socket = null;
let drawing = null, redraw = null, retry = 500;

const colour = (id) => PALETTE[(id - 1) % PALETTE.length];
const editable = () => status && (status.state === "choosing" || status.state === "paused");
const send = (command) => { if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command)); };

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/live?token=${encodeURIComponent(token)}`);
  socket.binaryType = "blob";
  socket.onmessage = async (event) => {
    if (typeof event.data !== "string") return show(event.data);
    const message = JSON.parse(event.data);
    if (message.type === "hello") greet(message);
    else if (message.type === "status") update(message);
    else if (message.type === "error") complain(message.message);
  };
  socket.onopen = () => { retry = 500; complain(""); };
  socket.onclose = () => {
    showState("disconnected");
    complain("No connection to trk-run. Nothing is lost while it runs; this page tries again by itself.");
    for (const id of ["run", "pause"]) $(id).disabled = true;
    setTimeout(connect, retry);
    retry = Math.min(retry * 2, 8000);
  };
}

function greet(hello) {
  about = hello;
  document.title = `${hello.video} · trk`;
  $("video").textContent = hello.video;
  $("video").title = hello.video;
  $("about").textContent = `${hello.width}×${hello.height} · ${hello.model}` + (hello.weights === "random" ? " (random weights: it tracks nothing)" : "") + ` · ${hello.backend}`;
  canvas.width = hello.width;
  canvas.height = hello.height;
  canvas.style.setProperty("--aspect", hello.width / hello.height);
  $("downloads").replaceChildren(...hello.downloads.map((name) => {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = `download/${name}?token=${encodeURIComponent(token)}`;
    link.download = "";
    link.textContent = NAMES[name] || name;
    item.append(link);
    return item;
  }));
}

function update(message) {
  moments.length = message.first;
  for (const moment of message.moments) moments.push(moment);
  status = message;
  if (message.state === "done" || message.state === "failed") redraw = null;
  if (redraw !== null && !message.targets.some((target) => target.id === redraw)) redraw = null;
  showState(message.state);
  $("run").textContent = message.state === "choosing" ? "Start" : "Resume";
  $("run").disabled = !editable() || !message.targets.length;
  $("pause").disabled = message.state !== "running";
  $("pause").classList.toggle("primary", message.state === "running");
  $("run").classList.toggle("primary", message.state !== "running");
  $("frame").textContent = about.last === null ? message.frame : `${message.frame} / ${lastFrame()}`;
  $("time").textContent = `${message.time.toFixed(2)} s`;
  $("fps").textContent = message.fps === null ? "–" : `${message.fps.toFixed(message.fps < 10 ? 1 : 0)} FPS`;
  if (message.state === "failed") complain(message.message);
  listTargets();
  for (const link of $("downloads").querySelectorAll("a")) link.setAttribute("aria-disabled", String(!moments.length));
  paint();
  paintScores();
}

function showState(state) {
  $("state").textContent = STATES[state];
  $("state").dataset.state = state;
  document.querySelector(".frame").classList.toggle("viewing", !editable());
  $("hint").textContent = state === "choosing" && status && !status.targets.length ? "Draw a box around the target"
    : state === "paused" && redraw !== null ? `Draw target ${redraw} anew`
    : state === "done" && about.seekable ? "Go back on the timeline to put a target right" : "";
}

function complain(text) { $("error").textContent = text; $("error").hidden = !text; }

async function show(blob) {
  const image = await createImageBitmap(blob);
  if (picture) picture.close();
  picture = image;
  paint();
}

function paint() {
  if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const unit = canvas.width / (canvas.clientWidth || canvas.width); // video pixels in a screen pixel
  for (const target of status ? status.targets : []) {
    const words = `${target.id}` + (target.lost ? "  lost" : "") + sureness(target);
    outline(target.box, target.lost ? LOST : colour(target.id), unit, words, target.lost, target.id === redraw);
  }
  if (drawing && drawing.box) outline(drawing.box, redraw === null ? "#ffffff" : colour(redraw), unit, "", true, false);
}

function sureness(target) {
  if (target.confidence !== null) return `  ${Math.round(100 * target.confidence)}%`;
  return target.score === null ? "" : `  ${target.score.toFixed(2)}`;
}

function outline([x, y, w, h], tint, unit, words, dashed, faint) {
  pen.save();
  pen.globalAlpha = faint ? 0.45 : 1;
  pen.setLineDash([]);
  pen.lineWidth = 4 * unit; pen.strokeStyle = "rgb(0 0 0 / 55%)"; pen.strokeRect(x, y, w, h);
  if (dashed) pen.setLineDash([7 * unit, 5 * unit]);
  pen.lineWidth = 2 * unit; pen.strokeStyle = tint; pen.strokeRect(x, y, w, h);
  if (words) {
    pen.font = `600 ${12 * unit}px system-ui, "DejaVu Sans", sans-serif`;
    const width = pen.measureText(words).width + 10 * unit, height = 18 * unit;
    const left = Math.max(0, Math.min(x - unit, canvas.width - width));
    const top = y - height >= 0 ? y - height - unit : Math.min(y + h + unit, canvas.height - height);
    pen.fillStyle = tint; pen.fillRect(left, top, width, height);
    pen.fillStyle = "#10151a"; pen.textBaseline = "middle"; pen.fillText(words, left + 5 * unit, top + height / 2);
  }
  pen.restore();
}

function listTargets() {
  $("empty").hidden = status.targets.length > 0;
  const rows = new Map([...$("targets").children].map((row) => [Number(row.dataset.id), row]));
  for (const [id, row] of rows) if (!status.targets.some((target) => target.id === id)) row.remove();
  for (const target of status.targets) {
    const row = rows.get(target.id) || newRow(target.id);
    const score = row.querySelector(".score");
    const sure = target.confidence === null ? "" : ` · ${Math.round(100 * target.confidence)} %`;
    score.textContent = (target.lost ? "lost" : target.score === null ? "–" : target.score.toFixed(2)) + sure;
    score.title = sure && "The network's own score, and how probable it is that the box is on the target";
    score.classList.toggle("lost", target.lost);
    row.querySelector(".redraw").disabled = status.state === "done" || status.state === "failed";
    row.querySelector(".redraw").setAttribute("aria-pressed", String(redraw === target.id));
    row.title = `x ${target.box[0]}, y ${target.box[1]}, w ${target.box[2]}, h ${target.box[3]}`;
  }
}

function newRow(id) {
  const row = document.createElement("li");
  row.dataset.id = id;
  const swatch = document.createElement("span"), name = document.createElement("span"), score = document.createElement("span");
  swatch.className = "swatch"; swatch.style.background = colour(id);
  name.textContent = `Target ${id}`;
  score.className = "score";
  const actions = document.createElement("div");
  actions.className = "actions";
  const again = document.createElement("button"), away = document.createElement("button");
  again.className = "redraw"; again.textContent = "Re-draw"; again.setAttribute("aria-label", `Re-draw target ${id}`);
  again.onclick = () => {
    send({ do: "pause" });
    redraw = redraw === id ? null : id;
    showState(status.state === "running" ? "paused" : status.state);
    listTargets(); paint();
  };
  away.textContent = "Remove"; away.setAttribute("aria-label", `Remove target ${id}`);
  away.onclick = () => send({ do: "remove", target: id });
  actions.append(again, away);
  row.append(swatch, name, score, actions);
  $("targets").append(row);
  return row;
}

function at(event) {
  const place = canvas.getBoundingClientRect();
  const clamp = (value, most) => Math.max(0, Math.min(value, most));
  return [
    clamp((event.clientX - place.left) * canvas.width / place.width, canvas.width),
    clamp((event.clientY - place.top) * canvas.height / place.height, canvas.height),
  ];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary) return;
  if (status && status.state === "running") return send({ do: "pause" });
  if (!editable()) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  drawing = { from: at(event), x: event.clientX, y: event.clientY, box: null };
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing || !event.isPrimary) return;
  const [x0, y0] = drawing.from, [x1, y1] = at(event);
  drawing.box = [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)];
  paint();
});
canvas.addEventListener("pointerup", (event) => {
  if (!drawing || !event.isPrimary) return;
  const { box, x, y } = drawing;
  drawing = null;
  if (box && Math.abs(event.clientX - x) >= SMALLEST && Math.abs(event.clientY - y) >= SMALLEST) place(box);
  else paint();
});
canvas.addEventListener("pointercancel", () => { drawing = null; paint(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { drawing = null; redraw = null; if (status) { showState(status.state); listTargets(); paint(); } }
  if (event.key === " " && (event.target === document.body || event.target === canvas)) {
    event.preventDefault();
    if (!$("pause").disabled) $("pause").click(); else if (!$("run").disabled) $("run").click();
  }
});

function place(box) {
  complain("");
  const command = { do: "place", box };
  if (redraw !== null) command.target = redraw;
  redraw = null;
  send(command);
}

$("run").onclick = () => { complain(""); redraw = null; send({ do: "run" }); };
$("pause").onclick = () => send({ do: "pause" });
$("typed").onsubmit = (event) => {
  event.preventDefault();
  place(["x", "y", "w", "h"].map((name) => Number(event.target.elements[name].value)));
};

const scores = $("scores");
const firstFrame = () => (about && about.last !== null ? about.first : moments.length ? moments[0][0] : 0);
const lastFrame = () => Math.max(about && about.last !== null ? about.last : 0, status ? status.frame : 0, firstFrame() + 1);
const LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 18;

function paintScores() {
  const ratio = window.devicePixelRatio || 1, width = scores.clientWidth, height = scores.clientHeight;
  if (scores.width !== Math.round(width * ratio)) scores.width = Math.round(width * ratio);
  if (scores.height !== Math.round(height * ratio)) scores.height = Math.round(height * ratio);
  const ink = scores.getContext("2d"), style = getComputedStyle(document.documentElement);
  const quiet = style.getPropertyValue("--quiet"), line = style.getPropertyValue("--line");
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  ink.clearRect(0, 0, width, height);
  const last = lastFrame(), first = firstFrame();
  const lines = new Map();
  let most = 1;
  for (const [frame, targets] of moments) for (const [id, score, lost] of targets) {
    if (!lines.has(id)) lines.set(id, []);
    lines.get(id).push([frame, score, lost]);
    if (score !== null) most = Math.max(most, score);
  }
  const at = (frame) => LEFT + (width - LEFT - RIGHT) * (frame - first) / Math.max(last - first, 1);
  const up = (score) => height - BOTTOM - (height - TOP - BOTTOM) * Math.max(0, score) / most;
  ink.font = '11px system-ui, "DejaVu Sans", sans-serif';
  ink.fillStyle = quiet; ink.strokeStyle = line; ink.lineWidth = 1;
  ink.textAlign = "right"; ink.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const y = Math.round(up(share * most)) + 0.5;
    ink.beginPath(); ink.moveTo(LEFT, y); ink.lineTo(width - RIGHT, y); ink.stroke();
    ink.fillText((share * most).toFixed(most > 5 ? 0 : 1), LEFT - 6, y);
  }
  ink.textBaseline = "bottom"; ink.textAlign = "left"; ink.fillText(`frame ${first}`, LEFT, height - 1);
  ink.textAlign = "right"; ink.fillText(String(last), width - RIGHT, height - 1);
  for (const [id, points] of lines) {
    ink.strokeStyle = colour(id); ink.lineWidth = 1.8; ink.lineJoin = "round"; ink.beginPath();
    let before = null;
    for (const [frame, score] of points) {
      if (score === null) { before = null; continue; }
      if (before === null || frame - before > 1 + (points.length > 1 ? (last - first) / 50 : 0)) ink.moveTo(at(frame), up(score));
      else ink.lineTo(at(frame), up(score));
      before = frame;
    }
    ink.stroke();
    ink.fillStyle = LOST;
    for (const [frame, , lost] of points) if (lost) ink.fillRect(at(frame) - 1, height - BOTTOM, 2.5, 3);
  }
  if (status) {
    const x = at(status.frame);
    ink.strokeStyle = style.getPropertyValue("--ink"); ink.lineWidth = 1.2;
    ink.beginPath(); ink.moveTo(x, TOP - 4); ink.lineTo(x, height - BOTTOM); ink.stroke();
    scores.setAttribute("aria-valuemax", String(last));
    scores.setAttribute("aria-valuenow", String(status.frame));
    scores.setAttribute("aria-valuetext", `frame ${status.frame}`);
  }
  scores.style.cursor = about && about.seekable ? "pointer" : "default";
}

scores.addEventListener("click", (event) => {
  if (!about || !about.seekable) return;
  const place = scores.getBoundingClientRect();
  const share = (event.clientX - place.left - LEFT) / (place.width - LEFT - RIGHT);
  const first = firstFrame();
  complain("");
  send({ do: "seek", frame: Math.round(first + Math.max(0, Math.min(1, share)) * (lastFrame() - first)) });
});
scores.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowDown: -1, PageDown: -10, Home: -Infinity };
  if (!(event.key in steps) || !status || !about.seekable) return;
  event.preventDefault();
  complain("");
  send({ do: "seek", frame: Math.max(moments.length ? moments[0][0] : 0, status.frame + steps[event.key]) });
});

new ResizeObserver(() => { paint(); paintScores(); }).observe(document.querySelector(".stage"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintScores);
connect();
