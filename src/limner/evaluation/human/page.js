"use strict";
// What one person does: welcome screen, then for each part the instructions, practice and trials, then the answers. Pictures have
// blind names; only the practice says which of its pictures are real.
const study = JSON.parse(document.getElementById("study").textContent);
const $ = (id) => document.getElementById(id);
const STORAGE_KEY = "limner-study-" + study.study;
const MASKED = 300, CROSS = 500, PAUSE = 200; // milliseconds
const TITLES = {
  timed: ["A brief look", "Look at the cross. A picture appears there for " + seconds(study.exposure) +
    " and is covered by a pattern. Then say whether the picture was real or generated."],
  untimed: ["As long as you like", "Say of each picture whether it is real or generated. Take the time you need."],
  pairs: ["Two side by side", "Which of the two looks more like a real picture? Where you see no difference, call them equal."],
};
const NAMES = { real: "Real", generated: "Generated" };
let state = null; // {person, form, next, calm, practised, answers, sent}
let online = location.protocol === "http:" || location.protocol === "https:";
let onAnswer = null; // called with the person's next answer; null while none is expected

function seconds(ms) {
  return ms === 500 ? "half a second" : ms === 1000 ? "a second" : ms + " milliseconds";
}

function load() {
  try {
    return JSON.parse(localStorage.getItem(STORAGE_KEY));
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(state));
  } catch { /* a browser that stores nothing for pages from disk: answers stay in this page until they are downloaded */ }
}

function forget() {
  try {
    localStorage.removeItem(STORAGE_KEY);
  } catch { /* nothing was kept */ }
  location.reload();
}

function fresh(calm) {
  const random = crypto.getRandomValues(new Uint32Array(3));
  const person = [random[0], random[1]].map((part) => part.toString(16).padStart(8, "0")).join("");
  return { person, form: random[2] % study.forms.length, next: 0, calm, practised: [], answers: [], sent: 0 };
}

