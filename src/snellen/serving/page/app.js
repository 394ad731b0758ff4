// Pictures can be dropped, pasted, chosen or taken; each is sent to /api/classify and shown with the result.

const AT_ONCE = 2; // simultaneous requests; the server classifies one picture at a time
const SHOWN = 5; // classes shown for each picture
const RETRIES = 30; // while the server is busy
const REDRAWN = /^image\/(avif|heic|heif)$/; // unreadable for the server: sent as JPEG if the browser reads it

const $ = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");

const waiting = []; // pictures not yet sent: {file, item}
let running = 0;
let total = 0; // pictures since the page was last idle, and their outcomes below
let done = 0;
let strange = 0;
let failed = 0;
let last = "";

const model = fetch("/api/model").then((answer) => answer.json());
model.then(introduce, () => say("The server does not respond. Reload the page."));

function introduce({ classes, model, size }) {
  const some = classes.slice(0, 12).join(", ") + (classes.length > 12 ? ", …" : "");
  $("model").textContent =
    `${model} sees ${size.width}×${size.height} pixels and distinguishes ${classes.length} classes: ${some}.`;
}

function say(text) {
  $("status").textContent = text;
}

// The queue of pictures

function add(files) {
  if (!files.length) return;
  const before = $("results").firstElementChild; // newest group first, in order within a group
  for (const file of files) {
    const item = show(file);
    $("results").insertBefore(item, before);
    waiting.push({ file, item });
    total += 1;
  }
  say(total === 1 ? `Classifying ${files[0].name} …` : `Classifying ${total} pictures …`);
  refresh();
  while (running < AT_ONCE && waiting.length) work();
}

async function work() {
  running += 1;
  while (waiting.length) {
    const { file, item } = waiting.shift();
    if (!item.isConnected) {
      total -= 1; // removed while waiting
      continue;
    }
    try {
      answered(item, file, await classified(file), (await model).kind);
    } catch (problem) {
      refused(item, file, problem.message);
    }
    done += 1;
    refresh();
  }
  running -= 1;
  if (!running) rest();
}

async function classified(file) {
  const { limits } = await model;
  const body = REDRAWN.test(file.type) ? await redrawn(file) : file;
  if (body.size > limits.bytes) {
    throw Error(`The file is larger than ${whole.format(Math.floor(limits.bytes / 1024))} KiB. Scale it down.`);
  }
  for (let retry = 0; ; retry += 1) {
    let answer;
    try {
      answer = await fetch(`/api/classify?top=${SHOWN}`, { method: "POST", body });
    } catch {
      throw Error("The server could not be reached.");
    }
    const content = await answer.json().catch(() => ({ error: { what: `the server sent status ${answer.status}.` } }));
    if (answer.ok) return content;
    if (answer.status !== 503 || retry >= RETRIES) throw Error(sentence(content.error.what));
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(answer.headers.get("retry-after") ?? 1)));
  }
}

async function redrawn(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // behind transparent parts, as on the server
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  } catch {
    return file; // let the server report the problem
  }
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// Results

function show(file) {
  const item = $("result").content.cloneNode(true).firstElementChild;
  item.querySelector("h2").textContent = file.name;
  item.querySelector(".remove").ariaLabel = `Remove ${file.name}`;
  const image = item.querySelector("img");
  image.onload = () => {
    const isTiny = image.naturalWidth < 160;
    image.classList.toggle("tiny", isTiny);
    item.classList.toggle("is-photo", !isTiny);
  };
  image.onerror = () => image.replaceWith("no preview");
  image.src = URL.createObjectURL(file);
  return item;
}

