// Runs a bundle in a browser with ONNX Runtime Web. The rules are the manifest's, see docs/bundle.md; a rule that only few
// models have (running sides, nested pyramids, TensorFlow's sampling, several search graphs) is refused and not guessed.
//
//   const tracker = new Tracker(await openBundle(ort, await (await fetch("my.trk")).arrayBuffer()));
//   await tracker.init(imageData, [x, y, w, h]);
//   const { box, score } = await tracker.update(nextImageData);

/** The files of a .trk: a zip whose files are stored, not compressed. */
export function filesOf(buffer) {
  const view = new DataView(buffer), files = {};
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("not a .trk: it is no zip");
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const name = new TextDecoder().decode(new Uint8Array(buffer, at + 46, view.getUint16(at + 28, true)));
    if (view.getUint16(at + 10, true) !== 0) throw new Error(`${name} is compressed: a bundle's files are stored`);
    const size = view.getUint32(at + 24, true), place = view.getUint32(at + 42, true);
    const start = place + 30 + view.getUint16(place + 26, true) + view.getUint16(place + 28, true);
    files[name] = new Uint8Array(buffer, start, size);
    at += 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return files;
}

/** Manifest and sessions of a .trk. `ort` is the module onnxruntime-web; `options` are its session options. */
export async function openBundle(ort, buffer, options = { executionProviders: ["wasm"] }) {
  const files = filesOf(buffer), manifest = JSON.parse(new TextDecoder().decode(files["bundle.json"]));
  const { geometry } = manifest;
  const known = [
    ["side", geometry.side, "derived"], ["pyramid", geometry.crop.pyramid, "direct"],
    ["sampling", geometry.crop.sampling, "resize"], ["fill_from", geometry.crop.fill_from, "first"],
    ["limits of", geometry.limits.of, "state"], ["relative_size", geometry.limits.relative_size, null],
    ["hysteresis", geometry.hysteresis, null], ["search graphs", manifest.searches.length, 1],
  ];
  for (const [rule, value, wanted] of known) {
    if (value !== wanted) throw new Error(`${rule} = ${JSON.stringify(value)} is not in this example`);
  }
  const load = (graph) => ort.InferenceSession.create(files[graph.file], {
    ...options, externalData: graph.external.map((path) => ({ path, data: files[path] })),
  });
  return { ort, manifest, template: await load(manifest.template), search: await load(manifest.searches[0]) };
}

export class Tracker {
  constructor(bundle) {
    this.bundle = bundle;
    this.params = Float32Array.from(Object.values(bundle.manifest.params)); // in the order of the graph's input
    this.kernels = {};
  }

  /** Take `box` (x, y, w, h) of `image` (ImageData) as the target. */
  async init(image, [x, y, w, h]) {
    const { geometry, template } = this.bundle.manifest;
    this.target = { cx: x + w / 2, cy: y + h / 2, w, h };
    this.fill = meanColour(image, geometry.crop.fill);
    const size = geometry.template_size;
    let side = this.contextSide();
    if (geometry.round_exemplar) side = rounded(side, "half_even");
    side *= size / geometry.exemplar_size;
    const { crops } = this.pyramid(image, side, geometry.template_steps, size);
    this.kernels = await this.run(this.bundle.template, template, crops, size / side);
  }

  /** The box in `image` and the network's own score. */
  async update(image) {
    const { geometry, searches: [search] } = this.bundle.manifest, target = this.target;
    const side = this.contextSide() * search.size / geometry.exemplar_size, pixels = search.size / side;
    const { crops, centre } = this.pyramid(image, side, geometry.search_steps, search.size);
    const found = await this.run(this.bundle.search, search, crops, pixels);
    const [dx, dy, w, h] = found.box.data, score = found.score.data[0];
    if ([dx, dy, w, h].every(Number.isFinite)) {
      const [cx, cy] = geometry.crop.recentre ? centre : [target.cx, target.cy];
      this.target = limited({ cx: cx + dx / pixels, cy: cy + dy / pixels, w: w / pixels, h: h / pixels }, geometry.limits, image);
    }
    const now = this.target;
    return { box: [now.cx - now.w / 2, now.cy - now.h / 2, now.w, now.h], score };
  }

  /** Side of the square that holds the target with its context, in pixels of the picture. */
  contextSide() {
    const { w, h } = this.target, context = this.bundle.manifest.geometry.context_amount * (w + h);
    return Math.sqrt((w + context) * (h + context));
  }

