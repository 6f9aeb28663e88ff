// One chat pane: the conversation of one customer with the bot.

import { call } from "./api.js";
import { Bubble, preview } from "./bubble.js";
import { Composer } from "./composer.js";
import { dropMenu, h, toast } from "./elements.js";
import { Recorder } from "./recorder.js";

const TYPING_MS = 6000; // Telegram shows "typing" for about this long unless it is renewed
const DRAFT_GRACE_MS = 300; // a draft that ended waits this long for the answer that takes its place
const ACTIONS = { typing: "입력 중", record_voice: "음성 녹음 중", upload_voice: "음성 보내는 중", upload_photo: "사진 보내는 중",
  upload_document: "파일 보내는 중" };

function dayLabel(unix) {
  const date = new Date(unix * 1000);
  const midnight = (day) => new Date(day.getFullYear(), day.getMonth(), day.getDate());
  const ago = Math.round((midnight(new Date()) - midnight(date)) / 86400000);
  if (ago === 0) return "오늘";
  if (ago === 1) return "어제";
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString("ko-KR", { year, month: "long", day: "numeric", weekday: "short" });
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
    this.actions = {
      press: (bubble, button) => this.send("/buttons", { message_id: bubble.id, data: button.data }),
      stop: (bubble) => this.send("/stop", { draft_id: -bubble.id }),
      command: (text) => this.say(text),
      quoted: (id) => { const quoted = this.bubble(id)?.message; return quoted ? preview(quoted) : null; },
      // In a group several people write; in a private chat there is only the one.
      sender: ({ from, user }) => (this.chat.type === "group" && from === "customer" ? user?.name : null),
    };
    this.composer = new Composer(this);
    this.recorder = new Recorder(this);
    this.setChat(chat);
    this.setStatus();
    this.wireHead();
    this.wireScroll();
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
    this.recorder.stop?.(false);
    for (const audio of this.element.querySelectorAll(".voice [aria-label='멈춤']")) audio.click();
    this.composer.close();
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

  async sendFile(file, kind) {
    this.element.classList.add("uploading");
    const query = kind === "document" ? `?name=${encodeURIComponent(file.name || "파일")}` : "";
    await this.send(`/${kind}${query}`, file).catch(() => {});
    this.element.classList.remove("uploading");
  }

  focus() { this.composer.focus(); }

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

  // ── head and foot ───────────────────────────────────────────────────────────────────────────

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

  // What stands at the foot: the composer, the big start button of an empty chat, or the way out of a block.
  showFoot() {
    const { blocked } = this.chat;
    const empty = Boolean(this.loaded) && !this.bubbles.length;
    this.find(".intro").hidden = !empty;
    this.find(".start").hidden = !empty || blocked;
    this.find(".unblock").hidden = !blocked;
    this.find(".writer").hidden = blocked || this.recorder.recording;
    this.find(".recorder").hidden = !this.recorder.recording;
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
      if (this.scroll.clientWidth !== width) { width = this.scroll.clientWidth; this.composer.fitInput(); }
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
}