function answered(item, file, { labels, classes, is_strange }, kind) {
  const [best] = classes;
  const single = `${percent.format(best.probability)}`;
  const several = labels.join(", ") || "none of the classes";
  const text = kind === "multi" ? several : `${best.name}, ${single}`;
  item.querySelector(".answer").replaceChildren(
    strong(kind === "multi" ? several : best.name), kind === "multi" ? "" : ` ${single}`,
  );
  item.classList.toggle("is-strange", Boolean(is_strange));
  if (is_strange) {
    strange += 1;
    item.querySelector(".strange").hidden = false;
    model.then(({ false_alarm_rate }) => {
      item.querySelector(".strange span").textContent =
        `The answer may be meaningless. (${percent.format(false_alarm_rate)} of familiar pictures get it too.)`;
    });
  }
  item.querySelector(".classes").replaceChildren(...classes.map((one) => row(one, labels.includes(one.name))));
  last = `${file.name}: ${text}${is_strange ? "; unlike the training pictures" : ""}`;
}

function strong(text) {
  return Object.assign(document.createElement("strong"), { textContent: text });
}

function row({ name, probability }, isLabel) {
  const line = document.createElement("li");
  line.classList.toggle("is-label", isLabel);
  const [label, bar, value] = ["name", "bar", "value"].map((part) =>
    line.appendChild(Object.assign(document.createElement("span"), { className: part })),
  );
  label.textContent = name;
  bar.ariaHidden = "true"; // screen readers read the number instead
  bar.appendChild(document.createElement("span")).style.width = `${100 * probability}%`;
  value.textContent = percent.format(probability);
  return line;
}

function refused(item, file, text) {
  failed += 1;
  item.classList.add("is-failed");
  item.querySelector(".answer").textContent = text;
  last = `${file.name}: ${text}`;
}

function refresh() {
  const shown = $("results").childElementCount;
  $("progress").hidden = total < 2 || done >= total;
  $("progress").max = total;
  $("progress").value = done;
  $("clear").hidden = !shown;
  document.body.classList.toggle("has-results", shown > 0);
}

function rest() {
  const parts = [total === 1 ? last : `${whole.format(done - failed)} of ${whole.format(done)} pictures classified`];
  if (done > 1 && strange) parts.push(`${strange} unlike the training pictures`);
  if (done > 1 && failed) parts.push(`${failed} could not be classified`);
  say(done ? parts.join("; ") + "." : "");
  [total, done, strange, failed] = [0, 0, 0, 0];
  refresh();
}

function remove(item) {
  URL.revokeObjectURL(item.querySelector("img")?.src);
  item.remove();
}

$("results").addEventListener("click", (event) => {
  const item = event.target.closest(".remove")?.closest("li");
  if (!item) return;
  const next = item.nextElementSibling ?? item.previousElementSibling;
  remove(item);
  refresh();
  (next?.querySelector(".remove") ?? $("choose")).focus(); // keyboard users keep their place
});

$("clear").addEventListener("click", () => {
  [...$("results").children].forEach(remove);
  say("");
  refresh();
  $("choose").focus();
});

// Choose, paste, drop

$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  add([...$("files").files]);
  $("files").value = ""; // so that the same file can be chosen again
});

addEventListener("paste", (event) => add([...event.clipboardData.files]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("is-over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("is-over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("is-over");
  add([...event.dataTransfer.files]);
});

// Camera: browsers allow it only on pages from this machine or over https

$("use-camera").hidden = !navigator.mediaDevices?.getUserMedia;
$("use-camera").addEventListener("click", async () => {
  $("camera").showModal();
  $("camera-problem").textContent = "";
  $("shoot").disabled = true;
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = stream;
    await $("video").play();
    if (!$("camera").open) return stopCamera(); // closed while the browser was requesting permission
    $("shoot").disabled = false;
    $("shoot").focus();
  } catch (problem) {
    $("camera-problem").textContent = `The camera cannot be used: ${problem.message || problem.name}.`;
  }
});
$("shoot").addEventListener("click", () => {
  const video = $("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const name = `camera ${new Date().toLocaleTimeString()}`;
  canvas.toBlob((blob) => add([new File([blob], name, { type: blob.type })]), "image/jpeg", 0.95);
  $("camera").close();
});
$("close-camera").addEventListener("click", () => $("camera").close());
$("camera").addEventListener("close", stopCamera);

function stopCamera() {
  $("video").srcObject?.getTracks().forEach((track) => track.stop());
  $("video").srcObject = null;
}
