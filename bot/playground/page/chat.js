// One chat pane: the conversation of one customer with the bot, and the composer below it.

import { Bubble, clock, h, preview, waveBars } from "./bubble.js";

const TYPING_MS = 6000; // Telegram shows "typing" for about this long unless it is renewed
const DRAFT_GRACE_MS = 300; // a draft that ended waits this long for the answer that takes its place
const ACTIONS = { typing: "입력 중", record_voice: "음성 녹음 중", upload_voice: "음성 보내는 중", upload_photo: "사진 보내는 중",
  upload_document: "파일 보내는 중" };
const VOICE_TYPES = ["audio/ogg;codecs=opus", "audio/webm;codecs=opus", "audio/mp4"];
const NO_MICROPHONE = {
  NotAllowedError: "마이크 사용이 거부됐어요. 브라우저 설정에서 마이크를 허용해 주세요.",
  NotFoundError: "마이크를 찾지 못했어요. 마이크를 연결하거나 첨부 단추에서 음성 파일을 골라 주세요.",
};
const unsent = new Map(); // chat id -> what was being typed when its pane was closed

export async function call(path, body) {
  const raw = body instanceof Blob;
  const options = body === undefined ? {} : {
    method: "POST",
    body: raw ? body : JSON.stringify(body),
    headers: { "Content-Type": raw ? body.type || "application/octet-stream" : "application/json" },
  };
  const response = await fetch(path, options).catch(() => { throw new Error("딥봇 놀이터에 닿지 못했어요. 잠시 뒤 다시 해 주세요."); });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `요청이 실패했어요. (${response.status})`);
  return answer;
}

export function toast(place, text) {
  const element = h("p", { class: "toast", role: "status", "data-testid": "toast" }, text);
  place.querySelector(".toasts").append(element);
  setTimeout(() => element.remove(), 4000);
}

function dayLabel(unix) {
  const date = new Date(unix * 1000);
  const midnight = (day) => new Date(day.getFullYear(), day.getMonth(), day.getDate());
  const ago = Math.round((midnight(new Date()) - midnight(date)) / 86400000);
  if (ago === 0) return "오늘";
  if (ago === 1) return "어제";
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString("ko-KR", { year, month: "long", day: "numeric", weekday: "short" });
}

// As what a dropped or pasted file goes out. Telegram takes photos as PNG or JPEG; others stay files.
function kindOf(file) {
  if (/^image\/(png|jpeg)$/.test(file.type)) return "photo";
  return file.type.startsWith("audio/") ? "voice" : "document";
}

// Opens and closes a small menu; a press elsewhere or Escape closes it.
function dropMenu(button, menu) {
  const set = (open) => {
    menu.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    document[open ? "addEventListener" : "removeEventListener"]("pointerdown", outside);
    if (open) menu.querySelector("button").focus();
  };
  const outside = (event) => { if (!menu.parentElement.contains(event.target)) set(false); };
  button.addEventListener("click", () => set(menu.hidden));
  menu.addEventListener("click", () => set(false));
  menu.parentElement.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || menu.hidden) return;
    set(false);
    button.focus();
  });
}

export class Pane {
  // `host`: changed(pane), line(pane, isConnected), close(pane), back(), refresh()
  constructor(chat, host) {
    this.chat = chat;
    this.host = host;
    this.path = `/api/chats/${chat.id}`;
    this.bubbles = [];
    this.separators = new Map();
    this.sticky = true; // the view follows the newest message
    this.below = 0; // messages that arrived while the person was reading further up
    this.element = document.getElementById("pane").content.firstElementChild.cloneNode(true);
    this.find = (selector) => this.element.querySelector(selector);
    this.element.dataset.chat = chat.id;
    this.scroll = this.find(".scroll");
    this.list = this.find(".list");
    this.writer = this.find(".writer");
    this.input = this.find("textarea");
    this.actions = {
      press: (bubble, button) => this.send("/buttons", { message_id: bubble.id, data: button.data }),
      stop: (bubble) => this.send("/stop", { draft_id: -bubble.id }),
      command: (text) => this.say(text),
      quoted: (id) => { const quoted = this.bubble(id)?.message; return quoted ? preview(quoted) : null; },
      // In a group several people write; in a private chat there is only the one.
      sender: ({ from, user }) => (this.chat.type === "group" && from === "customer" ? user?.name : null),
    };
    this.setChat(chat);
    this.setStatus();
    this.wireHead();
    this.wireScroll();
    this.wireComposer();
    this.wireFiles();
    this.wireRecorder();
    this.connect();
  }

