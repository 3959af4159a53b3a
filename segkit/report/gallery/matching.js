// Which detections and objects are right at a score threshold: COCO's greedy matching at IoU 0.5.
// Kinds of detections and objects; HIDDEN: below the threshold, or a region that is no object.
const HIDDEN = 0, RIGHT = 1, FALSE = 2, DUPLICATE = 3, WRONG_CLASS = 4, IGNORED = 5, MISSED = 6;
const KINDS = [
  { name: "below the threshold", color: "#888888" },
  { name: "true positive", color: "#2fd08a" },
  { name: "false positive", color: "#ff8a1f" },
  { name: "duplicate", color: "#b18cff" },
  { name: "wrong class", color: "#ffd93b" },
  { name: "ignored", color: "#b4bcc6" },
  { name: "missed", color: "#ff4fa0" },
];
const STEPS = 1e6; // scores are whole millionths, rounded down

// A threshold in the same steps, rounded down too; the small part undoes the rounding of a product such as 0.29 * 1e6.
function thresholdSteps(threshold) {
  return Math.floor(threshold * STEPS + 1e-4);
}

// detections, objects: the kind of each; matched, matchedBy: the partner, -1 without; iou: of the match or of the nearest object.
function matchImage(truth, run, threshold) {
  const steps = thresholdSteps(threshold), count = run.q.length;
  const shown = (d) => run.q[d] >= steps;
  const result = {
    detections: new Uint8Array(count), objects: new Uint8Array(truth.k.length),
    matched: new Int32Array(count).fill(-1), matchedBy: new Int32Array(truth.k.length).fill(-1),
    near: new Int32Array(count).fill(-1), iou: new Float32Array(count),
  };
  for (let i = 0; i < run.p.length; i += 3) {
    const d = run.p[i], o = run.p[i + 1];
    if (!shown(d)) continue;
    if (result.near[d] < 0) { result.near[d] = o; result.iou[d] = run.p[i + 2] / 1000; }
    if (result.matched[d] >= 0 || result.matchedBy[o] >= 0) continue;
    result.matched[d] = o;
    result.matchedBy[o] = d;
    result.iou[d] = run.p[i + 2] / 1000;
  }
  const ignored = new Set(run.g), otherClass = new Map();
  for (let i = 0; i < run.w.length; i += 3) if (!otherClass.has(run.w[i])) otherClass.set(run.w[i], i);
  for (let d = 0; d < count; d++) {
    if (!shown(d)) continue;
    if (result.matched[d] >= 0) result.detections[d] = RIGHT;
    else if (ignored.has(d)) result.detections[d] = IGNORED;
    else if (result.near[d] >= 0) result.detections[d] = DUPLICATE;
    else if (otherClass.has(d)) {
      const i = otherClass.get(d);
      result.detections[d] = WRONG_CLASS;
      result.near[d] = run.w[i + 1];
      result.iou[d] = run.w[i + 2] / 1000;
    } else result.detections[d] = FALSE;
  }
  for (let o = 0; o < truth.k.length; o++) {
    if (truth.k[o] === 0) result.objects[o] = result.matchedBy[o] >= 0 ? RIGHT : MISSED;
  }
  return result;
}

// True positives, false ones (duplicates and wrong classes are among them), missed objects, and F1; label -1: all classes.
function countErrors(truth, run, result, label = -1) {
  const fits = (labels, i) => label < 0 || labels[i] === label || labels[i] === -1;
  let tp = 0, fp = 0, fn = 0;
  result.detections.forEach((kind, d) => {
    if (!fits(run.l, d)) return;
    tp += kind === RIGHT;
    fp += kind === FALSE || kind === DUPLICATE || kind === WRONG_CLASS;
  });
  result.objects.forEach((kind, o) => { fn += kind === MISSED && fits(truth.l, o); });
  return { tp, fp, fn, f1: tp + fp + fn ? (2 * tp) / (2 * tp + fp + fn) : null };
}