  /** One crop a step, one behind the other, and the centre of the middle one. */
  pyramid(image, side, steps, m) {
    const { geometry: { crop }, params } = this.bundle.manifest, crops = new Uint8Array(steps.length * m * m * 3);
    let centre = null;
    steps.forEach((step, number) => {
      const whole = Math.max(1, rounded(side * (params.scale_step ?? 1) ** step, crop.side_rounding));
      const offset = whole / 2 + crop.origin_shift;
      const left = rounded(this.target.cx + crop.centre_shift - offset, crop.origin_rounding);
      const top = rounded(this.target.cy + crop.centre_shift - offset, crop.origin_rounding);
      cut(image, left, top, whole, this.fill, m, crops.subarray(number * m * m * 3, (number + 1) * m * m * 3));
      if (number === Math.floor(steps.length / 2)) {
        centre = [left + whole / 2 - crop.centre_shift, top + whole / 2 - crop.centre_shift];
      }
    });
    return { crops, centre };
  }

  /** Outputs by name; `pixels`: crop pixels per pixel of the picture. */
  async run(session, graph, crops, pixels) {
    const { Tensor } = this.bundle.ort, { w, h } = this.target, feeds = {};
    for (const { name, shape } of graph.inputs) {
      if (name === "crop") feeds[name] = new Tensor("uint8", crops, shape);
      else if (name === "size") feeds[name] = new Tensor("float32", Float32Array.of(w * pixels, h * pixels), shape);
      else if (name === "params") feeds[name] = new Tensor("float32", this.params, shape);
      else feeds[name] = this.kernels[name];
    }
    return session.run(feeds);
  }
}

function rounded(value, how) {
  if (how === "half_up" || (how === "half_away" && value >= 0)) return Math.floor(value + 0.5);
  if (how === "half_away") return Math.ceil(value - 0.5);
  const down = Math.floor(value), rest = value - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

/** Blue, green and red outside the picture. */
function meanColour({ data }, how) {
  const sums = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sums[c] += data[i + 2 - c];
  const means = sums.map((sum) => sum / (data.length / 4));
  return means.map((mean) => how === "round" ? rounded(mean, "half_even") : Math.trunc(mean));
}

function limited({ cx, cy, w, h }, limits, { width, height }) {
  const between = (value, low, high) => Math.min(Math.max(value, low), high);
  if (limits.centre_in_frame) [cx, cy] = [between(cx, 0, width), between(cy, 0, height)];
  if (limits.max_size_frame) [w, h] = [Math.min(w, width), Math.min(h, height)];
  if (limits.min_size !== null) [w, h] = [Math.max(w, limits.min_size), Math.max(h, limits.min_size)];
  return { cx, cy, w, h };
}

/** Where the samples of a resize from `side` to `m` pixels lie: two neighbours each and their weights, 2048 together. */
function taps(side, m, columns) {
  const first = new Int32Array(m), second = new Int32Array(m), near = new Int32Array(m), far = new Int32Array(m);
  const inside = (cell) => Math.min(Math.max(cell, 0), side - 1);
  for (let i = 0; i < m; i++) {
    const at = Math.fround((i + 0.5) * (side / m) - 0.5);
    let cell = Math.floor(at), share = Math.fround(at - cell);
    if (columns && (cell < 0 || cell >= side - 1)) [cell, share] = [inside(cell), 0];
    first[i] = inside(cell);
    second[i] = inside(cell + 1);
    near[i] = rounded(Math.fround(1 - share) * 2048, "half_even");
    far[i] = rounded(share * 2048, "half_even");
  }
  return { first, second, near, far };
}

/**
 * A square of `side` whole pixels from (left, top) on, resized to m x m blue, green, red; `fill` outside the picture.
 * Bilinear in whole numbers, as OpenCV's resize does it: the crops are then trk's own to the byte.
 */
function cut({ data, width, height }, left, top, side, fill, m, out) {
  const x = taps(side, m, true), y = taps(side, m, false);
  const place = (column, row) => column >= 0 && row >= 0 && column < width && row < height ? 4 * (row * width + column) : -1;
  for (let row = 0, at = 0; row < m; row++) {
    const upper = top + y.first[row], lower = top + y.second[row], over = y.near[row], under = y.far[row];
    for (let column = 0; column < m; column++) {
      const near = left + x.first[column], far = left + x.second[column], l = x.near[column], r = x.far[column];
      const a = place(near, upper), b = place(far, upper), c = place(near, lower), d = place(far, lower);
      for (let channel = 0; channel < 3; channel++) {
        const seen = 2 - channel, hidden = fill[channel]; // ImageData is red, green, blue
        const above = (a < 0 ? hidden : data[a + seen]) * l + (b < 0 ? hidden : data[b + seen]) * r;
        const below = (c < 0 ? hidden : data[c + seen]) * l + (d < 0 ? hidden : data[d + seen]) * r;
        out[at++] = (((over * (above >> 4)) >> 16) + ((under * (below >> 4)) >> 16) + 2) >> 2;
      }
    }
  }
}