function screen(id) {
  for (const section of document.querySelectorAll("section")) section.hidden = section.id !== id;
  const heading = $(id).querySelector("h1");
  if (id !== "trial") scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

const data = (text) => "data:image/png;base64," + text;
const click = (id) => new Promise((done) => { $(id).onclick = done; });
const frame = () => new Promise((done) => requestAnimationFrame(done));

// Waits for whole frames until `ms` have passed since `start`, at most half a frame less; returns the time of the last frame.
async function until(start, ms) {
  let now = start;
  while (now - start < ms - 8) now = await frame();
  return now;
}

// Enlarges small pictures by a whole number of screen pixels, so that all pixels have the same size; shrinks large ones to fit.
function fit(image, wide, high) {
  const zoom = Math.min(wide / image.naturalWidth, high / image.naturalHeight), fine = devicePixelRatio || 1;
  image.style.width = image.naturalWidth * (zoom >= 1 ? Math.floor(zoom * fine) / fine : zoom) + "px";
  image.style.imageRendering = zoom >= 1 ? "pixelated" : "auto";
}

function fitAll() {
  const both = !$("one").hidden && !$("two").hidden, inside = $("stage").clientWidth - (both ? 48 : 32);
  const wide = Math.min(320, both ? inside / 2 : inside), rest = innerHeight < 480 ? 170 : 250;
  const high = Math.max(96, Math.min(320, innerHeight - rest)); // so that the buttons are seen without scrolling
  $("stage").style.minHeight = high + 32 + "px"; // the same with and without a picture, so that nothing below it moves
  for (const id of ["one", "two"]) if ($(id).naturalWidth) fit($(id), wide, high);
}

async function put(id, text, alt) {
  const image = $(id);
  image.src = data(text);
  image.alt = alt;
  await image.decode();
}

function show(...ids) {
  for (const id of ["cross", "one", "two"]) $(id).hidden = !ids.includes(id);
  fitAll();
}

// ---- one trial

function sides(task) {
  if (task === "pairs") return ["left", "right"];
  return state.form % 2 ? ["generated", "real"] : ["real", "generated"];
}

function ask(task) {
  const [a, b] = sides(task), pairs = task === "pairs";
  $("question").textContent = pairs ? "Which looks more real?" : "Real or generated?";
  $("a").textContent = pairs ? "Left" : NAMES[a];
  $("b").textContent = pairs ? "Right" : NAMES[b];
  $("tie").hidden = !pairs;
  $("keys").textContent = keys(task);
  $("stage").classList.toggle("choose", pairs);
}

function keys(task) {
  const [a, b] = sides(task);
  if (task === "pairs") return "Keys: ← left, → right, ↓ equal";
  return "Keys: ← " + NAMES[a].toLowerCase() + ", → " + NAMES[b].toLowerCase();
}

function ready(yes) {
  for (const id of ["a", "b", "tie"]) $(id).setAttribute("aria-disabled", String(!yes));
}

// {answer, ms}, the latter since `start`, when the picture appeared.
function choice(task, start) {
  return new Promise((done) => {
    ready(true);
    onAnswer = (place) => {
      if (place === "tie" && task !== "pairs") return;
      onAnswer = null;
      ready(false);
      const word = place === "tie" ? "tie" : sides(task)[place === "a" ? 0 : 1];
      done({ answer: word, ms: Math.round(performance.now() - start) });
    };
  });
}

function answer(place) {
  if (onAnswer) onAnswer(place);
}

// Shows `shown` (PNGs as text) and waits for the answer: {answer, ms, exposure}.
async function trial(task, shown, number) {
  ready(false);
  $("feedback").textContent = "";
  show();
  const alt = task === "pairs" ? ["the left picture", "the right picture"] : ["the picture to judge"];
  await Promise.all(shown.map((text, place) => put(["one", "two"][place], text, alt[place])));
  if (task !== "timed") {
    const start = await until(await frame(), PAUSE);
    show("one", ...(task === "pairs" ? ["two"] : []));
    return choice(task, start);
  }
  await put("two", study.masks[number % study.masks.length], "");
  show("cross");
  const start = await until(await frame(), CROSS);
  show("one"); // what a frame's callback changes is seen at the end of that frame, here and below
  const end = await until(start, study.exposure);
  show("two");
  const [reply] = await Promise.all([choice(task, start), until(end, MASKED).then(() => show())]);
  return { ...reply, exposure: Math.round(end - start) };
}

// ---- parts

function trials() {
  return study.forms[state.form].filter(([task]) => !(state.calm && study.tasks[task] === "timed"));
}

function progress(text, part) {
  $("count").textContent = text;
  $("progress").value = part;
}

async function instruct(task) {
  const parts = [...new Set(trials().map(([number]) => study.tasks[number]))];
  const [title, text] = TITLES[task];
  $("part").textContent = "Part " + (parts.indexOf(task) + 1) + " of " + parts.length;
  $("brief-title").textContent = title;
  $("brief-text").textContent = text;
  $("brief-keys").textContent = keys(task) + "; Enter goes on";
  const tries = state.practised.includes(task) ? [] : study.practice[task];
  $("start").textContent = tries.length ? "Practise first" : "Go on";
  screen("brief");
  await click("start");
  if (!tries.length) return;
  ask(task);
  screen("trial");
  for (const [number, [shown, right]] of tries.entries()) {
    progress("Practice " + (number + 1) + " of " + tries.length, number / tries.length);
    const reply = await trial(task, shown, number);
    await feedback(task, shown, reply.answer, right);
  }
  state.practised.push(task);
  save();
  $("brief-title").textContent = "Now for real";
  $("brief-text").textContent = "From here on you are not told whether you were right.";
  $("start").textContent = "Start";
  screen("brief");
  await click("start");
}

async function feedback(task, shown, answer, right) {
  if (task === "timed") await put("one", shown[0], "the picture to judge");
  show("one", ...(task === "pairs" ? ["two"] : []));
  const truth = task === "pairs" ? "the " + right + " one is real, the other is noise" :
    right === "real" ? "this picture is real" : "this picture was generated";
  $("feedback").textContent = (answer === right ? "Right: " : "No: ") + truth + ".";
  $("on").hidden = false;
  $("on").focus();
  await click("on");
  $("on").hidden = true;
  $("question").focus({ preventScroll: true });
  scrollTo(0, 0);
}

async function sit() {
  const form = study.forms[state.form];
  let part = null;
  const all = trials().length;
  while (state.next < form.length) {
    const at = state.next, [number, ...shown] = form[at], task = study.tasks[number];
    if (state.calm && task === "timed") {
      state.next++;
      continue;
    }
    if (task !== part) {
      await instruct(task);
      part = task;
    }
    ask(task);
    if ($("trial").hidden) screen("trial");
    progress(state.answers.length + 1 + " of " + all, state.answers.length / all);
    const reply = await trial(task, shown.map((place) => study.pictures[place]), at);
    state.answers.push({
      version: 1, study: study.study, person: state.person, form: state.form, trial: at, task,
      shown: shown.map((place) => study.names[place]), ...reply,
    });
    state.next = at + 1;
    save();
    send();
  }
  save();
  await finish();
}

// ---- where answers go

let sending = null;

function send() {
  if (online && !sending) sending = sendAll().finally(() => { sending = null; });
  return sending;
}

async function sendAll() {
  while (state.sent < state.answers.length) {
    try {
      const body = JSON.stringify(state.answers[state.sent]);
      const reply = await fetch("judgements", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (!reply.ok) return;
    } catch {
      return;
    }
    state.sent++;
    save();
  }
}

async function finish() {
  await send();
  await send();
  const arrived = online && state.sent === state.answers.length;
  const text = state.answers.map((one) => JSON.stringify(one) + "\n").join("");
  $("outcome").textContent = arrived ? "Your answers have arrived. You can close this page." :
    "Please download your answers, and send the file to the person who asked you.";
  $("text").value = text;
  $("download").href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  $("download").download = "limner-" + study.study + "-" + state.person + ".jsonl";
  $("download").classList.toggle("main", !arrived);
  $("another").hidden = !arrived; // answers that have not arrived must be downloaded or copied first
  $("download").onclick = $("text").onfocus = () => { $("another").hidden = false; };
  screen("done");
}

// ---- beginning

function welcome() {
  const stored = load(), form = study.forms[0];
  state = stored && study.forms[stored.form] ? stored : null;
  if (state && state.next >= study.forms[state.form].length) return finish();
  const timed = form.filter(([task]) => study.tasks[task] === "timed").length;
  $("minutes").textContent = "about " + study.minutes + " minutes";
  $("where").textContent = online ? ", by the program that shows this page" : ", and stay in this browser until you send them";
  $("skip").hidden = !timed || form.length === timed;
  $("calm").checked = state ? state.calm : matchMedia("(prefers-reduced-motion: reduce)").matches && !$("skip").hidden;
  $("begin").textContent = state && state.answers.length ? "Go on where you stopped" : "Begin";
  $("calm").disabled = Boolean(state && state.answers.length);
  $("afresh").hidden = !(state && state.answers.length);
  $("examples").replaceChildren(...study.examples.map((text, number) => {
    const image = new Image();
    image.alt = "real picture " + (number + 1);
    image.onload = () => fit(image, Math.min(112, (document.querySelector("main").clientWidth - 90) / 4), 112);
    image.src = data(text);
    return image;
  }));
  screen("welcome");
  $("begin").onclick = () => {
    if (!state || !state.answers.length) state = fresh($("calm").checked);
    sit();
  };
  $("afresh").onclick = () => {
    const lost = online ? "" : " The " + state.answers.length + " answers given so far are thrown away.";
    if (confirm("Begin as another person?" + lost)) forget();
  };
}

$("another").onclick = forget;
$("a").onclick = () => answer("a");
$("b").onclick = () => answer("b");
$("tie").onclick = () => answer("tie");
$("one").onclick = () => $("stage").classList.contains("choose") && answer("a");
$("two").onclick = () => $("stage").classList.contains("choose") && answer("b");
addEventListener("resize", fitAll);
addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Enter" && event.target === $("brief-title")) $("start").click(); // where the focus was put to be read
  if ($("trial").hidden) return;
  const place = { ArrowLeft: "a", ArrowRight: "b", ArrowDown: "tie" }[event.key];
  if (!place) return;
  event.preventDefault();
  answer(place);
});
welcome();
