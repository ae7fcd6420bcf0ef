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
  // Rules that bundles of older versions lack, then the bundle's own.
  const geometry = manifest.geometry = { box_context: null, ...manifest.geometry };
  const crop = geometry.crop = { origin: "cut", scale: "asked", unseen_edge: 0, ...geometry.crop };
  const limits = geometry.limits = { in_frame: null, whole_pixels: false, ...geometry.limits };
  const roundings = ["half_even", "half_up", "half_away", "up", "toward_zero"];
  const known = [
    ["side", geometry.side, "derived"], ["pyramid", crop.pyramid, "direct"], ["sampling", crop.sampling, "resize"],
    ["fill", crop.fill, "truncate", "round", "black"], ["fill_from", crop.fill_from, "first"],
    ["origin", crop.origin, "cut", "asked"], ["scale", crop.scale, "asked", "cut"],
    ["origin_rounding", crop.origin_rounding, ...roundings], ["side_rounding", crop.side_rounding, ...roundings],
    ["limits of", limits.of, "state"], ["relative_size", limits.relative_size, null],
    ["beyond", limits.in_frame?.beyond, undefined, "cut", "move"],
    ["hysteresis", geometry.hysteresis, null], ["search graphs", manifest.searches.length, 1],
  ];
  for (const [rule, value, ...wanted] of known) {
    if (!wanted.includes(value)) throw new Error(`${rule} = ${JSON.stringify(value)} is not in this example`);
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
  async init(image, box) {
    const { geometry, template } = this.bundle.manifest, { limits } = geometry;
    const [x, y, w, h] = limits.whole_pixels ? inFrame(box, limits.in_frame, image).map(Math.trunc) : box;
    this.target = { cx: x + w / 2, cy: y + h / 2, w, h };
    this.fill = fillColour(image, geometry.crop.fill);
    const size = geometry.template_size, asked = this.extent("template", size, geometry.round_exemplar);
    const crops = this.pyramid(image, asked, geometry.template_steps, size);
    this.kernels = await this.run(this.bundle.template, template, crops);
  }

  /** The box in `image` and the network's own score. */
  async update(image) {
    const { geometry, searches: [search] } = this.bundle.manifest;
    const crops = this.pyramid(image, this.extent("search", search.size, false), geometry.search_steps, search.size);
    const found = await this.run(this.bundle.search, search, crops);
    const [dx, dy, w, h] = found.box.data, score = found.score.data[0];
    if ([dx, dy, w, h, score].every(Number.isFinite)) {
      const { across, down } = crops, { cx, cy } = geometry.crop.recentre ? crops : this.target;
      const moved = { cx: cx + dx * across, cy: cy + dy * down, w: w * across, h: h * down };
      this.target = limited(moved, geometry.limits, image);
    }
    const now = this.target;
    return { box: [now.cx - now.w / 2, now.cy - now.h / 2, now.w, now.h], score };
  }

  /**
   * What a crop is asked to show, in pixels of the picture: its size, and how far it reaches left and up of the centre.
   * A square in which the target with its context takes `exemplar_size` pixels, or the box grown to all sides.
   */
  extent(crop, size, whole) {
    const { w, h } = this.target, { box_context, context_amount, exemplar_size } = this.bundle.manifest.geometry;
    if (box_context) {
      const share = box_context[crop], grown = 1 + share + share;
      return { width: w * grown, height: h * grown, left: w / 2 + w * share, top: h / 2 + h * share };
    }
    const context = context_amount * (w + h), exact = Math.sqrt((w + context) * (h + context));
    const side = (whole ? rounded(exact, "half_even") : exact) * (size / exemplar_size);
    return { width: side, height: side, left: side / 2, top: side / 2 };
  }

  /** A crop a step, one behind the other; what the middle one shows: its centre, and picture pixels per crop pixel. */
  pyramid(image, asked, steps, m) {
    const { geometry: { crop }, params } = this.bundle.manifest, bytes = new Uint8Array(steps.length * m * m * 3);
    let { width: shownWidth, height: shownHeight } = asked, cx = 0, cy = 0;
    steps.forEach((step, number) => {
      const factor = (params.scale_step ?? 1) ** step;
      const width = Math.max(1, rounded(asked.width * factor, crop.side_rounding));
      const height = Math.max(1, rounded(asked.height * factor, crop.side_rounding));
      const reachX = crop.origin === "cut" ? width / 2 : asked.left * factor;
      const reachY = crop.origin === "cut" ? height / 2 : asked.top * factor;
      const left = rounded(this.target.cx + crop.centre_shift - (reachX + crop.origin_shift), crop.origin_rounding);
      const top = rounded(this.target.cy + crop.centre_shift - (reachY + crop.origin_shift), crop.origin_rounding);
      const out = bytes.subarray(number * m * m * 3, (number + 1) * m * m * 3);
      cut(image, { left, top, width, height }, crop.unseen_edge, this.fill, m, out);
      if (number !== Math.floor(steps.length / 2)) return;
      [cx, cy] = [left + width / 2 - crop.centre_shift, top + height / 2 - crop.centre_shift];
      if (crop.scale === "cut") [shownWidth, shownHeight] = [width, height];
    });
    return { bytes, cx, cy, across: shownWidth / m, down: shownHeight / m };
  }

  /** Outputs by name. */
  async run(session, graph, { bytes, across, down }) {
    const { Tensor } = this.bundle.ort, { w, h } = this.target, feeds = {};
    for (const { name, shape } of graph.inputs) {
      if (name === "crop") feeds[name] = new Tensor("uint8", bytes, shape);
      else if (name === "size") feeds[name] = new Tensor("float32", Float32Array.of(w / across, h / down), shape);
      else if (name === "params") feeds[name] = new Tensor("float32", this.params, shape);
      else feeds[name] = this.kernels[name];
    }
    return session.run(feeds);
  }
}

