// Recording a voice message: the microphone, its meter, and what takes the composer's place meanwhile.

import { clock, waveBars } from "./bubble.js";
import { toast } from "./elements.js";

const VOICE_TYPES = ["audio/ogg;codecs=opus", "audio/webm;codecs=opus", "audio/mp4"];
const NO_MICROPHONE = {
  NotAllowedError: "마이크 사용이 거부됐어요. 브라우저 설정에서 마이크를 허용해 주세요.",
  NotFoundError: "마이크를 찾지 못했어요. 마이크를 연결하거나 첨부 단추에서 음성 파일을 골라 주세요.",
};

export class Recorder {
  // Uses of its pane: element, sendFile(file, kind), showFoot(), focus(), follow()
  constructor(pane) {
    this.pane = pane;
    this.find = (selector) => pane.element.querySelector(selector);
    this.recording = false;
    this.stop = null; // stop(keep) ends the recording and sends it or not; null while there is none
    const bars = waveBars(150); // as many as the widest composer shows; the oldest are cut off
    this.find(".recorder .wave").append(...bars);
    this.find(".record").addEventListener("click", async ({ currentTarget }) => {
      currentTarget.disabled = true; // while the browser asks for permission
      await this.record(bars);
      currentTarget.disabled = false;
    });
    this.find("[data-testid=record-cancel]").addEventListener("click", () => this.stop?.(false));
    this.find("[data-testid=record-send]").addEventListener("click", () => this.stop?.(true));
    this.find(".recorder").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.stop?.(false);
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
    this.pane.showFoot();
    this.find("[data-testid=record-send]").focus();
    recorder.addEventListener("dataavailable", (event) => chunks.push(event.data));
    this.stop = (keep) => {
      this.stop = null;
      recorder.addEventListener("stop", () => {
        stream.getTracks().forEach((track) => track.stop());
        const sound = new Blob(chunks, { type: recorder.mimeType });
        if (keep && sound.size) this.pane.sendFile(sound, "voice");
        else if (keep) toast(this.pane.element, "녹음된 소리가 없어요.");
      });
      recorder.stop();
      stopMeter();
      this.recording = false;
      this.pane.showFoot();
      this.pane.focus();
      this.pane.follow();
    };
    recorder.start();
  }

  async microphone() {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      toast(this.pane.element, "이 주소에서는 마이크를 쓸 수 없어요. http://localhost 로 열어 주세요.");
      return null;
    }
    try {
      return await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      toast(this.pane.element, NO_MICROPHONE[error.name] || "마이크를 열지 못했어요. 다른 프로그램이 쓰고 있는지 봐 주세요.");
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