  // ── the server ──────────────────────────────────────────────────────────────────────────────

  connect() {
    this.source?.close();
    const source = (this.source = new EventSource(`${this.path}/events`));
    source.addEventListener("open", () => this.setLine(true));
    source.addEventListener("error", () => {
      this.setLine(false);
      // After an HTTP error the browser gives up for good, so the page tries again itself.
      if (source.readyState === EventSource.CLOSED) this.retry = setTimeout(() => this.connect(), 2000);
    });
    const on = (name, handle) => source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    on("history", ({ messages }) => this.replaceAll(messages));
    on("message", (message) => this.receive(message));
    on("draft", (message) => this.receive(message));
    on("edit", (message) => this.edit(message));
    on("delete", ({ id }) => this.remove(id));
    on("draft_gone", ({ id }) => this.endDraft(id));
    on("typing", ({ action }) => this.setTyping(action));
    on("callback_answer", (answer) => this.answerPress(answer));
  }

  // A page nobody looks at gives its connection back: all tabs of a browser share the same few.
  pause() {
    this.source.close();
    clearTimeout(this.retry);
  }

  close() {
    this.pause();
    clearTimeout(this.typing);
    this.stopRecording?.(false);
    for (const audio of this.element.querySelectorAll(".voice [aria-label='멈춤']")) audio.click();
    if (this.input.value) unsent.set(this.chat.id, this.input.value);
    else unsent.delete(this.chat.id);
    this.element.remove();
  }

  // Every failure is told to the person, then passed on to whoever has something to undo.
  async send(path, body) {
    try {
      return await call(this.path + path, body);
    } catch (error) {
      toast(this.element, error.message);
      throw error;
    }
  }

  async say(text) {
    this.follow();
    // As Telegram's own clients do, a text over the limit goes out as several messages.
    for (const part of text.match(/[^]{1,4096}/gu) || []) await this.send("/messages", { text: part });
  }

