// One message on the page: its text with entities, its file, its keyboard, and the way a draft grows.
// Everything a chat sends is put on the page as text nodes, never as HTML: a customer may write anything.

import { h, icon } from "./elements.js";

const REVEAL_MS = 380; // a draft arrives in steps; this is how long one step takes to appear
const FINAL_REVEAL_MS = 180; // the rest of an answer that is complete
const WAVE_BARS = 36;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
export const hour = (unix) =>
  new Date(unix * 1000).toLocaleTimeString("ko-KR", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const preview = (message) =>
  message.text || { photo: "사진", voice: "음성 메시지", document: message.file?.name || "파일" }[message.file?.kind] || "";

function fileSize(bytes) {
  if (!(bytes >= 0)) return "";
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 ** 2 ? `${Math.round(bytes / 1024)} KB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

// A link may come from anyone; only schemes that cannot run script in this page are followed.
function safeUrl(url) {
  try {
    const parsed = new URL(/^[a-z][a-z0-9+.-]*:/i.test(url) ? url : `https://${url}`);
    return ["http:", "https:", "mailto:", "tel:", "tg:"].includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}

const TAGS = { bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code", pre: "pre",
  blockquote: "blockquote", expandable_blockquote: "blockquote" };
const LINKS = { text_link: (entity) => entity.url, url: (_, text) => text, email: (_, text) => `mailto:${text}`,
  phone_number: (_, text) => `tel:${text}` };

function entityElement(entity, text, sendCommand) {
  if (TAGS[entity.type]) return h(TAGS[entity.type]);
  if (LINKS[entity.type]) {
    const href = safeUrl(String(LINKS[entity.type](entity, text)));
    return href ? h("a", { href, target: "_blank", rel: "noopener noreferrer" }) : h("span");
  }
  if (entity.type === "bot_command") {
    return h("button", { type: "button", class: "link", onclick: () => sendCommand(text) });
  }
  if (entity.type === "spoiler") {
    return h("span", { class: "spoiler", tabindex: 0, onclick: (event) => event.currentTarget.classList.add("open"),
      onkeydown: (event) => event.key === "Enter" && event.currentTarget.classList.add("open") });
  }
  return h("span", { class: entity.type === "mention" || entity.type === "hashtag" ? "link" : "" });
}

// Entities nest, so they are laid out as a tree. Offsets count UTF-16 units, as JavaScript strings do.
function formatted(text, entities, sendCommand) {
  const root = document.createDocumentFragment();
  const waiting = [...(entities || [])].sort((a, b) => a.offset - b.offset || b.length - a.length);
  const fill = (parent, from, to) => {
    let at = from;
    while (waiting.length && waiting[0].offset < to) {
      const entity = waiting.shift();
      const start = Math.max(entity.offset, at);
      const end = Math.min(entity.offset + entity.length, to);
      if (end <= start) continue;
      parent.append(text.slice(at, start));
      const element = parent.appendChild(entityElement(entity, text.slice(start, end), sendCommand));
      fill(element, start, end);
      at = end;
      // A block breaks the line by itself: the line break after it would leave an empty line.
      if (/^(PRE|BLOCKQUOTE)$/.test(element.tagName) && text[at] === "\n" && at < to) at += 1;
    }
    parent.append(text.slice(at, to));
  };
  fill(root, 0, text.length);
  return root;
}

function sharedPrefix(a, b) {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  return length;
}

const EMOJI = "\\p{Extended_Pictographic}\\ufe0f?\\p{Emoji_Modifier}?";
const JUMBO = new RegExp(`^(?:${EMOJI}(?:\\u200d${EMOJI})*){1,3}$`, "u");

export const waveBars = (count = WAVE_BARS) => Array.from({ length: count }, () => h("i"));

// Draws the shape of the real sound and gives its length. Where the browser cannot decode it, the
// flat bars stay.
async function drawWave(blob, bars) {
  try {
    const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(await blob.arrayBuffer());
    const samples = sound.getChannelData(0);
    const step = Math.max(1, Math.floor(samples.length / bars.length));
    const peaks = bars.map((_, bar) => {
      let peak = 0;
      for (let at = bar * step; at < (bar + 1) * step; at += 8) peak = Math.max(peak, Math.abs(samples[at] || 0));
      return peak;
    });
    const top = Math.max(...peaks, 0.02);
    bars.forEach((bar, at) => bar.style.setProperty("--level", (peaks[at] / top).toFixed(2)));
    return sound.duration;
  } catch {
    return null;
  }
}

let playing = null; // one voice plays at a time

function voicePlayer(file) {
  const audio = new Audio();
  audio.preload = "none";
  audio.src = file.url;
  let length = file.duration || 0;
  const bars = waveBars();
  const time = h("time", {}, clock(length));
  const seek = h("input", { type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": "재생 위치" });
  const button = h("button", { type: "button", class: "circle", "aria-label": "재생" }, icon("play"));
  const show = () => {
    const at = length ? Math.min(1, audio.currentTime / length) : 0;
    bars.forEach((bar, index) => bar.classList.toggle("played", audio.currentTime > 0 && index / bars.length < at));
    seek.value = at;
    time.textContent = clock(audio.currentTime > 0 ? audio.currentTime : length);
  };
  const follow = () => {
    show();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  const state = () => {
    button.replaceChildren(icon(audio.paused ? "play" : "pause"));
    button.setAttribute("aria-label", audio.paused ? "재생" : "멈춤");
    if (!audio.paused) requestAnimationFrame(follow);
  };
  button.addEventListener("click", () => {
    if (!audio.paused) return audio.pause();
    if (playing && playing !== audio) playing.pause();
    playing = audio;
    audio.play().catch(() => (time.textContent = "재생할 수 없어요"));
  });
  seek.addEventListener("input", () => { audio.currentTime = seek.value * length; show(); });
  audio.addEventListener("play", state);
  audio.addEventListener("pause", state);
  audio.addEventListener("ended", () => { audio.currentTime = 0; show(); });
  audio.addEventListener("loadedmetadata", () => {
    if (!length && Number.isFinite(audio.duration)) length = audio.duration;
    show();
  });
  // Fetched whole: the picture of the sound needs it, and seeking works whatever the server supports.
  fetch(file.url).then((answer) => (answer.ok ? answer.blob() : Promise.reject())).then(async (blob) => {
    if (audio.paused) audio.src = URL.createObjectURL(blob);
    length = (await drawWave(blob, bars)) || length;
    show();
  }).catch(() => (time.textContent = "소리를 불러오지 못했어요"));
  const wave = h("span", { class: "wave", "aria-hidden": "true" }, ...bars);
  return h("div", { class: "voice" }, button, h("div", { class: "track" }, wave, seek, time));
}

function photo(file) {
  const picture = h("img", { src: file.url, alt: file.name || "사진", decoding: "async" });
  // A width in pixels, so that the bubble shrinks to the picture whatever its shape.
  picture.addEventListener("load", () => {
    const { naturalWidth: width, naturalHeight: height } = picture;
    picture.style.width = `${Math.max(100, Math.round(width * Math.min(1, 320 / width, 360 / height)))}px`;
  });
  picture.addEventListener("error", () => picture.replaceWith(h("span", { class: "broken" }, "사진을 불러오지 못했어요")));
  const open = () => {
    const viewer = document.querySelector("dialog.viewer");
    viewer.querySelector("img").src = file.url;
    viewer.showModal();
  };
  return h("button", { type: "button", class: "photo", "aria-label": "사진 크게 보기", onclick: open }, picture);
}

function documentLink(file) {
  return h("a", { class: "document", href: file.url, download: file.name || "" },
    h("span", { class: "circle" }, icon("file")),
    h("span", { class: "file-name" }, file.name || "파일"), h("small", {}, fileSize(file.size)));
}

const fileElement = (file) => ({ voice: voicePlayer, photo })[file.kind]?.(file) ?? documentLink(file);

export class Bubble {
  // `actions`: press(bubble, button), stop(bubble), command(text); quoted(reply_to) and
  // sender(message) give a text or null.
  constructor(message, actions) {
    this.actions = actions;
    this.going = false; // a draft that ended, waiting for the answer that takes its place
    this.shown = 0;
    this.text = h("span", { class: "text", dir: "auto" });
    this.meta = h("span", { class: "meta" });
    this.media = h("div", { class: "media" });
    this.quote = h("div", { class: "quote", hidden: true });
    this.sender = h("div", { class: "sender", hidden: true });
    const words = h("div", { class: "words" }, this.text, this.meta);
    this.box = h("div", { class: "bubble" }, this.sender, this.quote, this.media, words);
    this.keyboard = h("div", { class: "keyboard" });
    this.element = h("article", { class: "message", "data-testid": "message" }, this.box, this.keyboard);
    this.update(message, false);
  }

  get id() { return this.message.id; }
  get final() { return this.message.final !== false; }

  update(message, animate) {
    const before = this.message;
    this.message = message;
    const mine = message.from === "customer";
    this.element.dataset.id = message.id;
    this.element.dataset.from = message.from;
    this.going = false;
    this.element.classList.toggle("mine", mine);
    this.element.classList.toggle("theirs", !mine);
    this.element.classList.toggle("draft", !this.final);
    this.element.classList.toggle("halted", Boolean(before?.can_stop && !message.can_stop));
    // A screen reader hears an answer once, whole, and not every step of its growth.
    this.element.setAttribute("aria-busy", String(!this.final));
    if (message.file?.id !== before?.file?.id || message.file?.url !== before?.file?.url) {
      this.media.replaceChildren(...(message.file ? [fileElement(message.file)] : []));
    }
    this.box.classList.toggle("with-photo", message.file?.kind === "photo");
    this.showQuote();
    this.sender.textContent = this.actions.sender(message) || "";
    this.sender.hidden = !this.sender.textContent;
    this.meta.replaceChildren(...this.metaParts(mine));
    this.showKeyboard(before);
    this.grow(before, animate);
  }

  metaParts(mine) {
    const when = h("time", { datetime: new Date(this.message.date * 1000).toISOString() }, hour(this.message.date));
    return [this.message.edited ? h("span", { class: "edited" }, "수정됨") : null, when,
      mine ? h("span", { class: "read", role: "img", "aria-label": "읽음" }, icon("read")) : null].filter(Boolean);
  }

  showQuote() {
    const text = this.message.reply_to ? this.actions.quoted(this.message.reply_to) : null;
    this.quote.hidden = !text;
    this.quote.textContent = text || "";
  }

  showKeyboard(before) {
    const { button_rows: rows = [], buttons = [], can_stop: canStop } = this.message;
    const layout = rows.length ? rows : buttons.map((button) => [button]);
    const look = JSON.stringify([layout, canStop && !this.final]);
    // The same keyboard again is left alone (focus stays where it is); a press it answered is over.
    if (before && look === this.look) return this.settle();
    this.look = look;
    const lines = layout.map((row) => h("div", { class: "keys" }, ...row.map((button) => this.key(button))));
    if (canStop && !this.final) {
      const stop = h("button", { type: "button", class: "stop", "data-testid": "stop-draft" }, "■ 멈추기");
      stop.addEventListener("click", () => {
        stop.disabled = true;
        this.actions.stop(this).catch(() => (stop.disabled = false));
      });
      lines.push(stop);
    }
    this.keyboard.replaceChildren(...lines);
  }

  key(button) {
    const href = button.url && safeUrl(button.url);
    const look = { class: "key", "data-testid": "inline-button" };
    const label = h("span", {}, button.text);
    if (href) return h("a", { ...look, href, target: "_blank", rel: "noopener noreferrer" }, label, icon("link"));
    const key = h("button", { ...look, type: "button" }, label);
    key.addEventListener("click", () => {
      if (key.classList.contains("waiting")) return;
      key.classList.add("waiting");
      setTimeout(() => key.classList.remove("waiting"), 15000); // a bot that never answers
      this.actions.press(this, button).catch(() => key.classList.remove("waiting"));
    });
    return key;
  }

  settle() {
    for (const key of this.keyboard.querySelectorAll(".waiting")) key.classList.remove("waiting");
  }

  // Shows the new text. What was on screen already stays; the rest is revealed over a few frames.
  grow(before, animate) {
    const text = this.message.text || "";
    const kept = sharedPrefix(before?.text?.slice(0, this.shown) || "", text);
    cancelAnimationFrame(this.frame);
    const still = !animate || calm.matches || document.hidden || !text;
    if (still || kept === text.length) return this.paint(text.length);
    const span = this.final ? FINAL_REVEAL_MS : REVEAL_MS;
    const start = performance.now();
    const step = (now) => {
      const done = Math.min(1, (now - start) / span);
      const count = Math.floor(kept + (text.length - kept) * Math.max(0, done));
      if (count > 0) this.paint(count);
      if (done < 1) this.frame = requestAnimationFrame(step);
    };
    if (kept > 0) this.paint(kept); // otherwise "생각 중…" stands until the first letter is there
    this.frame = requestAnimationFrame(step);
  }

  paint(count) {
    const text = this.message.text || "";
    const half = text.charCodeAt(count - 1);
    this.shown = half >= 0xd800 && half <= 0xdbff ? count + 1 : count; // never half an emoji
    const whole = this.shown >= text.length;
    // Hooks for tests and styles: "true" only when the whole answer is on the screen.
    this.element.dataset.final = String(this.final && whole);
    this.element.classList.toggle("thinking", !this.final && !text);
    this.element.classList.toggle("jumbo", this.final && text.length < 40 && JUMBO.test(text));
    this.element.classList.toggle("wordless", this.final && !text);
    if (!this.final && !text) return this.text.replaceChildren("생각 중…");
    this.text.replaceChildren(formatted(text.slice(0, this.shown), this.message.entities, this.actions.command));
  }
}