function rounded(value, how) {
  if (how === "up") return Math.ceil(value);
  if (how === "toward_zero") return Math.trunc(value);
  if (how === "half_up" || (how === "half_away" && value >= 0)) return Math.floor(value + 0.5);
  if (how === "half_away") return Math.ceil(value - 0.5);
  const down = Math.floor(value), rest = value - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

/** Blue, green and red outside the picture. */
function fillColour({ data }, how) {
  if (how === "black") return [0, 0, 0];
  const sums = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sums[c] += data[i + 2 - c];
  const means = sums.map((sum) => sum / (data.length / 4));
  return means.map((mean) => how === "round" ? rounded(mean, "half_even") : Math.trunc(mean));
}

function limited({ cx, cy, w, h }, limits, { width, height }) {
  const between = (value, low, high) => Math.min(Math.max(value, low), high);
  if (limits.whole_pixels || limits.in_frame) {
    let box = [cx - w / 2, cy - h / 2, w, h];
    if (limits.whole_pixels) box = box.map((value) => rounded(value, "half_even"));
    const [x, y, ...size] = inFrame(box, limits.in_frame, { width, height });
    [w, h] = size;
    [cx, cy] = [x + w / 2, y + h / 2];
  }
  if (limits.centre_in_frame) [cx, cy] = [between(cx, 0, width), between(cy, 0, height)];
  if (limits.max_size_frame) [w, h] = [Math.min(w, width), Math.min(h, height)];
  if (limits.min_size !== null) [w, h] = [Math.max(w, limits.min_size), Math.max(h, limits.min_size)];
  return { cx, cy, w, h };
}

/** What `in_frame` makes of a box: beyond the left and top edge it is cut off or moved, beyond the others cut off. */
function inFrame([x, y, w, h], rule, { width, height }) {
  if (!rule) return [x, y, w, h];
  const along = (first, length, end) => {
    const begin = Math.min(Math.max(0, first), end - rule.min_side);
    const last = (rule.beyond === "move" ? begin : first) + length;
    return [begin, Math.max(rule.min_side, Math.min(last, end) - begin)];
  };
  const [[left, across], [top, down]] = [along(x, w, width), along(y, h, height)];
  return [left, top, across, down];
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
 * A region of whole pixels, resized to m x m blue, green, red; `fill` outside the picture, whose last `unseen` columns
 * and rows count as outside. Bilinear in whole numbers, as OpenCV's resize does it: the crops are trk's own to the byte.
 */
function cut({ data, width, height }, { left, top, width: across, height: down }, unseen, fill, m, out) {
  const x = taps(across, m, true), y = taps(down, m, false), columns = width - unseen, rows = height - unseen;
  const inside = (column, row) => column >= 0 && row >= 0 && column < columns && row < rows;
  const place = (column, row) => inside(column, row) ? 4 * (row * width + column) : -1;
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