  // On a phone, focus would pull the keyboard up over the conversation.
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.input.focus({ preventScroll: true });
  }

  setLine(connected) {
    this.connected = connected;
    this.setStatus();
    this.host.line(this, connected);
  }

  // ── messages ────────────────────────────────────────────────────────────────────────────────

  bubble(id) { return this.bubbles.find((bubble) => bubble.id === id); }

  replaceAll(messages) {
    const known = new Map(this.bubbles.map((bubble) => [bubble.id, bubble]));
    this.bubbles = [];
    for (const message of messages) {
      const bubble = known.get(message.id) || new Bubble(message, this.actions);
      if (known.has(message.id)) bubble.update(message, false);
      this.bubbles.push(bubble);
    }
    this.loaded = true;
    this.arrange();
  }

  receive(message) {
    const known = this.bubble(message.id);
    if (known) return this.edit(message);
    const fromBot = message.from === "bot";
    if (fromBot) this.setTyping(null);
    const draft = fromBot && this.draftFor(message);
    if (draft) draft.update(message, true);
    else {
      const bubble = new Bubble(message, this.actions);
      bubble.element.classList.add("arriving");
      this.bubbles.push(bubble);
    }
    if (fromBot) this.bubbles = this.bubbles.filter((bubble) => !bubble.going);
    this.arrange();
    if (!this.sticky && message.final !== false && fromBot) this.setBelow(this.below + 1);
  }

  // An answer takes the place of the draft it grew from, as does the next draft of one that ended:
  // it is the same bubble, so nothing jumps.
  draftFor(message) {
    if (message.file) return null;
    return this.bubbles.find((bubble) => !bubble.final && (bubble.going || message.final !== false));
  }

  endDraft(id) {
    const draft = this.bubble(id);
    if (!draft) return;
    draft.going = true;
    setTimeout(() => { if (draft.going) this.remove(id); }, DRAFT_GRACE_MS);
  }

  edit(message) {
    this.bubble(message.id)?.update(message, message.from === "bot");
    this.host.changed(this);
  }

  remove(id) {
    this.bubbles = this.bubbles.filter((bubble) => bubble.id !== id);
    this.arrange();
  }

  answerPress({ text, alert }) {
    for (const bubble of this.bubbles) bubble.settle();
    if (!text) return;
    if (!alert) return toast(this.element, text);
    const dialog = document.querySelector("dialog.alert");
    dialog.querySelector("p").textContent = text;
    dialog.showModal();
  }

  // Puts bubbles and date lines in order, moving only what is not already in its place.
  arrange() {
    this.bubbles.sort((a, b) => Number(!a.final) - Number(!b.final)); // what still grows stays last
    const wanted = [];
    let previous = null;
    for (const bubble of this.bubbles) {
      const { date, from } = bubble.message;
      const day = new Date(date * 1000).toDateString();
      const newDay = !previous || new Date(previous.message.date * 1000).toDateString() !== day;
      const joined = !newDay && previous.message.from === from && date - previous.message.date < 600;
      if (newDay) wanted.push(this.separator(day, date));
      previous?.element.classList.toggle("tail", !joined);
      bubble.element.classList.toggle("joined", joined);
      wanted.push(bubble.element);
      previous = bubble;
    }
    previous?.element.classList.add("tail");
    let at = this.list.firstChild;
    for (const element of wanted) {
      if (element === at) at = at.nextSibling;
      else this.list.insertBefore(element, at);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    this.showFoot();
    this.host.changed(this);
  }

  separator(day, date) {
    if (!this.separators.has(day)) this.separators.set(day, h("div", { class: "day" }, h("span", {}, dayLabel(date))));
    return this.separators.get(day);
  }

  // ── head ────────────────────────────────────────────────────────────────────────────────────

  setChat(chat) {
    this.chat = chat;
    this.element.setAttribute("aria-label", `${chat.name}와 딥봇의 대화`);
    this.find("h2 small").textContent = chat.name;
    this.find(".block").textContent = chat.blocked ? "차단 풀기" : "봇 차단하기";
    this.showFoot();
  }

  setTyping(action) {
    clearTimeout(this.typing);
    this.doing = action ? ACTIONS[action] || ACTIONS.typing : null;
    if (action) this.typing = setTimeout(() => this.setTyping(null), TYPING_MS);
    this.setStatus();
  }

  setStatus() {
    const status = this.find(".status");
    const text = this.connected ? (this.doing ? `${this.doing}…` : "온라인") : "잇는 중…";
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("busy", Boolean(this.connected && this.doing));
  }

  wireHead() {
    dropMenu(this.find(".more"), this.find(".menu-head"));
    this.find(".back").addEventListener("click", () => this.host.back());
    this.find(".close").addEventListener("click", () => this.host.close(this));
    const block = () => this.send("/block", { blocked: !this.chat.blocked }).then(() => {
      this.setChat({ ...this.chat, blocked: !this.chat.blocked });
      this.host.refresh();
    }, () => {});
    this.find(".block").addEventListener("click", block);
    this.find(".unblock").addEventListener("click", block);
  }

  // ── scrolling ───────────────────────────────────────────────────────────────────────────────

  wireScroll() {
    const atEnd = () => this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 24;
    let width = 0;
    let top = 0; // only a move up lets go of the end: content that grows meanwhile is no such move
    this.scroll.addEventListener("scroll", () => {
      if (atEnd()) this.sticky = true;
      else if (this.scroll.scrollTop < top) this.sticky = false;
      top = this.scroll.scrollTop;
      if (this.sticky) this.setBelow(0);
      this.find(".down").hidden = this.sticky;
    }, { passive: true });
    // One observer follows everything that changes a height: new messages, growing drafts, loaded
    // pictures (the list), a taller composer or a phone's keyboard (the scrolled box).
    const observer = new ResizeObserver(() => {
      if (this.sticky) this.scroll.scrollTop = this.scroll.scrollHeight;
      this.find(".down").hidden = this.sticky || atEnd();
      if (this.scroll.clientWidth !== width) { width = this.scroll.clientWidth; this.fitInput(); }
    });
    observer.observe(this.list);
    observer.observe(this.scroll);
    this.find(".down").addEventListener("click", () => this.follow(true));
  }

  follow(smooth = false) {
    this.sticky = true;
    this.setBelow(0);
    this.scroll.scrollTo({ top: this.scroll.scrollHeight, behavior: smooth ? "smooth" : "auto" });
  }

  setBelow(count) {
    this.below = count;
    const badge = this.find(".down .badge");
    badge.textContent = count;
    badge.hidden = !count;
  }

  // ── composer ────────────────────────────────────────────────────────────────────────────────

  wireComposer() {
    this.input.value = unsent.get(this.chat.id) || "";
    this.writer.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    this.input.addEventListener("input", () => this.typed());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) { event.preventDefault(); this.sendFiles(event.clipboardData.files); }
    });
    this.input.addEventListener("blur", () => setTimeout(() => this.showCommands(null), 150));
    this.find(".commands-button").addEventListener("click", () => {
      const open = this.find(".commands").hidden;
      this.input.focus();
      this.showCommands(open ? "" : null);
    });
    this.find(".start").addEventListener("click", () => this.say("/start").catch(() => {}));
    this.typed();
  }

  key(event) {
    // While a Hangul syllable is being composed, Enter belongs to the input method:
    // sending then would send the text once now and its last syllable again afterwards.
    if (event.isComposing || event.keyCode === 229) return;
    const menu = this.find(".commands");
    if (!menu.hidden && this.keyInCommands(event, menu)) return event.preventDefault();
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    this.submit();
  }

  keyInCommands(event, menu) {
    const choices = [...menu.children];
    const at = choices.findIndex((choice) => choice.ariaSelected === "true");
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) {
      const next = choices[(at + move + choices.length) % choices.length];
      choices.forEach((choice) => choice.setAttribute("aria-selected", String(choice === next)));
      next.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Escape") this.showCommands(null);
    else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) choices[at].click();
    else return false;
    return true;
  }

  typed() {
    const { input } = this;
    this.fitInput();
    const empty = !input.value.trim();
    this.find(".send").hidden = empty;
    this.find(".record").hidden = !empty;
    this.showCommands(/^\/\w*$/.test(input.value) ? input.value.slice(1) : null);
  }

  fitInput() {
    this.input.style.height = "auto";
    if (this.input.scrollHeight) this.input.style.height = `${Math.min(this.input.scrollHeight, 180)}px`;
  }

  async submit() {
    const text = this.input.value.trim();
    if (!text) return;
    this.input.value = "";
    this.typed();
    this.input.focus();
    try {
      await this.say(text);
    } catch {
      if (!this.input.value) this.input.value = text; // nothing typed is lost
      this.typed();
    }
  }

  // `filter` null closes the menu; otherwise the commands that begin with it are listed.
  async showCommands(filter) {
    const menu = this.find(".commands");
    this.commandFilter = filter;
    if (filter === null) return void (menu.hidden = true);
    const commands = await call("/api/commands").catch(() => []);
    if (this.commandFilter !== filter) return; // typed on meanwhile
    const fits = commands.filter(({ command }) => command.startsWith(filter.toLowerCase()));
    menu.replaceChildren(...fits.map(({ command, description }, index) => h("button",
      { type: "button", role: "option", "aria-selected": String(index === 0),
        onclick: () => this.chooseCommand(command) },
      h("b", {}, `/${command}`), h("span", {}, description))));
    menu.hidden = !fits.length;
  }

  chooseCommand(command) {
    this.input.value = "";
    this.typed();
    this.input.focus();
    this.say(`/${command}`).catch(() => {});
  }

  // What stands at the foot: the composer, the big start button of an empty chat, or the way out of a block.
  showFoot() {
    const { blocked } = this.chat;
    const empty = Boolean(this.loaded) && !this.bubbles.length;
    this.find(".intro").hidden = !empty;
    this.find(".start").hidden = !empty || blocked;
    this.find(".unblock").hidden = !blocked;
    this.writer.hidden = blocked || Boolean(this.recording);
    this.find(".recorder").hidden = !this.recording;
  }

  // ── files ───────────────────────────────────────────────────────────────────────────────────

  wireFiles() {
    dropMenu(this.find(".attach"), this.find(".menu-foot"));
    for (const input of this.element.querySelectorAll("input[type=file]")) {
      const { kind } = input.dataset;
      this.find(`[data-pick=${kind}]`).addEventListener("click", () => input.click());
      input.addEventListener("change", () => { this.sendFiles([...input.files], kind); input.value = ""; });
    }
    let depth = 0; // enter and leave also fire for every child
    const drag = (change) => (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      depth = change ? Math.max(0, depth + change) : depth;
      this.element.classList.toggle("dropping", depth > 0);
    };
    this.element.addEventListener("dragenter", drag(1));
    this.element.addEventListener("dragleave", drag(-1));
    this.element.addEventListener("dragover", drag(0));
    this.element.addEventListener("drop", (event) => {
      depth = 0;
      this.element.classList.remove("dropping");
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.sendFiles([...event.dataTransfer.files]);
    });
  }

  async sendFiles(files, kind) {
    this.follow();
    for (const file of files) await this.sendFile(file, kind || kindOf(file));
  }

  async sendFile(file, kind) {
    this.element.classList.add("uploading");
    const query = kind === "document" ? `?name=${encodeURIComponent(file.name || "파일")}` : "";
    await this.send(`/${kind}${query}`, file).catch(() => {});
    this.element.classList.remove("uploading");
  }

  // ── voice ───────────────────────────────────────────────────────────────────────────────────

  wireRecorder() {
    const bars = waveBars(150); // as many as the widest composer shows; the oldest are cut off
    this.find(".recorder .wave").append(...bars);
    this.find(".record").addEventListener("click", async ({ currentTarget }) => {
      currentTarget.disabled = true; // while the browser asks for permission
      await this.record(bars);
      currentTarget.disabled = false;
    });
    this.find("[data-testid=record-cancel]").addEventListener("click", () => this.stopRecording?.(false));
    this.find("[data-testid=record-send]").addEventListener("click", () => this.stopRecording?.(true));
    this.find(".recorder").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.stopRecording?.(false);
    });
  }

  async record(bars) {
    const stream = await this.microphone();
    if (!stream) return;
    const mimeType = VOICE_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
    const chunks = [];
    const stopMeter = this.meter(stream, bars);
    this.recording = true;
    this.showFoot();
    this.find("[data-testid=record-send]").focus();
    recorder.addEventListener("dataavailable", (event) => chunks.push(event.data));
    this.stopRecording = (keep) => {
      this.stopRecording = null;
      recorder.addEventListener("stop", () => {
        stream.getTracks().forEach((track) => track.stop());
        const sound = new Blob(chunks, { type: recorder.mimeType });
        if (keep && sound.size) this.sendFile(sound, "voice");
        else if (keep) toast(this.element, "녹음된 소리가 없어요.");
      });
      recorder.stop();
      stopMeter();
      this.recording = false;
      this.showFoot();
      this.focus();
      this.follow();
    };
    recorder.start();
  }

  async microphone() {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      toast(this.element, "이 주소에서는 마이크를 쓸 수 없어요. http://localhost 로 열어 주세요.");
      return null;
    }
    try {
      return await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      toast(this.element, NO_MICROPHONE[error.name] || "마이크를 열지 못했어요. 다른 프로그램이 쓰고 있는지 봐 주세요.");
      return null;
    }
  }

  // Running time and loudness: each tick moves the bars one to the left and adds the newest at the right.
  meter(stream, bars) {
    const audio = new AudioContext();
    const analyser = audio.createAnalyser();
    audio.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const levels = bars.map(() => 0);
    const started = Date.now();
    const tick = () => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      levels.push(Math.min(1, 3 * Math.sqrt(power)));
      levels.shift();
      bars.forEach((bar, at) => bar.style.setProperty("--level", levels[at].toFixed(2)));
      this.find(".recorder time").textContent = clock((Date.now() - started) / 1000);
    };
    tick();
    const timer = setInterval(tick, 90);
    return () => { clearInterval(timer); audio.close(); };
  }
}
