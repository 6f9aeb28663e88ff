// The whole page: the list of customers, which chats are open, and whether the bot is there.

import { call } from "./api.js";
import { hour, preview } from "./bubble.js";
import { Pane } from "./chat.js";
import { toast } from "./elements.js";

const NARROW = 700; // below this width: one view at a time
const SIDEBAR = 300;
const PANE_MIN = 320;
const MAX_PANES = 4; // each open chat holds one of the 6 connections a browser gives a host
const LIST_MS = 3000;
const STORE = "deepbot-playground";

const $ = (selector) => document.querySelector(selector);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const kept = JSON.parse(localStorage.getItem(STORE) || "{}");
const state = {
  chats: new Map(), // id -> chat, in the server's order, so rows never move under the mouse
  open: kept.open || [], // ids, as strings, left to right
  seen: kept.seen || {}, // id -> newest bot message that was on screen
  last: new Map(), // id -> { message, unread }
  active: null,
};
const panes = new Map();
const rows = new Map();
const lost = new Set(); // chats whose event stream is down

const narrow = () => innerWidth < NARROW;
const room = () => (narrow() ? 1 : Math.max(1, Math.min(MAX_PANES, Math.floor((innerWidth - SIDEBAR) / PANE_MIN))));
const save = () => localStorage.setItem(STORE, JSON.stringify({ open: state.open, seen: state.seen }));
const hashId = () => location.hash.match(/^#chat=(-?[1-9]\d{0,14})$/)?.[1] ?? null;

// ── which chats are open ────────────────────────────────────────────────────────────────────────

// A narrow page shows what the hash names; a wide one as many open chats as fit, the active among them.
function visible() {
  if (narrow()) return state.active && hashId() ? [state.active] : [];
  const extra = state.open.length - room();
  if (extra <= 0) return state.open;
  const others = state.open.filter((id) => id !== state.active).slice(extra);
  return state.open.filter((id) => id === state.active || others.includes(id));
}

function show() {
  const ids = visible();
  for (const [id, pane] of panes) {
    if (ids.includes(id)) continue;
    pane.close();
    panes.delete(id);
    lost.delete(id);
  }
  for (const id of ids) {
    if (!panes.has(id)) panes.set(id, new Pane(state.chats.get(id), host));
    const { element } = panes.get(id);
    element.classList.toggle("active", id === state.active && ids.length > 1);
    if (!element.isConnected) $(".panes").append(element);
  }
  // Order on screen by CSS: moving a pane in the document would lose its scroll position.
  ids.forEach((id, order) => (panes.get(id).element.style.order = order));
  document.body.classList.toggle("in-chat", ids.length > 0);
  document.body.classList.toggle("many", room() > 1);
  document.body.classList.toggle("several", ids.length > 1);
  showLines();
  renderRows();
  save();
}

// An address may name a chat that this page has not heard of; the server calls new ones the same way.
function unknownChat(id) {
  const group = id < 0;
  return { id, name: group ? `그룹 ${-id}` : `손님 ${id}`, type: group ? "group" : "private", blocked: false };
}

function open(id, beside = false) {
  if (!state.chats.has(id)) state.chats.set(id, unknownChat(Number(id)));
  if (!state.open.includes(id)) {
    const at = state.open.indexOf(state.active);
    if (beside || at < 0) state.open.push(id);
    else state.open[at] = id;
    while (state.open.length > MAX_PANES) state.open.splice(state.open.findIndex((other) => other !== id), 1);
  }
  state.active = id;
  if (hashId() !== id) location.hash = `chat=${id}`;
  show();
  panes.get(id)?.focus();
}

function close(id) {
  state.open = state.open.filter((other) => other !== id);
  state.active = state.open.at(-1) ?? null;
  history.replaceState(null, "", state.active && !narrow() ? `#chat=${state.active}` : location.pathname);
  show();
}

const host = {
  changed(pane) {
    const messages = pane.bubbles.filter((bubble) => bubble.final).map((bubble) => bubble.message);
    summarize(String(pane.chat.id), messages);
  },
  line(pane, connected) {
    lost[connected ? "delete" : "add"](String(pane.chat.id));
    showLines();
  },
  close: (pane) => close(String(pane.chat.id)),
  back: () => { location.hash = ""; },
  refresh: () => refreshChats().catch(() => {}),
};

// ── the list of customers ───────────────────────────────────────────────────────────────────────

function summarize(id, messages) {
  const fromBot = messages.filter((message) => message.from === "bot").map((message) => message.id);
  const newest = fromBot.at(-1) ?? 0;
  const onScreen = panes.has(id) && !document.hidden;
  // A server that began anew counts from one again: what was seen before means nothing then.
  if (onScreen || newest < (state.seen[id] ?? 0)) state.seen[id] = onScreen ? newest : 0;
  const unread = fromBot.filter((message) => message > (state.seen[id] ?? 0)).length;
  state.last.set(id, { message: messages.at(-1), unread });
  renderRow(id);
  save();
}

function makeRow(id) {
  const row = $("#row").content.firstElementChild.cloneNode(true);
  row.dataset.chat = id;
  row.querySelector(".chat-open").addEventListener("click", () => open(id));
  row.querySelector(".beside").addEventListener("click", () => open(id, true));
  $(".chats").append(row);
  return row;
}

function renderRow(id) {
  const chat = state.chats.get(id);
  if (!chat) return;
  if (!rows.has(id)) rows.set(id, makeRow(id));
  const row = rows.get(id);
  const { message, unread = 0 } = state.last.get(id) || {};
  const put = (selector, text) => (row.querySelector(selector).textContent = text);
  put(".chat-name", chat.name);
  put(".chat-time", message ? hour(message.date) : "");
  put(".chat-preview", chat.blocked ? "봇을 차단했어요" : message ? preview(message) : "아직 대화가 없어요");
  put(".initials", initials(chat.name));
  row.querySelector(".initials").dataset.hue = [...chat.name].reduce((sum, char) => sum + char.codePointAt(0), 0) % 7;
  put(".badge", unread > 99 ? "99+" : unread);
  row.querySelector(".badge").hidden = !unread;
  const isOpen = panes.has(id);
  row.classList.toggle("open", isOpen);
  row.classList.toggle("active", id === state.active && isOpen);
  row.querySelector(".beside").hidden = isOpen;
  row.querySelector(".chat-open").setAttribute("aria-current", String(id === state.active && isOpen));
}

const renderRows = () => [...state.chats.keys()].forEach(renderRow);

// "손님 2" reads best as "손2"; other names by their first two letters, as Korean names are shortened.
function initials(name) {
  const [first = "?", second] = name.trim().split(/\s+/);
  return second ? [...first][0] + [...second].slice(0, 2).join("") : [...first].slice(0, 2).join("");
}

async function refreshChats() {
  const chats = await call("/api/chats");
  // An open chat that the server does not know (yet) stays: the first message makes it.
  const known = state.chats;
  state.chats = new Map(chats.map((chat) => [String(chat.id), chat]));
  for (const [id, chat] of known) if (panes.has(id) && !state.chats.has(id)) state.chats.set(id, chat);
  for (const [id, row] of rows) if (!state.chats.has(id)) { row.remove(); rows.delete(id); }
  for (const [id, pane] of panes) pane.setChat(state.chats.get(id));
  renderRows();
}

async function addCustomer() {
  const taken = new Set([...state.chats.values()].map((chat) => chat.name));
  let number = state.chats.size + 1;
  while (taken.has(`손님 ${number}`)) number += 1;
  const chat = await call("/api/chats", { name: `손님 ${number}` });
  await refreshChats();
  open(String(chat.id));
}

// A chat that is not open has no stream of its own; its history is read now and then for the preview
// and the badge. One at a time: the browser has only a few connections.
async function peek(id) {
  const messages = await call(`/api/chats/${id}/messages`).catch(() => null);
  if (messages && !panes.has(id)) summarize(id, messages.filter((message) => message.final !== false));
}

async function watchChats() {
  for (;;) {
    if (!document.hidden) {
      for (const id of state.chats.keys()) if (!panes.has(id)) await peek(id);
    }
    await sleep(LIST_MS);
    if (!document.hidden) await refreshChats().catch(() => {});
  }
}

// ── is the bot there? ───────────────────────────────────────────────────────────────────────────

const showLines = () => ($(".bar-lost").hidden = lost.size === 0);

async function watchHealth() {
  for (;;) {
    const answer = await fetch("/healthz").catch(() => null);
    const warming = answer !== null && !answer.ok;
    $(".bar-warming").hidden = !warming;
    await sleep(warming || !answer ? 1000 : 10000);
  }
}

// ── start ───────────────────────────────────────────────────────────────────────────────────────

async function start() {
  watchHealth();
  for (;;) {
    try { await refreshChats(); break; } catch { $(".bar-lost").hidden = false; await sleep(1000); }
  }
  state.open = state.open.filter((id) => state.chats.has(id));
  $(".add").addEventListener("click", () => addCustomer().catch((error) => toast(document.body, error.message)));
  addEventListener("hashchange", () => (hashId() ? open(hashId()) : show()));
  addEventListener("resize", show);
  document.addEventListener("visibilitychange", () => {
    for (const pane of panes.values()) document.hidden ? pane.pause() : pane.connect();
  });
  // Work in a pane makes it the one that the list replaces.
  $(".panes").addEventListener("focusin", (event) => {
    const id = event.target.closest(".pane")?.dataset.chat;
    if (!id || id === state.active || !panes.has(id)) return;
    state.active = id;
    history.replaceState(null, "", `#chat=${id}`);
    show();
  });
  // A file dropped beside a pane must not replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  if (hashId()) open(hashId());
  else if (state.chats.size === 0) await addCustomer().catch((error) => toast(document.body, error.message));
  else if (!kept.open && !narrow()) open(state.chats.keys().next().value);
  else {
    state.active = state.open.at(-1) ?? null;
    show();
  }
  watchChats();
}

start();
