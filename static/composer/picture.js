// The picture: an address, or a file that is uploaded.
import { sentence } from "./dom.js";

const LARGE = 500 * 1024; // bytes; above it slow connections show the text without it

export class Picture {
  constructor(content) {
    this.content = content;
    const drop = content.one("#k-drop");
    content.one("#k-file").addEventListener("change", (event) => { this.take(event.target.files[0]); event.target.value = ""; });
    for (const name of ["dragover", "dragenter"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("is-over"); });
    for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("is-over"));
    drop.addEventListener("drop", (event) => { event.preventDefault(); this.take(event.dataTransfer.files[0]); });
    content.one("#k-thumb").addEventListener("error", (event) => { event.target.hidden = true; });
  }

  async take(file) {
    if (!file) return;
    const { draft } = this.content;
    const form = new FormData();
    form.append("application", draft.application);
    form.append("file", file);
    this.say("Uploading …");
    try {
      const found = await draft.upload(draft.urls.picture, form);
      this.content.write("image", found.url);
      this.content.draw();
      const isWide = Math.abs(found.width / found.height - 2) < 0.25;
      const notes = [isWide ? "" : "its edges are cut where a phone shows it wide", file.size > LARGE ? "it is large: slow connections may show the text without it" : ""].filter(Boolean);
      this.say(`${found.width} × ${found.height} pixels${notes.length ? `; ${notes.join("; ")}` : ""}`);
    } catch (error) {
      const why = error.problem?.errors?.[0]?.detail ?? (error.status === 413 ? "larger than 1 MB: phones load it over a mobile connection" : error.message);
      this.say(why, true);
    }
  }

  say(words, isFault = false) {
    const place = this.content.one("#k-image-words");
    place.textContent = words ? sentence(words) : "";
    place.classList.toggle("is-fault", isFault);
  }

  draw() {
    const thumb = this.content.one("#k-thumb");
    const url = this.content.texts.image ?? "";
    thumb.hidden = !isPicture(url);
    if (isPicture(url) && thumb.getAttribute("src") !== url) thumb.src = url;
  }
}

export const isPicture = (url) => /^(https:\/\/[^\s{}]+\.[^\s{}]+|http:\/\/(localhost|127\.0\.0\.1)[^\s{}]*)$/.test(url ?? "");
