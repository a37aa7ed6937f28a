// Everything here is a comfort: each page can be read, heard and used without it.
"use strict";

if (typeof registerProcessor === "function") {
  // This file is also the worklet of the recorder: samples as they come, in pieces.
  registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[channel]]) {
      if (channel) this.port.postMessage(channel.slice());
      return true;
    }
  });
} else {
  main();
}

function main() {
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const SVG = "http://www.w3.org/2000/svg";
  const said = document.getElementById("said");

  function say(text) { if (said) said.textContent = text; }

  function clock(seconds) {
    if (!Number.isFinite(seconds)) return "";
    const whole = Math.floor(seconds), h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
    return (h ? `${h}:${String(m).padStart(2, "0")}` : m) + ":" + String(s).padStart(2, "0");
  }

  // ---- players ----------------------------------------------------------------------------------------------------

  let playing = null;

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  class Player {
    constructor(box) {
      this.box = box;
      box.player = this;
      this.audio = box.querySelector("audio");
      this.label = this.audio.getAttribute("aria-label") || "Sound";
      this.length = Number(box.dataset.duration) || 0;
      this.button = element("button", { type: "button", class: "play", "aria-label": `Play ${this.label}` });
      this.button.innerHTML = '<svg class="go" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2.2v11.6L13.5 8z"/></svg>' +
        '<svg class="stop" viewBox="0 0 16 16" aria-hidden="true"><path d="M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z"/></svg>';
      this.wave = element("div", { class: "wave", role: "slider", tabindex: "0", "aria-label": `Place in ${this.label}`,
        "aria-valuemin": "0", "aria-valuemax": String(this.length.toFixed(1)), "aria-valuenow": "0" });
      this.wave.append(element("div", { class: "rail" }), this.gone = element("div", { class: "gone" }));
      this.time = element("span", { class: "clock", "aria-hidden": "true" }, clock(this.length));
      this.audio.removeAttribute("controls");
      box.append(this.button, this.wave, this.time);
      box.classList.add("ready");
      this.bars = [];
      this.button.addEventListener("click", () => this.toggle());
      this.wave.addEventListener("pointerdown", (event) => this.drag(event));
      this.wave.addEventListener("keydown", (event) => this.key(event));
      for (const name of ["play", "pause", "ended"]) this.audio.addEventListener(name, () => this.show());
      this.audio.addEventListener("timeupdate", () => this.show());
      this.audio.addEventListener("loadedmetadata", () => {
        if (Number.isFinite(this.audio.duration)) this.length = this.audio.duration;
        this.show();
      });
      this.audio.addEventListener("error", () => { if (this.audio.error) say(`${this.label} cannot be played.`); });
      if (box.dataset.peaks) seen.observe(box);
      if (box.id === "track") follow(box);
      if (box.dataset.level) this.audio.volume = Number(box.dataset.level);
      this.show();
    }

    async draw() {
      const answer = await fetch(this.box.dataset.peaks);
      if (!answer.ok) return;
      const { peaks, duration_s } = await answer.json();
      if (!this.length) this.length = duration_s;
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", `0 0 ${peaks.length} 100`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      this.bars = peaks.map((peak, index) => {
        const bar = document.createElementNS(SVG, "rect"), height = Math.max(4, peak * 0.96);
        for (const [name, value] of [["x", index + 0.15], ["y", 50 - height / 2], ["width", 0.7], ["height", height]]) bar.setAttribute(name, value);
        svg.append(bar);
        return bar;
      });
      this.wave.replaceChildren(svg);
      this.show();
    }

    toggle() { this.audio.paused ? this.play() : this.audio.pause(); }

    play() {
      if (playing && playing !== this) playing.audio.pause();
      playing = this;
      this.audio.play().catch(() => say(`${this.label} cannot be played.`));
    }

    seek(seconds) {
      this.audio.currentTime = Math.min(Math.max(0, seconds), this.length || 0);
      this.show();
    }

    drag(event) {
      const at = (each) => {
        const box = this.wave.getBoundingClientRect();
        this.seek(((each.clientX - box.left) / box.width) * this.length);
      };
      this.wave.setPointerCapture(event.pointerId);
      at(event);
      const stop = () => { this.wave.removeEventListener("pointermove", at); };
      this.wave.addEventListener("pointermove", at);
      this.wave.addEventListener("pointerup", stop, { once: true });
      this.wave.addEventListener("pointercancel", stop, { once: true });
    }

    key(event) {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
      if (event.key in steps) this.seek(this.audio.currentTime + steps[event.key]);
      else if (event.key === "Home") this.seek(0);
      else if (event.key === "End") this.seek(this.length);
      else if (event.key === " " || event.key === "Enter") this.toggle();
      else return;
      event.preventDefault();
    }

    show() {
      const now = this.audio.currentTime, share = this.length ? now / this.length : 0, runs = !this.audio.paused && !this.audio.ended;
      this.box.classList.toggle("playing", runs);
      this.button.setAttribute("aria-label", `${runs ? "Pause" : "Play"} ${this.label}`);
      this.time.textContent = clock(now && !this.audio.ended ? now : this.length);
      this.wave.setAttribute("aria-valuenow", now.toFixed(1));
      this.wave.setAttribute("aria-valuetext", `${clock(now)} of ${clock(this.length)}`);
      this.gone.style.width = `${share * 100}%`;
      const past = share * this.bars.length;
      this.bars.forEach((bar, index) => bar.classList.toggle("past", index < past));
    }
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      entry.target.player.draw();
    }
  }, { rootMargin: "300px" });

  function dress(root) {
    for (const box of $$(".player:not(.ready)", root)) new Player(box);
    for (const part of $$("[data-script]", root)) part.hidden = false;
    for (const box of $$("code[data-copy]", root)) box.title ||= "Click to copy";
  }

  // ---- captions that follow the track -------------------------------------------------------------------------------

  function follow(box) {
    const audio = box.querySelector("audio"), caption = document.getElementById("caption");
    const track = audio.textTracks[0];
    if (track && caption) {
      track.mode = "hidden";
      caption.hidden = false;
      track.addEventListener("cuechange", () => {
        const text = [...track.activeCues].map((cue) => cue.getCueAsHTML().textContent).join(" ");
        if (text) caption.textContent = text;
      });
    }
    const mark = () => {
      const now = audio.currentTime, runs = now > 0 && !audio.ended;
      for (const line of $$(".line[data-start]")) {
        line.classList.toggle("heard", runs && now >= Number(line.dataset.start) && now < Number(line.dataset.end));
      }
    };
    audio.addEventListener("timeupdate", mark);
    audio.addEventListener("ended", mark);
  }

  // ---- live: what has changed in the ledger is asked for again --------------------------------------------------------

  async function refresh() {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.body.hasAttribute("data-follows")) feed?.close();
    for (const old of $$("[data-live]")) {
      const made = fresh.getElementById(old.id);
      if (!made || old.contains(document.activeElement) || old.querySelector(".playing, details[open]")) continue;
      const source = made.outerHTML;
      if ((old.source ??= old.asServed) === source) continue;
      const adopted = document.adoptNode(made);
      adopted.source = source;
      old.replaceWith(adopted);
      dress(adopted);
    }
    for (const made of $$(".lines > .line", fresh)) {
      if (!document.getElementById(made.id)) document.querySelector(".lines")?.append(document.adoptNode(made));
    }
    for (const old of $$("[data-once]")) {
      const made = fresh.getElementById(old.id);
      if (!old.firstElementChild && made?.firstElementChild) old.replaceChildren(...made.childNodes);
    }
    dress(document);
  }

  let feed = null, due = 0;

  function listen(wanted) {
    const soon = () => {
      if (due) return;
      due = setTimeout(() => { due = 0; refresh().catch(() => {}); }, 400);
    };
    let lost = false;
    feed = new EventSource("/api/events");
    feed.addEventListener("message", (event) => {
      const told = JSON.parse(event.data);
      if (wanted !== "all" && told.job !== wanted) return;
      if (["done", "failed", "partial"].includes(told.status)) say(`${told.job} is ${told.status}.`);
      soon();
    });
    feed.addEventListener("error", () => { lost = true; });
    feed.addEventListener("open", () => { if (lost) { lost = false; soon(); } });
    setInterval(soon, 15000);
  }

  // ---- copying commands -----------------------------------------------------------------------------------------------

  async function copy(box) {
    try { await navigator.clipboard.writeText(box.textContent); } catch { return; }
    box.classList.add("copied");
    say("Copied.");
    setTimeout(() => box.classList.remove("copied"), 1200);
  }

  document.addEventListener("click", (event) => {
    const box = event.target.closest?.("[data-copy]");
    if (box && getSelection().isCollapsed) copy(box);
  });

  // ---- audition: keys, and loudness ------------------------------------------------------------------------------------

  function isTyping(target) { return target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select"); }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const box = document.querySelector(`.player[data-key="${CSS.escape(event.key)}"]`);
    if (box) {
      box.player.toggle();
      const choice = box.closest(".candidate")?.querySelector("input[type=radio]");
      if (choice) choice.checked = true;
    } else if (event.key.toLowerCase() === "l" && document.getElementById("lock-name")) {
      document.getElementById("lock-name").select();
    } else return;
    event.preventDefault();
  });

  document.addEventListener("change", (event) => {
    if (event.target.id !== "matched") return;
    for (const box of $$(".player[data-level]")) box.player.audio.volume = event.target.checked ? Number(box.dataset.level) : 1;
  });

  // ---- drop: files dragged onto a form, and the microphone --------------------------------------------------------------

  for (const form of $$("form.drop")) {
    const input = form.querySelector("input[type=file]");
    for (const name of ["dragenter", "dragover"]) form.addEventListener(name, (event) => { event.preventDefault(); form.classList.add("over"); });
    for (const name of ["dragleave", "drop"]) form.addEventListener(name, () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
      say(`${event.dataTransfer.files.length} files chosen.`);
    });
  }

  function wavOf(pieces, rate) {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const view = new DataView(new ArrayBuffer(44 + 2 * length));
    const word = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
    word(0, "RIFF"); view.setUint32(4, 36 + 2 * length, true); word(8, "WAVEfmt ");
    view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
    view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
    word(36, "data"); view.setUint32(40, 2 * length, true);
    let at = 44;
    for (const piece of pieces) for (const sample of piece) { view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true); at += 2; }
    return new File([view.buffer], "recording.wav", { type: "audio/wav" });
  }

  class Recorder {
    constructor(form) {
      this.button = form.querySelector("#record");
      this.level = form.querySelector("#level");
      this.time = form.querySelector("#recorded-s");
      this.says = form.querySelector("#record-says");
      this.audio = form.querySelector("#recorded");
      this.file = form.querySelector("#recording-file");
      this.button.addEventListener("click", () => (this.context ? this.stop() : this.start()));
    }

    async start() {
      if (!navigator.mediaDevices) {
        this.says.textContent = "Browsers open the microphone only for localhost and https pages. Choose a file instead.";
        return;
      }
      try {
        this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
      } catch (error) {
        this.says.textContent = `The microphone cannot be used: ${error.message}`;
        return;
      }
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule(document.querySelector("script[src]").src);
      this.node = new AudioWorkletNode(this.context, "recorder");
      this.pieces = [];
      this.loudest = 0;
      this.node.port.onmessage = (event) => this.take(event.data);
      this.context.createMediaStreamSource(this.stream).connect(this.node);
      this.button.textContent = "Stop";
      this.says.textContent = "Recording.";
    }

    take(piece) {
      this.pieces.push(piece);
      const peak = piece.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
      this.loudest = Math.max(this.loudest, peak);
      this.level.value = Math.max(peak, this.level.value * 0.93);
      this.time.textContent = clock(this.pieces.reduce((sum, each) => sum + each.length, 0) / this.context.sampleRate);
    }

    async stop() {
      this.node.port.onmessage = null; // pieces still come for a moment
      const file = wavOf(this.pieces, this.context.sampleRate), chosen = new DataTransfer();
      this.stream.getTracks().forEach((track) => track.stop());
      await this.context.close();
      this.context = null;
      chosen.items.add(file);
      this.file.files = chosen.files;
      this.audio.src = URL.createObjectURL(file);
      this.audio.hidden = false;
      this.button.textContent = "Record again";
      this.level.value = 0;
      this.says.textContent = this.loudest > 0.985 ? "It was too loud: go a little further away." : this.loudest < 0.05 ? "It was very quiet: come closer." : "The level was good. Listen to it before you go on.";
    }
  }

  const recorder = document.getElementById("recorder");
  if (recorder) new Recorder(recorder);
  document.getElementById("copy-job")?.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector("textarea[name=job]").value);
    say("Copied.");
  });

  for (const old of $$("[data-live]")) old.asServed = old.outerHTML;
  dress(document);
  if (document.body.dataset.follows) listen(document.body.dataset.follows);
}
