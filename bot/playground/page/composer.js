// What a customer sends from the foot of a pane: text, commands and files.

import { call } from "./api.js";
import { dropMenu, h } from "./elements.js";

const unsent = new Map(); // chat id -> what was being typed when its pane was closed

// As what a dropped or pasted file goes out. Telegram takes photos as PNG or JPEG; others stay files.
function kindOf(file) {
  if (/^image\/(png|jpeg)$/.test(file.type)) return "photo";
  return file.type.startsWith("audio/") ? "voice" : "document";
}

export class Composer {
  // Uses of its pane: chat, element, say(text), sendFile(file, kind), follow()
  constructor(pane) {
    this.pane = pane;
    this.find = (selector) => pane.element.querySelector(selector);
    this.input = this.find("textarea");
    this.wireText();
    this.wireFiles();
  }

  // Keeps what is typed but not sent for when this chat is opened again.
  close() {
    if (this.input.value) unsent.set(this.pane.chat.id, this.input.value);
    else unsent.delete(this.pane.chat.id);
  }

  // On a phone, focus would pull the keyboard up over the conversation.
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.input.focus({ preventScroll: true });
  }

  // ── text ────────────────────────────────────────────────────────────────────────────────────

  wireText() {
    this.input.value = unsent.get(this.pane.chat.id) || "";
    this.find(".writer").addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    this.input.addEventListener("input", () => this.typed());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) { event.preventDefault(); this.sendFiles(event.clipboardData.files); }
    });
    this.input.addEventListener("blur", () => setTimeout(() => this.showCommands(null), 150));
    // Else the press would take the focus from the text, and that closes the menu again.
    this.find(".commands-button").addEventListener("pointerdown", (event) => event.preventDefault());
    this.find(".commands-button").addEventListener("click", () => {
      const open = this.find(".commands").hidden;
      this.input.focus();
      this.showCommands(open ? "" : null);
    });
    this.find(".start").addEventListener("click", () => this.pane.say("/start").catch(() => {}));
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
      await this.pane.say(text);
    } catch {
      if (!this.input.value) this.input.value = text; // nothing typed is lost
      this.typed();
    }
  }

  // ── commands ────────────────────────────────────────────────────────────────────────────────

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

  chooseCommand(command) {
    this.input.value = "";
    this.typed();
    this.input.focus();
    this.pane.say(`/${command}`).catch(() => {});
  }

  // ── files ───────────────────────────────────────────────────────────────────────────────────

  wireFiles() {
    dropMenu(this.find(".attach"), this.find(".menu-foot"));
    for (const input of this.pane.element.querySelectorAll("input[type=file]")) {
      const { kind } = input.dataset;
      this.find(`[data-pick=${kind}]`).addEventListener("click", () => input.click());
      input.addEventListener("change", () => { this.sendFiles([...input.files], kind); input.value = ""; });
    }
    this.wireDrop();
  }

  // A file may be dropped anywhere on the pane, not only on the composer.
  wireDrop() {
    const { element } = this.pane;
    let depth = 0; // enter and leave also fire for every child
    const drag = (change) => (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      depth = change ? Math.max(0, depth + change) : depth;
      element.classList.toggle("dropping", depth > 0);
    };
    element.addEventListener("dragenter", drag(1));
    element.addEventListener("dragleave", drag(-1));
    element.addEventListener("dragover", drag(0));
    element.addEventListener("drop", (event) => {
      depth = 0;
      element.classList.remove("dropping");
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.sendFiles([...event.dataTransfer.files]);
    });
  }

  async sendFiles(files, kind) {
    this.pane.follow();
    for (const file of files) await this.pane.sendFile(file, kind || kindOf(file));
  }
}
